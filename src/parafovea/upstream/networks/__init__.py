"""Import of networks of other projects, of which each window takes the voxels alone."""
