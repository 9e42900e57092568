"""What a job of a block writes after each change of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.segmentation.block_components import Block, Margin, Step, scan_block
from parafovea.postprocess.segmentation.block_files import save_components, save_surface
from parafovea.postprocess.segmentation.label_images import create_classes
from parafovea.postprocess.segmentation.objects import Objects
from parafovea.runtime.progress import tracked
from parafovea.storage.parts import part_record
from parafovea.storage.store import PART, Stored

Array = np.ndarray[Any, Any]


def part_attributes(part: Stored) -> dict[str, Any]:
    """Return the record of a part without what is its own."""
    return {name: value for name, value in part.attributes.items() if name != PART}


def write_scanned(
    tiles: Iterable[tuple[Box, Array]],
    margin: Margin,
    block: Block,
    step: Step[Any],
    *,
    grid: Grid,
    attributes: Mapping[str, Any],
    classes: Path,
    components: Path,
    surface: Path,
) -> None:
    """Write the classes of a block and its components for the next step.

    Parameters
    ----------
    tiles : iterable of (Box, (z, y, x) uint8)
        The classes of the tiles of the block.
    margin : Margin
        The classes of its margin.
    block : Block
        The block.
    step : Step
        The next step, for which the block is scanned.
    grid : Grid
        Grid of the volume.
    attributes : mapping
        Record of the classes.
    classes, components, surface : Path
        Part, and files for later jobs, to write.
    """
    made = {**attributes, **part_record(block.box)}
    is_final = isinstance(step, Objects)
    names = attributes["classes"]
    with create_classes(classes, grid, names, made, block.box, final=is_final) as array:
        for tile, values in tracked(tiles, len(block.tiles), "boxes"):
            array[tile.slices] = values

        def read(box: Box) -> Array:
            return np.asarray(array[box.slices])

        found = scan_block(step, read, block, margin)
    save_components(components, found, margin)
    # every object has a number, so that the one who counts them has to know them all
    save_surface(surface, found.surface(complete=is_final))
