"""From class probabilities to clean classes and numbered objects, a slab of planes at a time."""
