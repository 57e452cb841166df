"""Chains of stages: files → manifest → answers → decisions → pipeline → report. Sees every room; holds no technique of its own."""
