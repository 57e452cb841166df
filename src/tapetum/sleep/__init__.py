"""Polysomnography: a night's recording in, a hypnogram with its statistics out. Nothing here needs torch."""
