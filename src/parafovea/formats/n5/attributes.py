"""N5: what the attributes of datasets and of the groups around them say; no block is read here.

The format leaves the place of voxels to conventions. Those of OpenOrganelle (`transform`), of the
N5 viewer (`pixelResolution`, `downsamplingFactors`, `scales`) and of Neuroglancer (`resolution`,
`units`, `axes`) are understood. Axes are in the order of N5, x first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.location import Location
from parafovea.formats.named_axes import axis_letter
from parafovea.formats.neighbours import inside
from parafovea.formats.remote.address import Folder, RefusedError, folder_of, folders_around
from parafovea.formats.source import Request, readable
from parafovea.formats.unpacking import LARGEST_EXTENSION, read_at_most
from parafovea.formats.zarr.ome_zarr import (
    Header,
    Image,
    Level,
    choose_level,
    level_spacings,
    open_level,
)
from parafovea.geometry.grid import Grid

FILE = "attributes.json"

#: Most levels of a pyramid that are looked for by name, s0, s1 …
_MOST_LEVELS = 20

_LEVEL = re.compile(r"s[0-9]+")

#: Axes without names.
_DEFAULT = {2: ("x", "y"), 3: ("x", "y", "z")}

_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


@dataclass(frozen=True, slots=True)
class Dataset:
    """An array of N5.

    Parameters
    ----------
    folder : Path or RemoteFolder
        Where it is.
    attributes : mapping
        All of them.
    shape, block : tuple of int
        Of the array and of a block, x first.
    dtype : dtype
        Of an element, in native byte order.
    compression : mapping
        Its `type` and parameters.
    """

    folder: Folder
    attributes: Mapping[str, Any]
    shape: tuple[int, ...]
    block: tuple[int, ...]
    dtype: np.dtype[Any]
    compression: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A dataset with the pyramid that it is a level of.

    Parameters
    ----------
    dataset : Dataset
        The array.
    image : Image
        Its pyramid, of one level if it is none.
    level : int
        Its place in it.
    folder : Path or RemoteFolder
        To which the levels are relative.
    """

    dataset: Dataset
    image: Image
    level: int
    folder: Folder


