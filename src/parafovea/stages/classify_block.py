"""Stage classify_block: the classes of a block's voxels, and its first components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_components import Margin
from parafovea.postprocess.segmentation.block_files import label_blocks
from parafovea.postprocess.segmentation.classify import classified
from parafovea.postprocess.segmentation.label_images import label_record, open_prediction
from parafovea.postprocess.segmentation.scanned_parts import write_scanned
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity, Method


def classify_block(
    prediction: Path,
    classes: Path,
    components: Path,
    surface: Path,
    *,
    method: Method,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
    block: int,
    blocks: int,
) -> None:
    """Classify the voxels of a block and scan it for the first step after it.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities of the whole volume.
    classes : Path
        Part to write: (z, y, x) uint8 class indices.
    components : Path
        .npz to write, for later jobs of the block: see `save_components`.
    surface : Path
        .npz to write, for the job that unites the blocks: see `save_surface`.
    method, connectivity, class_settings
        As for `segment_objects`.
    block, blocks : int
        Number of the block, from 1, and number of blocks.

    Raises
    ------
    ConfigError
        If `class_settings` names an unknown class.
    StoreError
        If the prediction is missing, damaged or without classes.
    VoxelError
        If a probability is NaN.
    """
    source, names = open_prediction(prediction)
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    own = label_blocks(source.grid, blocks)[block - 1]

    def read(box: Box) -> np.ndarray[Any, Any]:
        return classified(source, box, method, steps.settings)

    write_scanned(
        ((tile, read(tile)) for tile in own.tiles),
        Margin.read(own, read),
        own,
        steps.after(),
        grid=source.grid,
        attributes=label_record(source.attributes, method, steps),
        classes=classes,
        components=components,
        surface=surface,
    )
