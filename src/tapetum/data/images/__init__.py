"""The files of a row go in; a tensor comes out, with its reason where there is none."""
