"""Checkpoints of the DINOv3UNet3D family: read without running their code, understood, imported."""
