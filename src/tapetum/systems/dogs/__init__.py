"""25 breeds of dogs from photos; see README.md."""
