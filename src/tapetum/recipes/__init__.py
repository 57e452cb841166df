"""Recipes that belong to no system: one TOML file a recipe."""
