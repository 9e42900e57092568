"""Zarr and OME-Zarr: arrays, their chunks, and the levels of an image."""
