"""Tiles: small NPZ or GeoTIFF images in one folder, each with metadata in JSON."""
