"""What a run will take, known before a voxel is read: jobs, minutes, memory, disk.

Neither torch nor zarr is imported, except to measure rates: Snakemake plans with this in every job.
"""