def attributes_of(folder: Folder) -> dict[str, Any]:
    """Return the attributes of a group or dataset, empty without any.

    Raises
    ------
    SourceError
        If they are damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    with readable(str(file)), file.open("rb") as opened:
        facts = json.loads(read_at_most(opened, LARGEST_EXTENSION, str(file)))
    if not isinstance(facts, dict):
        raise SourceError(f"{file} holds no attributes of N5: copy the volume again")
    return facts


def dataset_of(folder: Folder, attributes: Mapping[str, Any] | None = None) -> Dataset | None:
    """Return the dataset in a folder, None if it holds none.

    Raises
    ------
    SourceError
        If its attributes make no sense.
    """
    facts = attributes_of(folder) if attributes is None else attributes
    if "dimensions" not in facts:
        return None
    try:
        shape = tuple(_whole(n) for n in facts["dimensions"])
        block = tuple(_whole(n) for n in facts["blockSize"])
        kind = str(facts["dataType"])
        stated = facts.get("compression", {"type": facts.get("compressionType", "raw")})
        compression = {"type": stated} if isinstance(stated, str) else dict(stated)
        compression["type"] = str(compression["type"]).lower()
        if len(shape) != len(block) or not shape:
            raise ValueError(f"{len(shape)} dimensions, and blocks of {len(block)}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{folder / FILE} does not describe an array of N5 ({type(error).__name__}: {error}): "
            "copy the volume again"
        ) from error
    if kind not in (*_TYPES, "float32", "float64"):
        raise SourceError(
            f"{folder} holds {kind!r} instead of numbers: write it again as integers or floats"
        )
    return Dataset(folder, facts, shape, block, np.dtype(kind), compression)


def _whole(number: Any) -> int:
    if isinstance(number, bool) or int(number) != number or number < 1:
        raise ValueError(f"{number!r} is no number of voxels")
    return int(number)


def choose(path: str, request: Request) -> Chosen:
    """Return the dataset that is read of a source.

    Parameters
    ----------
    path : str
        A dataset, or a group with levels.
    request : Request
        As for `open_volume`.

    Raises
    ------
    SourceError
        If there is none, or the attributes contradict each other.
    """
    folder = folder_of(path)
    attributes = attributes_of(folder)
    dataset = dataset_of(folder, attributes)
    if dataset is None:
        levels = _levels(folder, attributes)
        if not levels:
            raise SourceError(
                f"{path} is a group of N5 without levels (s0, s1 …), not an array: give one of its "
                f"datasets{_listed(folder)}"
            )
        image = _image(path, _inherited(folder, attributes), levels)
        spacings = level_spacings(path, image, request.metadata)
        level = choose_level(spacings, request.finer_than, request.unit)
        return Chosen(levels[level][1], image, level, folder)
    around = _around(folder)
    if around is not None:
        group, attributes = around
        levels = _levels(group, attributes)
        found = [k for k, (_, each) in enumerate(levels) if each.folder == folder]
        if found:
            image = _image(path, _inherited(group, attributes), levels)
            return Chosen(dataset, image, found[0], group)
    return Chosen(dataset, _image(path, _inherited(folder, {}), [("", dataset)]), 0, folder)


def _around(folder: Folder) -> tuple[Folder, dict[str, Any]] | None:
    """Return the group of which a dataset may be a level, with its attributes."""
    for group in folders_around(folder, 1):
        try:
            attributes = attributes_of(group)
        except RefusedError:
            return None
        is_level = _LEVEL.fullmatch(folder.name) and (group / "s0" / FILE).is_file()
        if is_level or any(key in attributes for key in ("multiscales", "scales", *_RESOLUTION)):
            return group, attributes
    return None


def _inherited(folder: Folder, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a group, with those of place that only groups around it state."""
    found = dict(attributes)
    if "multiscales" in attributes:
        return found
    for around in folders_around(folder, _AROUND):
        try:
            stated = attributes_of(around)
        except RefusedError:
            break
        found = {key: stated[key] for key in _OF_PLACE if key in stated} | found
    return found


def _levels(folder: Folder, attributes: Mapping[str, Any]) -> list[tuple[str, Dataset]]:
    """Return the datasets of a group by their names, the finest first."""
    names = _named_levels(attributes)
    found = []
    for name in names or (f"s{k}" for k in range(_MOST_LEVELS)):
        place = inside(folder, name)
        if place is None:
            raise SourceError(
                f"{folder} has its level {name!r} outside of its folder: put it into the folder"
            )
        dataset = dataset_of(place)
        if dataset is None:
            if names:
                raise SourceError(
                    f"{place} is named by the attributes of its group, but holds no array: copy "
                    "the volume again"
                )
            break
        found.append((name, dataset))
    return found


def _named_levels(attributes: Mapping[str, Any]) -> list[str]:
    multiscales: Any = attributes.get("multiscales")
    try:
        return [str(each["path"]) for each in multiscales[0]["datasets"]]
    except (IndexError, KeyError, TypeError):
        return []


def _listed(folder: Folder) -> str:
    from pathlib import Path

    if not isinstance(folder, Path):
        return ""
    files = (file for file in folder.rglob(FILE) if "dimensions" in attributes_of(file.parent))
    names = sorted(file.parent.relative_to(folder).as_posix() for file in files)
    return f": {', '.join(names[:20])}" if names else ""


_RESOLUTION = ("pixelResolution", "resolution")

#: Attributes that hold for groups and datasets below, and how far up they are looked for.
_OF_PLACE = (*_RESOLUTION, "axes", "units", "scales", "downsamplingFactors", "affineTransform")
_AROUND = 2


def _image(path: str, group: Mapping[str, Any], levels: Sequence[tuple[str, Dataset]]) -> Image:
    """Return the pyramid of datasets, by their attributes and those of their group."""
    try:
        return _placed(group, levels)
    except ParafoveaError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} has attributes that do not describe where its voxels are "
            f"({type(error).__name__}: {error}): correct transform, pixelResolution, resolution, "
            "downsamplingFactors, scales, units or axes"
        ) from error


