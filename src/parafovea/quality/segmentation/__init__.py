"""Scores of a segmentation: overlap, objects, uncertainty."""
