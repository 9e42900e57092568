"""MetaImage volumes of ITK, .mha and .mhd, the format of the LUNA16 scans."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.raw_voxels import data_file, stored_voxels
from parafovea.formats.source import Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import (
    Stated,
    check_shape,
    place,
    placed_affine,
    ras_affine,
)
from parafovea.formats.unpacking import LARGEST_HEADER

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def open_volume(location: Location, request: Request) -> Source:
    """Open a MetaImage file.

    Parameters
    ----------
    location : Location
        A .mha file, or a .mhd header next to its voxel file.
    request : Request
        User metadata. A user spacing changes the grid and, relative to the first voxel, the affine.

    Returns
    -------
    Source
        Spacing in millimetres, origin 0, and the affine stated in the header.

    Raises
    ------
    SourceError
        If the file is damaged, truncated, or not a single numeric volume; if its axes are sheared,
        it states two placements, or its values or lengths use a scale that ITK does not read.
    """
    path, metadata = location.path, request.metadata
    with readable(path):
        with Path(path).open("rb") as file:
            header = _header(path, file)
            end = file.tell()
        size = [int(n) for n in _words(path, header, "DimSize")]
        if header.get("NDims") != "3" or len(size) != 3:
            raise SourceError(
                f"{path} has the dimensions {header.get('DimSize')!r}, but a volume has three: "
                "give a file of one volume"
            )
        check_shape(path, size[::-1])
        kind = header.get("ElementType", "")
        if kind not in _TYPES or not _is_true(header.get("BinaryData", "True")):
            raise SourceError(
                f"{path} has voxels of type {kind or 'text'}, which is not supported: write it "
                "again as binary integers or floats"
            )
        big = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False"))
        dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if _is_true(big) else "<")
        channels = int(header.get("ElementNumberOfChannels", 1))
        packed = _is_true(header.get("CompressedData", "False"))
        data = data_file(path)
        skipped = int(header.get("HeaderSize", 0))
        offset = end if data is None and skipped == 0 else skipped
        shape = (channels, *size)
        stored = stored_voxels(path, data or path, offset, shape=shape, dtype=dtype, packed=packed)
        _check_scales(path, header, metadata)
        spacing = [float(v) for v in _words(path, header, *_SPACINGS)]
        # each line of the matrix is the direction of an axis
        lines = np.array([float(v) for v in _words(path, header, *_MATRICES)]).reshape(3, 3)
        if (abs(np.linalg.norm(lines, axis=1) - 1) > 1e-3).any():
            raise SourceError(
                f"{path} states directions that are not of length 1 ({lines.tolist()}): correct "
                "the matrix in its header"
            )
        origin = np.array([float(v) for v in _words(path, header, *_ORIGINS)])
        # a length of 0 is reported by `place`, or replaced by the user
        steps = [length or 1.0 for length in spacing]
        affine = ras_affine(path, lines.T * steps, origin, (-1, -1, 1))
    fixed = {0: pick_channel(path, channels, metadata.channel)}
    view = VolumeView(stored, path, axes=(3, 2, 1), fixed=fixed)
    # ITK reverses an axis of negative spacing, as the affine does here
    x, y, z = (abs(length) for length in spacing)
    stated = Stated((z, y, x), "millimeter")
    grid = place(path, view.shape, stated, metadata)
    affine = placed_affine(path, affine, grid, stated, metadata)
    return Source(path, view, grid, affine=affine)


def _is_true(word: str) -> bool:
    """Return whether a word means yes; ITK looks at its first letter alone."""
    return word[:1] in ("T", "t", "1")


_SPACINGS = ("ElementSpacing", "ElementSize")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_ORIGINS = ("Offset", "Position", "Origin")


def _check_scales(path: str, header: dict[str, str], metadata: SourceMetadata) -> None:
    """Raise `SourceError` if voxels or lengths use a scale that ITK does not read."""
    for key, neutral in (
        ("ElementToIntensityFunctionSlope", 1.0),
        ("ElementToIntensityFunctionOffset", 0.0),
    ):
        if float(header.get(key, neutral)) != neutral:
            raise SourceError(
                f"{path} states {key} = {header[key]}, which ITK ignores: write the file again "
                "with its true values, and without this line"
            )
    unit = header.get("DistanceUnits", "mm").lower()
    if unit not in ("mm", "?", "") and metadata.unit is None:
        raise SourceError(
            f"{path} states DistanceUnits = {unit}, which ITK ignores, so programs "
            f"disagree on its size: write `unit={unit}` or `unit=mm` in the metadata column of its "
            "line in the sample sheet"
        )


def _header(path: str, file: BinaryIO) -> dict[str, str]:
    """Return the fields of a header; leaves the file positioned after it."""
    fields: dict[str, str] = {}
    while file.tell() < LARGEST_HEADER and (line := file.readline(LARGEST_HEADER)):
        key, mark, value = line.decode("utf-8", "replace").partition("=")
        if not mark:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields
    raise SourceError(f"{path} is not a MetaImage: it has no line ElementDataFile; write it again")


def _words(path: str, header: dict[str, str], *keys: str) -> list[str]:
    """Return the words of the first field present among synonyms."""
    if keys != _SPACINGS:  # a voxel may be smaller than the distance to the next one
        stated = {key: tuple(map(float, header[key].split())) for key in keys if key in header}
        if len(set(stated.values())) > 1:
            both = " and ".join(f"{key} = {header[key]}" for key in stated)
            raise SourceError(f"{path} states two placements, {both}: remove the wrong line")
    for key in keys:
        if key in header:
            words = header[key].split()
            if len(words) not in (3, 9) or (key in _MATRICES) != (len(words) == 9):
                raise SourceError(
                    f"{path} states {key} = {header[key]}, of {len(words)} numbers, but a volume "
                    f"has {9 if key in _MATRICES else 3}: give a file of one volume"
                )
            return words
    if keys == _MATRICES:
        return ["1", "0", "0", "0", "1", "0", "0", "0", "1"]
    if keys == _ORIGINS:
        return ["0"] * 3
    raise SourceError(f"{path} does not state {keys[0]}: write it again, or correct the header")
