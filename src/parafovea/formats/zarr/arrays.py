"""Zarr folders of format version 2 and 3: single arrays, and their OME images."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from parafovea.errors import SourceError
from parafovea.formats.coordinates import Coordinates, by_coordinates, coordinates_of
from parafovea.formats.location import Location
from parafovea.formats.named_axes import chosen_axes, stated_names
from parafovea.formats.neighbours import inside
from parafovea.formats.registry import ZARR_METADATA, remote_module
from parafovea.formats.remote.address import (
    Folder,
    RemoteFolder,
    folder_of,
    folders_around,
    is_address,
)
from parafovea.formats.source import Request, Source, VolumeView, readable
from parafovea.formats.source_placement import place, stated_by_attributes
from parafovea.formats.stored_values import by_attributes
from parafovea.formats.zarr import ome_zarr as ome_zarr
from parafovea.formats.zarr.chunk_codecs import PIPELINE, check_codecs
from parafovea.formats.zarr.missing_chunks import check_chunks, check_read
from parafovea.formats.zarr.tracked_store import TrackedStore
from parafovea.storage.chunk_files import EVERY_FILE, read_chunks

logger = logging.getLogger(__name__)


def open_volume(location: Location, request: Request) -> Source:
    """Open an OME-Zarr image, one level of it, or a Zarr array with or without attributes.

    Parameters
    ----------
    location : Location
        Folder of the image or array.
    request : Request
        User metadata, and the required resolution: the coarsest level is read whose spacing is at
        most `finer_than` along z, y, x, or the first level if there is none. An array that is named
        itself is read as is.

    Returns
    -------
    Source
        Spacing from the OME metadata, or else from the attributes `resolution`, `voxel_size` or
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
        ome_zarr.level_folder(path, image, level)
        place_of_array = f"{path.rstrip('/')}/{image.levels[level].path}"
        array = _array(place_of_array)
        return _level(path, image, level, array, place_of_array, request)
    found = _image_around(path)
    if found is not None:
        return _level(path, found[0], found[1], node, path, request)
    attributes = _attributes(node)
    others = {"dimension_names": _dimensions(node)}
    letters = stated_names(attributes, dimensions=node.ndim, path=path, others=others)
    axes, fixed = chosen_axes(path, letters, node.shape, metadata.channel)
    stated = stated_by_attributes(attributes, dimensions=node.ndim, path=path, axes=axes)
    stored, ignored = by_attributes(_Chunked(node), attributes, path, labels=request.labels)
    view = VolumeView(stored, path, axes=axes, fixed=fixed)
    check_codecs(path, node)
    check = _check_chunks(path, node, view, request)
    beside = _coordinates(path, node, attributes)
    along = [None if axis is None else beside[axis] for axis in axes]
    stated = by_coordinates(path, along, stated, metadata)
    grid = place(path, view.shape, stated, metadata)
    return Source(path, view, grid, ignored=ignored, check=check)


def _level(
    path: str,
    image: ome_zarr.Image,
    level: int,
    array: zarr.Array[Any],
    folder: str,
    request: Request,
) -> Source:
    """Return one level of an image as a source; raises if the array contradicts the image."""
    attributes = _attributes(array)
    letters = stated_names(
        attributes,
        dimensions=array.ndim,
        path=folder,
        others={"dimension_names": _dimensions(array)},
    )
    if letters is not None and len(letters) == len(image.axes) and letters != image.axes:
        raise SourceError(
            f"{path} has the axes {', '.join(image.axes)} in its OME-Zarr metadata, but "
            f"{', '.join(letters)} in those of the array {folder}: correct one of them"
        )
    stored, ignored = by_attributes(_Chunked(array), attributes, folder, labels=request.labels)
    view, grid = ome_zarr.open_level(path, image, level, stored, metadata=request.metadata)
    # results of earlier versions were moved into place when complete, and omit empty chunks
    sparse = "parafovea" in ome_zarr.attributes_of(folder_of(folder).parent)
    coarser = None
    if level + 1 < len(image.levels):
        around = folder_of(folder.rstrip("/").removesuffix(image.levels[level].path.rstrip("/")))
        next_level = inside(around, image.levels[level + 1].path)
        is_there = next_level is not None and _is_node(next_level)
        node = open_node(str(next_level)) if is_there else None
        if isinstance(node, zarr.Array):
            check_codecs(str(next_level), node)
            coarser = node
    check_codecs(folder, array)
    check = _check_chunks(folder, array, view, request, sparse=sparse, coarser=coarser)
    names = ome_zarr.channel_names(image, view)
    return Source(path, view, grid, channel_names=names, ignored=ignored, check=check)


def open_blocks_level(
    path: str,
    image: ome_zarr.Image,
    level: int,
    arrays: Sequence[zarr.Array[Any]],
    request: Request,
) -> Source:
    """Return a level of an image of another chunked format as a source.

    Parameters
    ----------
    path : str
        Source string as given by the user.
    image : Image
        Its axes and levels.
    level : int
        Index of the level.
    arrays : sequence of zarr.Array
        From `open_blocks`: that of the level, and of the next one if there is any.
    request : Request
        User metadata.

    Raises
    ------
    SourceError
        If it is no volume, or chunks are known to be lost.
    """
    array = arrays[0]
    stored = _Chunked(array)
    view, grid = ome_zarr.open_level(path, image, level, stored, metadata=request.metadata)
    coarser = arrays[1] if len(arrays) > 1 else None
    check = _check_chunks(str(array.store_path.store), array, view, request, coarser=coarser)
    return Source(path, view, grid, check=check)


