"""Tiles: small NPZ or GeoTIFF images in one folder, each with what is known of it in JSON."""
