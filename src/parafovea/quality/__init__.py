"""How good a result is: against truth where there is one, and by its own marks where not."""
