"""Metrics of a segmentation: overlap, objects, uncertainty."""
