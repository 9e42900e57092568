"""Grids, boxes, windows, resampling and symmetries of volumes."""
