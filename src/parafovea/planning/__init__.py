"""Forecast of a run before any voxel is read: jobs, time, memory, disk.

Imports neither torch nor zarr, except to measure rates, since the workflow loads it in every job.
"""