def _check_chunks(
    folder: str,
    array: zarr.Array[Any],
    view: VolumeView,
    request: Request,
    *,
    sparse: bool = False,
    coarser: zarr.Array[Any] | None = None,
) -> Callable[[], None] | None:
    """Check which chunks are there; where they cannot be listed, return what does it later."""
    partial = request.labels and request.metadata.truth_complete is False
    store: Any = array.store_path.store
    chunks = store.listed(view.fixed) if isinstance(store, TrackedStore) else None
    if isinstance(store, TrackedStore) and chunks is None:
        if array.attrs.get(EVERY_FILE):
            store.refuses = "the array was written with all of its files, so make it again"
        elif request.refuses_holes:
            store.refuses = _COMPLETE

        def check() -> None:
            check_read(
                folder,
                array,
                view,
                there=store.indices(store.there),
                missing=store.indices(store.missing),
                sparse=sparse,
                coarser=coarser,
            )

        return check
    check_chunks(
        folder,
        array,
        view,
        labels=request.refuses_holes,
        partial=partial,
        sparse=sparse,
        coarser=coarser,
        chunks=chunks,
    )
    return None


#: Why no chunk of a truth at an address may be missing.
_COMPLETE = (
    "a server does not say whether it was left out as empty or is lost; if the missing chunks of "
    "this truth are known to be empty, write truth_complete=yes in the metadata column of its line "
    "in the sample sheet, otherwise download the truth"
)


def _attributes(array: zarr.Array[Any]) -> dict[str, Any]:
    """Return the attributes of an array, with the `_FillValue` that xarray keeps elsewhere.

    In format version 2, xarray writes it as the fill value of the array. Other programs state a
    fill value of 0 that marks nothing as missing.
    """
    attributes = dict(array.attrs)
    fill = array.fill_value if array.metadata.zarr_format == 2 else None
    if fill is not None and fill != 0 and "_ARRAY_DIMENSIONS" in attributes:
        return {"_FillValue": fill, **attributes}
    return attributes


def _coordinates(
    path: str, array: zarr.Array[Any], attributes: Mapping[str, Any]
) -> list[Coordinates | None]:
    """Return the coordinates of an array along its axes, from arrays with their names beside it."""
    names = attributes.get("_ARRAY_DIMENSIONS") or _dimensions(array) or []
    if len(names) != array.ndim:
        return [None] * array.ndim
    found: list[Coordinates | None] = []
    for name, length in zip(names, array.shape, strict=True):
        folder = folder_of(path).parent / str(name)
        is_beside = bool(name) and folder.name == name
        there = is_beside and any((folder / each).is_file() for each in ("zarr.json", ".zarray"))
        node = open_node(str(folder)) if there else None
        if not isinstance(node, zarr.Array) or node.shape != (length,):
            found.append(None)
        else:
            check_codecs(str(folder), node)
            values = np.asarray(_Chunked(node)[(slice(0, length),)])
            found.append(coordinates_of(values, dict(node.attrs), length=length))
    return found


def _dimensions(array: zarr.Array[Any]) -> list[str] | None:
    """Return the `dimension_names` of an array of format version 3, or None."""
    names = getattr(array.metadata, "dimension_names", None)
    return None if names is None else ["" if name is None else str(name) for name in names]


def open_node(path: str) -> zarr.Array[Any] | zarr.Group:
    """Open an array or a group for reading, by codecs that check each chunk."""
    with (
        readable(path),
        warnings.catch_warnings(),
        zarr.config.set({"codec_pipeline.path": PIPELINE}),
    ):
        warnings.simplefilter("ignore", UserWarning)
        return zarr.open(_store(path), mode="r")


def _store(path: str) -> Any:
    """Return what zarr opens: a folder, or a store of what is at an address."""
    if not is_address(path):
        return path
    return remote_module("store").RemoteStore(RemoteFolder.of(path))


class _Chunked:
    """An array whose damaged chunks are named.

    Parameters
    ----------
    array : zarr.Array
        As opened.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.shape = array.shape
        self.dtype = np.dtype(array.dtype)
        self._array = array

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        """Return the elements selected by one slice or integer per axis."""
        return read_chunks(self._array, index, refused=SourceError)


def _array(path: str) -> zarr.Array[Any]:
    if not _is_node(folder_of(path)):
        raise SourceError(
            f"{path} is named by the OME-Zarr metadata of its image, but does not exist: "
            "copy the image again"
        )
    node = open_node(path)
    if not isinstance(node, zarr.Array):
        raise SourceError(
            f"{path} is a group, but OME-Zarr needs an array there: copy the image again"
        )
    return node


def _is_node(folder: Folder) -> bool:
    """Return whether there is a folder; at an address, one that holds metadata."""
    if isinstance(folder, RemoteFolder):
        return any((folder / name).is_file() for name in ZARR_METADATA)
    return folder.is_dir()


def _image_around(path: str) -> tuple[ome_zarr.Image, int] | None:
    """Return the OME image that contains an array as a level, and its index, if there is one."""
    folder = folder_of(path)
    for parent in folders_around(folder, ome_zarr.DEPTH):
        try:
            if not any((parent / name).is_file() for name in ZARR_METADATA):
                continue
            image = ome_zarr.image_of(dict(open_node(str(parent)).attrs), str(parent))
        except SourceError as error:
            # damage around a plain array does not affect it
            logger.warning("%s is read as a plain array: %s", path, error)
            continue
        names = [] if image is None else [level.path for level in image.levels]
        name = ome_zarr.relative(folder, parent)
        if image is not None and name in names:
            return image, names.index(name)
    return None


def _no_image(path: str, group: zarr.Group) -> str:
    if is_address(path):
        return (
            f"{path} is a Zarr group without OME-Zarr metadata, not an array: give the address of "
            "an array in it"
        )
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
        f"give one of {'; '.join(names[:20]) or 'another folder, this one has no arrays'}"
    )
