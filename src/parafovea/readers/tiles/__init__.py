"""Tiles: small NPZ or GeoTIFF images in one folder, each with what is known of it in JSON."""

from parafovea.readers.tile_options import TileOptions
from parafovea.readers.tiles.archive import array_header, read_array
from parafovea.readers.tiles.listing import TileFile, list_tiles
from parafovea.readers.tiles.reading import read_tile, tile_digest, tile_place, tile_size

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
