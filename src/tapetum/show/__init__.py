"""Shows what a run found: takes a run's files and gives pages that people read; it computes no answers of its own."""
