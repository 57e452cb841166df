"""Sleep stages from one image an epoch; see README.md."""
