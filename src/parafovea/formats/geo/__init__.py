"""GeoTIFF files: mosaics as volumes of one plane, and tiles."""
