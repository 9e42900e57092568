"""Networks: FusedUNet and its faster twin for inference."""
