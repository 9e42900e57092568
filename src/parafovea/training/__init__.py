"""Training a FusedUNet from cached features."""
