"""Stage join_objects: classes and objects of a volume from the parts of its blocks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from parafovea.postprocess.segmentation.label_images import warn_unsplit
from parafovea.storage.array_files import ALL, block_file, loaded_arrays
from parafovea.storage.layout import OBJECT_TABLE
from parafovea.storage.linked_images import link_image
from parafovea.storage.parts import join_parts
from parafovea.storage.store import replacing


def join_objects(
    class_parts: Sequence[Path],
    object_parts: Sequence[Path],
    ids: Path,
    classes: Path,
    objects: Path,
    table: Path,
    image: Path | None = None,
    *,
    volume: Path | None = None,
    pieces: Sequence[Path] = (),
) -> None:
    """Join the blocks of classes and objects without copying them.

    Parameters
    ----------
    class_parts, object_parts : sequence of Path
        The parts of all blocks.
    ids : Path
        Folder that `number_objects` wrote.
    classes, objects, table : Path
        Stores and table to write: see `segment_objects`.
    image : Path, optional
        Store to write: the volume with classes and objects as its labels, as links.
    volume : Path, optional
        Store of the sample's volume, for `image`.
    pieces : sequence of Path
        Stores of the pieces of split objects, which are in the ids already: inputs, so that
        they are there until all objects have ids.

    Raises
    ------
    StoreError
        If a part is missing, damaged or made with other settings.
    """
    with loaded_arrays(block_file(ids, ALL)) as arrays:
        counts = {name: int(count) for name, count in arrays.items()}
    join_parts(class_parts, classes, described=lambda _: counts)
    join_parts(object_parts, objects, described=lambda _: counts)
    with replacing(table) as partial:
        shutil.copyfile(ids / OBJECT_TABLE, partial)
    if image is not None and volume is not None:
        link_image(image, volume, {"classes": classes, "objects": objects})
    warn_unsplit(counts["unsplit_objects"], objects)
