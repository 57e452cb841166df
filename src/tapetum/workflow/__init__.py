"""Chains of stages: files → manifest → predictions → decisions → pipeline → report. Sees every package; has no technique itself."""
