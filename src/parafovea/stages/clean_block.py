"""Stage clean_block: one change of a block's classes, and the components after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parafovea.postprocess.segmentation.block_files import label_blocks, load_components
from parafovea.postprocess.segmentation.clean import Decided
from parafovea.postprocess.segmentation.label_images import class_names
from parafovea.postprocess.segmentation.scanned_parts import part_attributes, write_scanned
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import block_file, loaded_arrays
from parafovea.storage.store import open_stored


def clean_block(
    before: Path,
    scanned: Path,
    decided: Path,
    classes: Path,
    components: Path,
    surface: Path,
    *,
    cleaning: str,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
    block: int,
    blocks: int,
) -> None:
    """Remove small components of a block or fill its holes, and scan it for the next step.

    Parameters
    ----------
    before : Path
        Part with the classes before.
    scanned : Path
        .npz with the components of the block: see `save_components`.
    decided : Path
        Folder that `decide_components` wrote.
    classes : Path
        Part to write: (z, y, x) uint8 class indices.
    components : Path
        .npz to write, for later jobs of the block: see `save_components`.
    surface : Path
        .npz to write, for the job that unites the blocks: see `save_surface`.
    cleaning : {"small", "holes"}
        Which change it is.
    connectivity, class_settings
        As for `segment_objects`.
    block, blocks : int
        Number of the block, from 1, and number of blocks.

    Raises
    ------
    StoreError
        If a file of the block is missing or damaged.
    """
    source = open_stored(before)
    steps = Steps.of(class_settings, class_names(source), connectivity=connectivity)
    own = label_blocks(source.grid, blocks)[block - 1]
    step = steps.cleanings[cleaning]
    found, margin = load_components(scanned, step, own)
    with loaded_arrays(block_file(decided, block)) as arrays:
        changes = Decided.of(step, found, arrays["classes"])
    write_scanned(
        changes.cleaned(own, source.read),
        changes.cleaned_margin(own, margin),
        own,
        steps.after(cleaning),
        grid=source.grid,
        attributes=part_attributes(source),
        classes=classes,
        components=components,
        surface=surface,
    )
