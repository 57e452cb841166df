"""Reference systems: a folder each (layout, synthetic data, recipes, README), and what runs any of them."""
