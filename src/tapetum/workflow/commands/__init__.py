"""One file a command. A command imports stages and the helpers that ``SHARED`` names, never another command."""

SHARED = ("evaluation_files", "exchanged", "figure_tables", "finish", "predict", "predict_apart", "review_page", "search_space", "trials")
