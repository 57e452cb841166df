"""Takes the folders, tables and archives of users, gives a checked Manifest with its folds, and each row's image as the network sees it."""
