"""Faults, kills and hostile input: ``python -m bench.faults`` (``make faults``) runs every campaign and prints one table."""
