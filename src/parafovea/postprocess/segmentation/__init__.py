"""From class probabilities to clean classes and numbered objects."""
