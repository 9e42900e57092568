"""Tiles: small NPZ or GeoTIFF images in one folder, each with what is known of it in JSON."""

from parafovea.formats.tiles.listing import TileFile, list_tiles
from parafovea.formats.tiles.npz import array_header, read_array
from parafovea.formats.tiles.options import TileOptions
from parafovea.formats.tiles.reading import read_tile, tile_digest, tile_place, tile_size

__all__ = [
    "TileFile",
    "TileOptions",
    "array_header",
    "list_tiles",
    "read_array",
    "read_tile",
    "tile_digest",
    "tile_place",
    "tile_size",
]
