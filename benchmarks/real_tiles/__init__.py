"""Real Sentinel-2 images, made worse and refined again: docs/real_tiles.md."""
