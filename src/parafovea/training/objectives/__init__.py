"""Training objectives, one module per kind of task."""