def _placed(group: Mapping[str, Any], levels: Sequence[tuple[str, Dataset]]) -> Image:
    first = levels[0][1]
    axes = _axes(group, levels)
    count = len(axes)
    affine = first.attributes.get("affineTransform", group.get("affineTransform"))
    if affine is not None and not np.array_equal(affine, np.eye(count + 1)[: len(affine)]):
        raise ValueError("an affineTransform, which is not followed: resample the volume")
    transforms = [_transform(group, k, each) for k, (_, each) in enumerate(levels)]
    if all(transform is not None for transform in transforms):
        stated = [_by_transform(each, axes) for each in transforms if each is not None]
        units: _Units = stated[0][2]
        if any(each[2] != units for each in stated):
            raise ValueError("the levels have different units")
        places = [(scale, translation) for scale, translation, _ in stated]
    else:
        size = _resolution(first.attributes, count) or _resolution(group, count)
        base, own_units = (None, None) if size is None else size
        others = _units(first.attributes, count) or _units(group, count)
        unknown: _Units = (None,) * count
        units = own_units or others or unknown
        factors = [_factors(group, k, each, count) for k, (_, each) in enumerate(levels)]
        places = []
        for (_, each), factor in zip(levels, factors, strict=True):
            own = _resolution(each.attributes, count)
            scale = _scale(base, factor, None if own is None else own[0], count)
            # blocks of voxels begin at the same outer face
            shift = tuple(
                (s - b) / 2 if a in "zyx" else 0.0
                for a, s, b in zip(axes, scale, base or scale, strict=True)
            )
            places.append((scale, shift))
    made = [
        Level(name, scale, translation)
        for (name, _), (scale, translation) in zip(levels, places, strict=True)
    ]
    return Image(axes, tuple(units), tuple(made))


def _axes(group: Mapping[str, Any], levels: Sequence[tuple[str, Dataset]]) -> tuple[str, ...]:
    """Return the letters of the axes, in the order of N5."""
    first = levels[0][1]
    count = len(first.shape)
    transform = _transform(group, 0, first)
    if transform is not None:
        # z first, unless it says otherwise
        names = list(transform["axes"])
        names = names if transform.get("order") == "F" else names[::-1]
    else:
        around = group.get("axes")
        # those of a group around may be of other datasets
        around = around if around and len(around) == count else None
        names = list(first.attributes.get("axes") or around or _DEFAULT.get(count, ()))
        if not names:
            raise ValueError(f"{count} axes, and nothing names them (axes)")
    letters = tuple(axis_letter(str(name)) for name in names)
    if len(letters) != count or len({*letters}) != count or not {"y", "x"} <= {*letters}:
        raise ValueError(f"axes {', '.join(letters)} for {count} dimensions")
    return letters


def _transform(group: Mapping[str, Any], level: int, dataset: Dataset) -> Mapping[str, Any] | None:
    """Return the transform of a level as OpenOrganelle states it, None without one."""
    found = dataset.attributes.get("transform")
    if found is None and group.get("multiscales"):
        found = group["multiscales"][0]["datasets"][level].get("transform")
    return found if isinstance(found, Mapping) and "scale" in found else None


_Numbers = tuple[float, ...]
_Units = tuple[str | None, ...]


def _by_transform(
    transform: Mapping[str, Any], axes: Sequence[str]
) -> tuple[_Numbers, _Numbers, _Units]:
    names = [axis_letter(str(name)) for name in transform["axes"]]
    if sorted(names) != sorted(axes):
        raise ValueError(f"transform has the axes {', '.join(names)}")
    order = [names.index(axis) for axis in axes]
    scale = _numbers(transform["scale"], len(axes))
    shift = _numbers(transform.get("translate", [0] * len(axes)), len(axes))
    units = transform.get("units") or [None] * len(axes)
    if len(units) != len(axes):
        raise ValueError(f"{len(units)} units for {len(axes)} axes")
    return (
        tuple(scale[k] for k in order),
        tuple(shift[k] for k in order),
        tuple(None if units[k] is None else str(units[k]) for k in order),
    )


