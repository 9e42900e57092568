"""Classes and objects of a volume in blocks, by the functions of the stages, job by job."""

from pathlib import Path
from typing import Any

from parafovea.chain.cleaning import splits_objects
from parafovea.postprocess.segmentation.steps import Steps
from parafovea.stages.classify_block import classify_block
from parafovea.stages.clean_block import clean_block
from parafovea.stages.decide_components import decide_components
from parafovea.stages.join_objects import join_objects
from parafovea.stages.number_block import number_block
from parafovea.stages.number_objects import number_objects
from parafovea.stages.split_block import split_block
from parafovea.stages.unite_objects import unite_objects
from parafovea.storage.store import open_stored


def segment_in_blocks(
    prediction: Path,
    folder: Path,
    blocks: int,
    *,
    method: str = "argmax",
    connectivity: int = 26,
    class_settings: dict[str, Any],
) -> tuple[Path, Path, Path]:
    """Run the jobs of all blocks; return the paths of classes, objects and table."""
    settings = {"connectivity": connectivity, "class_settings": class_settings}
    names = open_stored(prediction).channels or ()
    steps = Steps.of(class_settings, names, connectivity=connectivity)
    numbers = range(1, blocks + 1)
    parts = folder / "blocks"

    def scanned(state: str, block: int) -> tuple[Path, Path, Path]:
        own = parts / state
        return (
            own / f"{block}.zarr",
            own / "components" / f"{block}.npz",
            own / "surface" / f"{block}.npz",
        )

    for block in numbers:
        made = scanned("classified", block)
        classify_block(prediction, *made, method=method, block=block, blocks=blocks, **settings)
    state = "classified"
    for cleaning in steps.cleanings:
        surfaces = [scanned(state, block)[2] for block in numbers]
        decided = parts / cleaning / "decided"
        decide_components(prediction, surfaces, decided, cleaning=cleaning, **settings)
        for block in numbers:
            before, components, _ = scanned(state, block)
            clean_block(
                before,
                components,
                decided,
                *scanned(cleaning, block),
                cleaning=cleaning,
                block=block,
                blocks=blocks,
                **settings,
            )
        state = cleaning
    surfaces = [scanned(state, block)[2] for block in numbers]
    ids, pieces = parts / "ids", parts / "pieces"
    if splits_objects(class_settings.values()):
        wholes = parts / "wholes"
        tables = [pieces / f"{block}.npz" for block in numbers]
        unite_objects(prediction, surfaces, wholes, **settings)
        for block, table in zip(numbers, tables, strict=True):
            split_block(
                prediction,
                wholes,
                pieces / f"{block}.zarr",
                table,
                classes=str(parts / state),
                block=block,
                blocks=blocks,
                **settings,
            )
        number_objects(prediction, ids, wholes=wholes, pieces=tables, **settings)
    else:
        number_objects(prediction, ids, surfaces=surfaces, **settings)
    objects = [parts / "objects" / f"{block}.zarr" for block in numbers]
    for block, part in zip(numbers, objects, strict=True):
        classes, components, _ = scanned(state, block)
        number_block(
            classes,
            components,
            ids,
            part,
            pieces=str(pieces),
            block=block,
            blocks=blocks,
            **settings,
        )
    results = (folder / "classes", folder / "objects", folder / "table.tsv")
    join_objects([scanned(state, block)[0] for block in numbers], objects, ids, *results)
    return results
