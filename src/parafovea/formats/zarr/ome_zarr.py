"""OME-Zarr 0.1 to 0.5: the metadata of an image, and the choice of a level.

The metadata are small JSON files, which `grid` reads without zarr: importing zarr takes longer
than planning a hundred samples.
"""

from __future__ import annotations

import itertools
import json
import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.location import Location
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.named_axes import axis_letter
from parafovea.formats.neighbours import inside
from parafovea.formats.registry import ZARR_METADATA
from parafovea.formats.remote.address import (
    Folder,
    RefusedError,
    RemoteFolder,
    folder_of,
    folders_around,
)
from parafovea.formats.source import (
    Request,
    StoredArray,
    VolumeView,
    pick_channel,
    readable,
)
from parafovea.formats.source_placement import Stated, check_shape, settle, unit_factors
from parafovea.formats.unpacking import LARGEST_EXTENSION, read_at_most
from parafovea.geometry.grid import AXES, METRES, Grid, Vector, vector3

#: Axes of the first versions, in which they are unnamed.
_FIRST_AXES = ("t", "c", "z", "y", "x")

#: Relative tolerance for spacings that were rounded when stored.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Level:
    """One array of a pyramid.

    Parameters
    ----------
    path : str
        Path of the array relative to the image's folder.
    scale, translation : tuple of float
        From index to world, one number per axis of the image.
    """

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """A pyramid of arrays with the same axes.

    Parameters
    ----------
    axes : tuple of str
        Names in lower case, such as t, c, z, y, x, in the order of the arrays.
    units : tuple of str or None
        Unit of each axis, as spelled in the file.
    levels : tuple of Level
        Levels, finest first.
    labels : tuple of str
        Labels of the channels, as viewers show them; empty without any.
    """

    axes: tuple[str, ...]
    units: tuple[str | None, ...]
    levels: tuple[Level, ...]
    labels: tuple[str, ...] = ()

    def along(self, values: Sequence[float], default: float) -> Vector:
        """Return the numbers of the axes z, y, x, with the default for missing axes."""
        return vector3([values[self.axes.index(a)] if a in self.axes else default for a in AXES])


def image_of(attributes: Mapping[str, Any], path: str) -> Image | None:
    """Return the first image described by a group's attributes, or None if there is none.

    Raises
    ------
    SourceError
        If the description is malformed.
    """
    ome = attributes.get("ome")
    holder = ome if isinstance(ome, Mapping) and "multiscales" in ome else attributes
    if not holder.get("multiscales"):
        return None
    try:
        return _parse(holder["multiscales"][0], _labels(holder.get("omero")))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} has OME-Zarr metadata that do not follow their version, 0.1 to 0.5 "
            f"({type(error).__name__}: {error}): write the image again"
        ) from error


def _labels(omero: Any) -> tuple[str, ...]:
    """Return the labels of the channels; what viewers are told besides is of no concern here."""
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list) or not all(isinstance(each, Mapping) for each in channels):
        return ()
    return tuple(str(each.get("label") or "") for each in channels)


def _parse(multiscale: Mapping[str, Any], labels: tuple[str, ...]) -> Image:
    version = str(multiscale.get("version", "0.4"))
    # Images of 0.1 and 0.2 have these unnamed axes; scales were introduced in 0.4.
    stated = multiscale.get("axes", _FIRST_AXES if version in ("0.1", "0.2") else None)
    if stated is None:
        raise KeyError("axes")
    axes = [{"name": a} if isinstance(a, str) else a for a in stated]
    names = tuple(_letter(axis) for axis in axes)
    if not {"y", "x"} <= set(names) or len(set(names)) != len(names):
        raise ValueError(f"axes {', '.join(names)} lack y or x, or repeat one")
    outer = multiscale.get("coordinateTransformations") or []
    old = version in ("0.1", "0.2", "0.3")
    levels = []
    for dataset in multiscale["datasets"]:
        steps = dataset.get("coordinateTransformations")
        if steps is None and not old:
            raise KeyError("coordinateTransformations")
        scale, translation = _transform([*(steps or []), *outer], len(names))
        if steps is None:
            scale = (math.nan,) * len(names)
        levels.append(Level(str(dataset["path"]), scale, translation))
    if not levels:
        raise ValueError("no datasets")
    units = tuple(None if a.get("unit") is None else str(a["unit"]) for a in axes)
    return Image(names, units, tuple(levels), labels)


