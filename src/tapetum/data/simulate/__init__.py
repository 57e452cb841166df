"""Simulators: a seed goes in, a look-alike of a data set in its exact layout comes out, its truth and the best possible score beside it."""
