"""Training of a FusedUNet on cached features."""
