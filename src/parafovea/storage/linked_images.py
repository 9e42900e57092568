"""An image with its label images, as links to the stores beside it: viewers open all as one.

OME-Zarr keeps label images within their image. Those of this workflow are made by later stages
than the image, and each result is one stage's own; so a further image holds links to them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from parafovea.storage.ome_metadata import WITHIN, labels_metadata
from parafovea.storage.store import label_image_path, open_stored, replacing


def link_image(path: Path, image: Path, labels: Mapping[str, Path]) -> None:
    """Write an image that consists of links to another one and to label images.

    The links are relative, so that a folder of results may be moved as a whole.

    Parameters
    ----------
    path : Path
        Folder of the image to write; replaced if it exists.
    image : Path
        Folder of an image, as `store.create` wrote it; its own label images are linked, too.
    labels : mapping of str to Path
        Folders of label images by the names that they get, each on a grid of its own.

    Raises
    ------
    StoreError
        If the image or a label image does not exist or is damaged.
    """
    linked = {**_own_labels(image), **labels}
    # OME-Zarr wants the same number of levels of all
    count = min(_levels(each) for each in (image, *linked.values()))
    with replacing(path) as partial:
        _link_levels(partial, image, count)
        if linked:
            group = zarr.open_group(partial, mode="r+").create_group("labels")
            group.attrs.put({"ome": labels_metadata(sorted(linked))})
        for name, target in linked.items():
            _link_levels(label_image_path(partial, name), target, count)


def _levels(image: Path) -> int:
    """Return the number of levels of an image, or raise `StoreError`."""
    open_stored(image)
    return len(_attributes(image)["ome"]["multiscales"][0]["datasets"])


def _attributes(image: Path) -> dict[str, Any]:
    return dict(zarr.open_group(image, mode="r").attrs)


def _link_levels(place: Path, image: Path, count: int) -> None:
    """Write an image whose arrays are links to the first levels of another one."""
    attributes = _attributes(image)
    ome = attributes["ome"]
    (multiscale,) = ome["multiscales"]
    multiscale["datasets"] = multiscale["datasets"][:count]
    if "image-label" in ome:
        ome["image-label"]["source"] = {"image": WITHIN}
    zarr.create_group(place, zarr_format=3).attrs.put(attributes)
    for level in range(count):
        target = (image / str(level)).absolute()
        # a partial folder lies beside the final one, so the way to a target is the same
        (place / str(level)).symlink_to(os.path.relpath(target, place.absolute()))


def _own_labels(image: Path) -> dict[str, Path]:
    folder = label_image_path(image, "")
    if not folder.is_dir():
        return {}
    return {each.name: each for each in folder.iterdir() if each.is_dir()}
