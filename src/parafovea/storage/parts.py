"""Arrays that several jobs write: each a part, the files of its box, which are then joined.

A part is a complete image by its metadata, with the files of its own box alone. Joining links
the files of all parts into one image, so that no voxel is copied; the result is the image that a
single job would have written, byte for byte.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, shape3
from parafovea.storage.pyramids import levels_of
from parafovea.storage.store import (
    PART,
    LabelImage,
    Stored,
    describe_again,
    finish_levels,
    open_stored,
    replacing,
    store_label_images,
)

#: Files of Zarr's metadata.
METADATA = "zarr.json"

#: Takes the facts of all parts; returns entries of the joined image's record.
Described = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]


def part_record(box: Box, **facts: Any) -> dict[str, Any]:
    """Return the entry of a part in its record, which the joined image does not have.

    Parameters
    ----------
    box : Box
        The voxels that it holds, of the whole image; may be empty.
    **facts
        What else is to be known when parts are joined, JSON-serializable.
    """
    return {PART: {"box": [list(box.start), list(box.stop)], **facts}}


def join_parts(
    parts: Sequence[Path],
    path: Path,
    *,
    described: Described | None = None,
    label_images: Callable[[Stored], Mapping[str, LabelImage]] | None = None,
) -> None:
    """Join parts into one image; their files are linked where the disk allows it.

    Parameters
    ----------
    parts : sequence of Path
        All parts of the image.
    path : Path
        Folder of the image to write; replaced if it exists.
    described : callable, optional
        Returns further entries of the image's record from the parts' facts.
    label_images : callable, optional
        Returns small label images to store within the joined image.

    Raises
    ------
    StoreError
        If a part is missing, damaged, made with other settings, or some voxels are in no part or
        in several.
    """
    opened = [open_stored(part) for part in parts]
    facts = [_facts(stored, part) for stored, part in zip(opened, parts, strict=True)]
    first = _common(opened[0])
    for stored, part in zip(opened, parts, strict=True):
        if _common(stored) != first or _layout(part) != _layout(parts[0]):
            raise StoreError(
                f"{part} and {parts[0]} were made with different settings: delete both and run "
                "again"
            )
    boxes = [_box(fact) for fact in facts]
    _require_partition(boxes, opened[0].grid.box, parts[0].parent)
    with replacing(path) as partial:
        partial.mkdir()
        for file in (parts[0] / METADATA, *sorted(parts[0].glob(f"*/{METADATA}"))):
            copy = partial / file.relative_to(parts[0])
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
        for stored, part, box in zip(opened, parts, boxes, strict=True):
            for level, each, own in _arrays(stored, part, box):
                _link_files(level, each, part, partial, own)
        finish_levels(partial)
        group = zarr.open_group(partial, mode="r+")
        record = {**first, **(described(facts) if described is not None else {})}
        if label_images is not None:
            array = group["0"]
            if not isinstance(array, zarr.Array):
                raise StoreError(f"{parts[0]}/0 is not an array: delete {parts[0]} and run again")
            joined = Stored(array, opened[0].grid, opened[0].channels, record)
            store_label_images(group, label_images(joined), record)
        describe_again(group, path, record)


def _facts(stored: Stored, path: Path) -> Mapping[str, Any]:
    facts = stored.attributes.get(PART)
    if not isinstance(facts, dict):
        raise StoreError(f"{path} is not a part of an image: delete it and run again")
    return facts


def _common(stored: Stored) -> dict[str, Any]:
    """Return the record without what is a part's own."""
    return {name: value for name, value in stored.attributes.items() if name != PART}


def _layout(part: Path) -> Any:
    return json.loads((part / "0" / METADATA).read_bytes())


def _box(facts: Mapping[str, Any]) -> Box:
    start, stop = (tuple(corner) for corner in facts["box"])
    return Box(start, stop)


def _require_partition(boxes: Sequence[Box], whole: Box, folder: Path) -> None:
    """Raise `StoreError` unless the boxes cover the image once."""
    held = [box for box in boxes if box.size]
    starts = np.array([box.start for box in held]).reshape(-1, 3)
    stops = np.array([box.stop for box in held]).reshape(-1, 3)
    overlap = any(
        int(np.count_nonzero(((starts < box.stop) & (stops > box.start)).all(axis=1))) > 1
        for box in held
    )
    if overlap or sum(box.size for box in held) != whole.size:
        raise StoreError(
            f"the parts in {folder} do not cover the image once: delete the folder and run again"
        )


def _arrays(stored: Stored, part: Path, box: Box) -> Iterator[tuple[int, zarr.Array[Any], Box]]:
    """Yield the number of each level that a part has files of, its array and the part's box."""
    array = stored.array
    yield 0, array, box
    group = zarr.open_group(part, mode="r")
    pieces = shape3((array.shards or array.chunks)[-3:])
    for number, level in enumerate(levels_of(stored.grid, pieces), start=1):
        coarser = group.get(str(number))
        if level.divided and isinstance(coarser, zarr.Array):
            yield number, coarser, level.box(box)


def _link_files(level: int, array: zarr.Array[Any], part: Path, target: Path, box: Box) -> None:
    """Link the files of a part's box."""
    if not box.size:
        return
    pieces = [int(n) for n in array.shards or array.chunks]
    channels = [range(1)] * (len(pieces) - 3)
    spans = [
        range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, pieces[-3:], strict=True)
    ]
    for place in itertools.product(*channels, *spans):
        name = f"{level}/{array.metadata.encode_chunk_key(place)}"
        source, link = part / name, target / name
        if not source.exists():
            raise StoreError(f"{source} is missing: delete {part} and run again")
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, link)
        except OSError:
            shutil.copyfile(source, link)
