"""Mask, gender and age of a face; see README.md."""
