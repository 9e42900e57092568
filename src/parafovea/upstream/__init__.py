"""Import of checkpoints of the DINOv3UNet3D family, without executing pickled code."""