def _numbers(values: Any, count: int) -> _Numbers:
    found = tuple(float(value) for value in values)
    if len(found) != count or not all(map(math.isfinite, found)):
        raise ValueError(f"{list(values)} are not {count} numbers")
    return found


def _resolution(attributes: Mapping[str, Any], count: int) -> tuple[_Numbers, _Units | None] | None:
    """Return the voxel size that attributes state, and its units if they do."""
    stated = next((attributes[key] for key in _RESOLUTION if attributes.get(key)), None)
    if stated is None:
        return None
    units: _Units | None = None
    if isinstance(stated, Mapping):
        unit = stated.get("unit")
        units = None if unit is None else (str(unit),) * count
        stated = stated["dimensions"]
    values = list(stated)
    # channels are mostly left out
    values += [1.0] * (count - len(values))
    return _numbers(values, count), units


def _units(attributes: Mapping[str, Any], count: int) -> _Units | None:
    stated = attributes.get("units")
    if not stated:
        return None
    listed = [stated] * count if isinstance(stated, str) else list(stated)
    listed += [None] * (count - len(listed))
    return tuple(None if unit is None else str(unit) for unit in listed[:count])


def _factors(group: Mapping[str, Any], level: int, dataset: Dataset, count: int) -> _Numbers | None:
    """Return how many voxels of the finest level one of this level is along each axis."""
    stated = dataset.attributes.get("downsamplingFactors")
    listed = group.get("scales") or group.get("downsamplingFactors") or ()
    if stated is None and level < len(listed) and isinstance(listed[level], list):
        stated = listed[level]
    if stated is None:
        return (1.0,) * count if level == 0 else None
    values = [*stated]
    found = _numbers([*values, *[1.0] * (count - len(values))], count)
    if min(found) <= 0:
        raise ValueError(f"downsampling by {values}")
    return found


def _scale(
    base: _Numbers | None, factor: _Numbers | None, own: _Numbers | None, count: int
) -> _Numbers:
    """Return the voxel size of a level.

    Some programs state that of the level itself in it, others that of the finest one.
    """
    if base is None:
        return (math.nan,) * count
    if factor is None:
        if own is None:
            raise ValueError("a level states neither downsamplingFactors nor its pixelResolution")
        return own
    meant = tuple(b * f for b, f in zip(base, factor, strict=True))
    if own is None or np.allclose(own, meant, rtol=1e-3) or np.allclose(own, base, rtol=1e-3):
        return meant
    raise ValueError(f"a level states the resolution {own}, and by its factors it is {meant}")


def grid(location: Location, request: Request) -> Grid:
    """Return the grid of a volume from its attributes.

    Parameters
    ----------
    location : Location
        Folder of a dataset or a group.
    request : Request
        As for `open_volume` of the format.

    Raises
    ------
    SourceError
        If the attributes are damaged.
    """
    with readable(location.path):
        chosen = choose(location.path, request)
        header = Header(chosen.dataset.shape, chosen.dataset.dtype)
        found = open_level(
            location.path, chosen.image, chosen.level, header, metadata=request.metadata
        )
        return found[1]


def files(path: str) -> list[str]:
    """Return the files of attributes that a volume depends on."""
    return [str(each) for each in metadata_files(folder_of(path))]


def metadata_files(folder: Folder) -> list[Folder]:
    """Return the files of attributes of a volume on disk or at an address; see `files`."""
    found: list[Folder] = [folder]
    try:
        attributes = attributes_of(folder)
        if "dimensions" in attributes:
            around = _around(folder)
            folder, attributes = (folder, {}) if around is None else around
        found += [each.folder for _, each in _levels(folder, attributes)]
        if "multiscales" not in attributes:
            found += folders_around(folder, _AROUND)
        found.append(folder)
    except SourceError as error:
        if "cannot be" in str(error) or isinstance(error, RefusedError):
            raise
        # damage is reported when the volume is opened
    return [each / FILE for each in dict.fromkeys(found) if _has_attributes(each)]


def _has_attributes(folder: Folder) -> bool:
    try:
        return (folder / FILE).is_file()
    except RefusedError:
        return False
