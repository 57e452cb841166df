"""Simulators: from a seed, synthetic data in the exact layout of a data set, with its labels and the best possible score."""
