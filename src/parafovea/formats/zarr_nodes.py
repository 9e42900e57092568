"""Zarr folders of format version 2 and 3: single arrays, and the way to their OME images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import zarr
import zarrs  # noqa: F401  (registers the fast codec pipeline)

from parafovea.errors import SourceError
from parafovea.formats import ome_zarr
from parafovea.formats.location import Location
from parafovea.formats.registry import ZARR_METADATA
from parafovea.formats.source import Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import place, plain_axes, stated_by_attributes

_FAST = "zarrs.ZarrsCodecPipeline"
_COMPLETE = "zarr.core.codec_pipeline.BatchedCodecPipeline"

#: How many folders above an array its OME image may lie, as in `image.zarr/scale0/image`.
_DEPTH = 2


def open_volume(location: Location, request: Request) -> Source:
    """Open an OME-Zarr image, one level of it, or a Zarr array with or without attributes.

    Parameters
    ----------
    location : Location
        Folder of the image or array.
    request : Request
        The user's metadata, and how fine the image has to be: the coarsest level is read whose
        spacing is at most `finer_than` along z, y, x; the first level where none is. An array
        that is named itself is read as it is.

    Returns
    -------
    Source
        Spacing from the OME metadata, else from the attributes `resolution`, `voxel_size` or
        `spacing`.

    Raises
    ------
    SourceError
        If the metadata are damaged, or do not describe a volume.
    """
    path, metadata = location.path, request.metadata
    node = open_node(path)
    if isinstance(node, zarr.Group):
        image = ome_zarr.image_of(dict(node.attrs), path)
        if image is None:
            raise SourceError(_no_image(path, node))
        spacings = ome_zarr.level_spacings(path, image, metadata)
        level = ome_zarr.choose_level(spacings, request.finer_than, request.unit)
        array = _array(f"{path.rstrip('/')}/{image.levels[level].path}")
        return ome_zarr.open_level(path, image, level, array, metadata=metadata)
    found = _image_around(path)
    if found is not None:
        return ome_zarr.open_level(path, found[0], found[1], node, metadata=metadata)
    pick_channel(path, 1, metadata.channel)
    axes = plain_axes(path, node.shape)
    stated = stated_by_attributes(dict(node.attrs), dimensions=node.ndim, path=path)
    view = VolumeView(node, path, axes=axes)
    return Source(path, view, place(path, view.shape, stated, metadata))


def open_node(path: str) -> zarr.Array[Any] | zarr.Group:
    """Open an array or a group for reading, with codecs that can read all of it.

    The zarrs pipeline is several times faster, but refuses big-endian and Fortran-ordered arrays
    of format version 2; it falls back by itself, with a warning, for codecs that it lacks.
    """
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zarr.config.set({"codec_pipeline.path": _COMPLETE}):
            node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array) and node.metadata.zarr_format == 3:
            with zarr.config.set({"codec_pipeline.path": _FAST}):
                node = zarr.open(path, mode="r")
    return node


def _array(path: str) -> zarr.Array[Any]:
    if not Path(path).is_dir():
        raise SourceError(
            f"{path} is named by the OME-Zarr metadata of its image, but is not there: "
            "copy the image again"
        )
    node = open_node(path)
    if not isinstance(node, zarr.Array):
        raise SourceError(f"{path} is a group where OME-Zarr has an array: copy the image again")
    return node


def _image_around(path: str) -> tuple[ome_zarr.Image, int] | None:
    """Return the OME image that an array is a level of, and which, if there is one."""
    folder = Path(path)
    for parent in list(folder.parents)[:_DEPTH]:
        if not any((parent / name).is_file() for name in ZARR_METADATA):
            continue
        image = ome_zarr.image_of(dict(open_node(str(parent)).attrs), str(parent))
        names = [] if image is None else [level.path for level in image.levels]
        name = folder.relative_to(parent).as_posix()
        if image is not None and name in names:
            return image, names.index(name)
    return None


def _no_image(path: str, group: zarr.Group) -> str:
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        members = sorted(group.members(max_depth=2))
    names = [
        f"{path.rstrip('/')}/{name} {member.shape} {member.dtype}"
        for name, member in members
        if isinstance(member, zarr.Array)
    ]
    return (
        f"{path} is a Zarr group without OME-Zarr metadata, not an array: "
        f"give one of {'; '.join(names[:20]) or 'another folder, this one holds no arrays'}"
    )
