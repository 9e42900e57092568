"""Where voxels lie and how they are moved: grids, windows, resampling, symmetries."""
