"""Write a phantom landscape: degraded tiles, their true reflectance, classes and radar."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from parafovea.formats.tiles.npz import write_tile
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing
from parafovea_phantoms.landscapes.landscape import BANDS, LANDCOVER, WATER_CLASSES
from parafovea_phantoms.landscapes.radar import DECIBELS, LOOKS, POLARIZATIONS
from parafovea_phantoms.landscapes.tile_cutting import landscape_tiles

logger = logging.getLogger(__name__)


def make_landscape(
    tiles: Path,
    truth: Path,
    classes: Path,
    radar: Path,
    *,
    kind: str,
    seed: int,
    tiles_of_size: Sequence[int],
    sizes: Sequence[int],
    pixel_size: float,
    variety: float = 0.0,
) -> None:
    """Write a landscape as four folders of tiles with the same names, each folder atomically.

    Each `NAME.npz` has a `NAME.json` with `tile_id`, `month`, `biome_code`, `position` and the
    provenance of the tile.

    Parameters
    ----------
    tiles : Path
        Output: the degraded tiles of a first stage, key `opt_v1`, (4, y, x) float32 in [0, 1].
    truth : Path
        Output: the true reflectance, key `opt_v2`, in the same form.
    classes : Path
        Output: keys `classes` and `landcover`, (y, x) uint8; the class names are in `NAME.json`.
    radar : Path
        Output: key `sar`, VV and VH (2, y, x) float32 in [0, 1].
    kind : str
        Name of the phantom, for the provenance.
    seed : int
        Random seed, not negative.
    tiles_of_size : sequence of int
        Number of tiles of each size.
    sizes : sequence of int
        Side of the tiles of each size, in pixels.
    pixel_size : float
        Side of a pixel, in metres.
    variety : float
        Chance and strength of what is rare, 0 to 1: clouds, floods, haze, unusual light.

    Raises
    ------
    ConfigError
        If a value is out of range, or `tiles` and `sizes` differ in length.
    """
    made = record("make_landscape", phantom={"kind": kind, "seed": seed})
    with contextlib.ExitStack() as stack:
        images, references, labels, echoes = (
            stack.enter_context(replacing(path)) for path in (tiles, truth, classes, radar)
        )
        cut = landscape_tiles(
            seed, tiles=tiles_of_size, sizes=sizes, pixel_size=pixel_size, variety=variety
        )
        for tile in cut:
            view, facts = tile.view, {**tile.metadata, "parafovea": made}
            optical = {**facts, "bands": list(BANDS)}
            named = {**facts, "classes": list(WATER_CLASSES), "landcover": list(LANDCOVER)}
            backscatter = {
                **facts,
                "bands": list(POLARIZATIONS),
                "decibels": [list(limits) for limits in DECIBELS],
                "looks": LOOKS,
            }
            name = tile.name
            write_tile(images, name, {"opt_v1": view.degraded}, optical)
            write_tile(references, name, {"opt_v2": view.truth}, optical)
            of_pixels = {"classes": view.classes, "landcover": view.landcover}
            write_tile(labels, name, of_pixels, named, compressed=True)
            write_tile(echoes, name, {"sar": view.radar}, backscatter)
    logger.info("%s phantom of seed %d: %d tiles", kind, seed, sum(tiles_of_size))
