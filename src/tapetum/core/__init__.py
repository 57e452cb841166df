"""What every package builds on: the recipe, tables, targets, folds, metrics, intervals, runs and whole files. No torch."""
