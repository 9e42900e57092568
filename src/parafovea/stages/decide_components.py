"""Stage decide_components: which components of a volume are small, or holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.postprocess.segmentation.block_components import unite
from parafovea.postprocess.segmentation.block_files import load_surface
from parafovea.postprocess.segmentation.label_images import open_prediction
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.settings.postprocess import ClassSettings, Connectivity
from parafovea.storage.array_files import block_file, save_arrays
from parafovea.storage.store import replacing


def decide_components(
    prediction: Path,
    surfaces: Sequence[Path],
    decided: Path,
    *,
    cleaning: str,
    connectivity: Connectivity,
    class_settings: Mapping[str, ClassSettings | Mapping[str, Any]],
) -> None:
    """Unite the components that blocks share and decide the class that each gets.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities, which names the classes.
    surfaces : sequence of Path
        .npz of every block: see `save_surface`.
    decided : Path
        Folder to write, with a .npz of each block: `classes`, (n,) uint8, of its open components.
    cleaning : {"small", "holes"}
        Which change it is for.
    connectivity, class_settings
        As for `segment_objects`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    _, names = open_prediction(prediction)
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    step = steps.cleanings[cleaning]
    rows, table = unite([load_surface(path, step) for path in surfaces])
    classes = step.decide(table)
    with replacing(decided) as partial:
        partial.mkdir()
        for block, row in enumerate(rows, start=1):
            save_arrays(block_file(partial, block), {"classes": classes[row]})
