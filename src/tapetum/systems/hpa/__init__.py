"""28 places of a protein in a cell, from four channels; see README.md."""
