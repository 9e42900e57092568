"""The page of a segmented volume."""