def _letter(axis: Mapping[str, Any]) -> str:
    """Return the letter of an axis, from its type if that is more specific than its name."""
    name = axis_letter(str(axis["name"]))
    kinds = {"channel": "c", "time": "t"}
    meant = kinds.get(str(axis.get("type", "")).lower())
    if meant is not None and name in AXES:
        raise ValueError(f"axis {name} has the type {axis['type']}")
    if meant is None and axis.get("type") == "space" and name not in AXES:
        raise ValueError(f"axis {name} has the type space, but is neither z, y nor x")
    return meant or name


def _transform(
    steps: Sequence[Mapping[str, Any]], axes: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale, translation = (1.0,) * axes, (0.0,) * axes
    for step in steps:
        step_type = step["type"]
        if step_type == "identity":
            continue
        if step_type not in ("scale", "translation"):
            raise ValueError(
                f"coordinate transformation {step_type!r} is neither scale nor translation"
            )
        numbers = [float(v) for v in step[step_type]]
        if len(numbers) != axes:
            raise ValueError(f"{step_type} has {len(numbers)} numbers for {axes} axes")
        if step_type == "scale":
            scale = tuple(s * k for s, k in zip(scale, numbers, strict=True))
            translation = tuple(t * k for t, k in zip(translation, numbers, strict=True))
        else:
            translation = tuple(t + k for t, k in zip(translation, numbers, strict=True))
    return scale, translation


def level_folder(path: str, image: Image, level: int) -> Folder:
    """Return the folder of a level.

    Parameters
    ----------
    path : str
        Folder of the image.
    image : Image
        Metadata of the image.
    level : int
        Index of the level.

    Raises
    ------
    SourceError
        If it is outside of the image's folder.
    """
    name = image.levels[level].path
    there = inside(folder_of(path), name)
    if there is None:
        raise SourceError(
            f"{path} has its level {level} in {name!r}, outside of its folder: put it into the "
            "folder of the image, and name it relative to that"
        )
    return there


def relative(folder: Folder, parent: Folder) -> str:
    """Return the name of a folder relative to one around it, with forward slashes."""
    if isinstance(folder, RemoteFolder):
        return posixpath.relpath(str(folder), str(parent))
    return folder.relative_to(str(parent)).as_posix()


def level_spacings(path: str, image: Image, metadata: SourceMetadata) -> tuple[list[Vector], str]:
    """Return the spacing (z, y, x) of each level, and their common unit.

    Raises
    ------
    SpacingError
        If neither the image nor the user states them.
    """
    # levels without a scale cannot be used if the user states the spacing of the first one
    known = 1 if math.isnan(image.levels[0].scale[-1]) else len(image.levels)
    placed = [_settle_level(path, image, level, metadata) for level in range(known)]
    return [spacing for spacing, _, _ in placed], placed[0][2]


def choose_level(
    spacings: tuple[Sequence[Vector], str], finer_than: Vector | None, unit: str | None
) -> int:
    """Return the index of the coarsest level with a spacing of at most `finer_than` on each axis.

    If no level is fine enough along an axis, the finest spacing along that axis is accepted: the
    planes of a stack of thick sections may remain coarser than requested.

    Parameters
    ----------
    spacings : tuple
        Spacing of each level along z, y, x, and its unit, as `level_spacings` returns them.
    finer_than : tuple of float, optional
        Spacing along z, y, x; if None, the first level is chosen.
    unit : str, optional
        Unit of `finer_than`; by default that of the levels.
    """
    levels, own = spacings
    if finer_than is None:
        return 0
    factor = METRES[unit or own] / METRES[own]
    finest = [min(spacing[axis] for spacing in levels) for axis in range(3)]
    limit = [
        max(f * factor, least) * (1 + _TOLERANCE)
        for f, least in zip(finer_than, finest, strict=True)
    ]
    fitting = [
        k
        for k, spacing in enumerate(levels)
        if all(s <= f for s, f in zip(spacing, limit, strict=True))
    ]
    return max(fitting, key=lambda k: math.prod(levels[k]), default=0)


def open_level(
    path: str, image: Image, level: int, array: StoredArray, *, metadata: SourceMetadata
) -> tuple[VolumeView, Grid]:
    """Return the volume of one level of an image, and its grid.

    Parameters
    ----------
    path : str
        Source string as given by the user.
    image : Image
        Metadata of the image.
    level : int
        Index of the level.
    array : StoredArray
        Array of that level.
    metadata : SourceMetadata
        User metadata; its spacing and origin refer to the first level.

    Returns
    -------
    VolumeView
        Without the axes other than z, y, x, of which only channels may be longer than one.
    Grid
        Its place.

    Raises
    ------
    SourceError
        If the axes of the array and the image differ, or it is a time series.
    """
    if len(array.shape) != len(image.axes):
        raise SourceError(
            f"{path} has the axes {', '.join(image.axes)}, but its level "
            f"{image.levels[level].path} has the shape {array.shape}: write the image again"
        )
    fixed: dict[int, int] = {}
    for axis, name in enumerate(image.axes):
        if name == "c":
            fixed[axis] = pick_channel(path, array.shape[axis], metadata.channel)
        elif name not in AXES and array.shape[axis] != 1:
            raise SourceError(
                f"{path} has {array.shape[axis]} elements along the axis {name}: save one of them "
                "as an image of its own"
            )
    if "c" not in image.axes:
        pick_channel(path, 1, metadata.channel)
    z = image.axes.index("z") if "z" in image.axes else None
    axes = (z, image.axes.index("y"), image.axes.index("x"))
    view = VolumeView(array, path, axes=axes, fixed=fixed)
    shape = check_shape(path, view.shape)
    return view, Grid(shape, *_settle_level(path, image, level, metadata))


def channel_names(image: Image, view: VolumeView) -> tuple[str, ...]:
    """Return the names of an image's channels, "" for one without a label.

    Parameters
    ----------
    image : Image
        Metadata of the image.
    view : VolumeView
        One channel of a level; labels of another number of channels are none.
    """
    unnamed = ("",) * view.channels
    return image.labels if len(image.labels) == len(unnamed) else unnamed


def _settle_level(
    path: str, image: Image, level: int, metadata: SourceMetadata
) -> tuple[Vector, Vector, str]:
    """Return spacing, origin and unit of a level; user metadata refer to the first level."""
    factors, unit = _unit_factors(image)
    first, this = (
        (image.along(item.scale, 1.0), image.along(item.translation, 0.0))
        for item in (image.levels[0], image.levels[level])
    )
    z, y, x = (s * f if f is not None else None for s, f in zip(first[0], factors, strict=True))
    stated_origin = [t * (f or 1.0) for t, f in zip(first[1], factors, strict=True)]
    spacing, origin, name = settle(path, Stated((z, y, x), unit, vector3(stated_origin)), metadata)
    # for a level without a scale, user metadata refer to the level itself
    if level == 0 or math.isnan(this[0][2]):
        return spacing, origin, name
    ratio = [b / a if a > 0 else 1.0 for a, b in zip(first[0], this[0], strict=True)]
    # The levels' distance in voxels of the first one is independent of the units.
    steps = [
        (b - a) / s if s > 0 else 0.0 for a, b, s in zip(first[1], this[1], first[0], strict=True)
    ]
    return (
        vector3([s * r for s, r in zip(spacing, ratio, strict=True)]),
        vector3([o + k * s for o, k, s in zip(origin, steps, spacing, strict=True)]),
        name,
    )


def _unit_factors(image: Image) -> tuple[list[float | None], str | None]:
    """Return the factors that convert z, y, x to the unit of x, and that unit.

    A factor is None if the image lacks the axis, or its unit cannot be converted to that of x.
    """
    units = {name: image.units[image.axes.index(name)] for name in AXES if name in image.axes}
    factors, reference = unit_factors([*units.values()])
    known = dict(zip(units, factors, strict=True))
    return [known.get(name) for name in AXES], reference


@dataclass(frozen=True, slots=True)
class Header:
    """An array of which only the header is known.

    Parameters
    ----------
    shape : tuple of int
        Length of each axis.
    dtype : dtype
        Of an element.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        raise NotImplementedError("only the header of this array was read")


def grid(location: Location, request: Request) -> Grid | None:
    """Return the grid of an OME-Zarr image from its JSON files, or None for other folders.

    Parameters
    ----------
    location : Location
        Folder of a Zarr group or array.
    request : Request
        As for `open_volume` of the format.

    Raises
    ------
    SourceError
        If the metadata are damaged.
    """
    path, metadata = location.path, request.metadata
    folder = folder_of(path)
    with readable(path):
        image = image_of(attributes_of(folder), path)
        if image is None:
            return None
        spacings = level_spacings(path, image, metadata)
        level = choose_level(spacings, request.finer_than, request.unit)
        header = _header(level_folder(path, image, level))
        return open_level(path, image, level, header, metadata=metadata)[1]


#: Maximum number of folders between an array and its OME image, as in `image.zarr/scale0/image`.
DEPTH = 2

_METADATA = (*ZARR_METADATA, ".zattrs")


def files(path: str) -> list[str]:
    """Return the metadata files that a Zarr array or image depends on.

    Parameters
    ----------
    path : str
        A folder of a group or an array.

    Returns
    -------
    list of str
        Those of the node, of the enclosing images, and of the levels that it names; and the folders
        of arrays beside it that hold coordinates along its axes.
    """
    return [str(each) for each in metadata_files(folder_of(path))]


def metadata_files(folder: Folder) -> list[Folder]:
    """Return the metadata files of an array or image on disk or at an address; see `files`."""
    found: list[Folder] = [folder]
    try:
        image = image_of(attributes_of(folder), str(folder))
    except (ParafoveaError, OSError, ValueError) as error:
        if isinstance(folder, RemoteFolder) and isinstance(error, ParafoveaError):
            raise
        # damage is reported when the image is opened
        image = None
    if image is None or not isinstance(folder, RemoteFolder):
        # metadata of images that enclose an array
        found += folders_around(folder, DEPTH)
    if image is not None:
        inner = (inside(folder, level.path) for level in image.levels)
        # one outside is refused when the image is opened
        found += [each for each in inner if each is not None]
    beside = _coordinates(folder)
    if isinstance(folder, RemoteFolder):
        found += beside
        beside = []
    around = set(found[1 : 1 + DEPTH]) if image is None else set()
    names: list[Folder] = []
    for each in found:
        there = (each / name for name in _METADATA if _is_file(each / name, each in around))
        # at an address, not more is asked for than a file of format version 3
        names += itertools.islice(there, _asked_for(each, each in around))
    return names + beside


def _asked_for(folder: Folder, is_around: bool) -> int | None:
    """Return how many metadata files of a folder are looked for, None for all."""
    is_remote = isinstance(folder, RemoteFolder)
    return 1 if is_remote and _is_file(folder / ZARR_METADATA[0], is_around) else None


def _is_file(place: Folder, is_around: bool) -> bool:
    """Return whether there is a file; around the source, one that is refused is none."""
    try:
        return place.is_file()
    except RefusedError:
        if is_around:
            return False
        raise


def _coordinates(folder: Folder) -> list[Folder]:
    """Return the folders beside an array that are named like its dimensions."""
    try:
        names = attributes_of(folder).get("_ARRAY_DIMENSIONS")
        if names is None and (folder / "zarr.json").is_file():
            names = _read(folder / "zarr.json").get("dimension_names")
    except (ParafoveaError, OSError, ValueError):
        return []
    names = [
        name for name in names or () if isinstance(name, str) and posixpath.basename(name) == name
    ]
    beside = [folder.parent / name for name in names if name]
    return [each for each in beside if any((each / name).is_file() for name in _METADATA)]


def attributes_of(folder: Folder) -> dict[str, Any]:
    """Return the attributes of a group of format version 3 or 2."""
    if (folder / "zarr.json").is_file():
        return dict(_read(folder / "zarr.json").get("attributes") or {})
    return _read(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}


def _header(folder: Folder) -> Header:
    if (folder / "zarr.json").is_file():
        facts = _read(folder / "zarr.json")
        return Header(tuple(facts["shape"]), np.dtype(facts["data_type"]))
    facts = _read(folder / ".zarray")
    return Header(tuple(facts["shape"]), np.dtype(facts["dtype"]))


def _read(file: Folder) -> dict[str, Any]:
    with file.open("rb") as opened:
        facts = json.loads(read_at_most(opened, LARGEST_EXTENSION, str(file)))
    if not isinstance(facts, dict):
        raise SourceError(f"{file} is not Zarr metadata: copy the image again")
    return facts
