"""Report of a segmented volume."""
