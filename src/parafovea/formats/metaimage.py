"""MetaImage volumes of ITK, .mha and .mhd: the format of LUNA16's scans."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.raw_voxels import MAX_HEADER, data_file, stored_voxels
from parafovea.formats.source import Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import Stated, check_shape, place, ras_affine

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
        A .mha file, or a .mhd header beside the file of its voxels.
    request : Request
        The user's metadata changes the grid, never the affine.

    Returns
    -------
    Source
        Spacing in millimetres, origin 0, and the affine that the header states.

    Raises
    ------
    SourceError
        If the file is damaged, truncated, or is not one volume of numbers.
    """
    path, metadata = location.path, request.metadata
    with readable(path):
        with Path(path).open("rb") as file:
            header = _header(path, file)
            end = file.tell()
        size = [int(n) for n in _words(path, header, "DimSize")]
        if header.get("NDims") != "3" or len(size) != 3:
            raise SourceError(
                f"{path} has the dimensions {header.get('DimSize')!r}, where a volume has three: "
                "give a file of one volume"
            )
        check_shape(path, size[::-1])
        kind = header.get("ElementType", "")
        if kind not in _TYPES or header.get("BinaryData", "True").lower() != "true":
            raise SourceError(
                f"{path} has voxels of type {kind or 'text'}, which is not read: write it again "
                "as binary integers or floats"
            )
        big = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False"))
        dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if big.lower() == "true" else "<")
        channels = int(header.get("ElementNumberOfChannels", 1))
        packed = header.get("CompressedData", "False").lower() == "true"
        data = data_file(path)
        offset = end if data is None else int(header.get("HeaderSize", 0))
        shape = (channels, *size)
        stored = stored_voxels(path, data or path, offset, shape=shape, dtype=dtype, packed=packed)
        spacing = [float(v) for v in _words(path, header, "ElementSpacing", "ElementSize")]
        # a line of the matrix is the direction of an axis
        lines = np.array([float(v) for v in _words(path, header, *_MATRICES)]).reshape(3, 3)
        origin = np.array([float(v) for v in _words(path, header, *_ORIGINS)])
        affine = ras_affine(path, lines.T * spacing, origin, (-1, -1, 1))
    fixed = {0: pick_channel(path, channels, metadata.channel)}
    view = VolumeView(stored, path, axes=(3, 2, 1), fixed=fixed)
    x, y, z = spacing
    grid = place(path, view.shape, Stated((z, y, x), "millimeter"), metadata)
    return Source(path, view, grid, affine=affine)


_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_ORIGINS = ("Offset", "Position", "Origin")


def _header(path: str, file: BinaryIO) -> dict[str, str]:
    """Return the fields of a header; the file is left behind it."""
    fields: dict[str, str] = {}
    while file.tell() < MAX_HEADER and (line := file.readline(MAX_HEADER)):
        key, mark, value = line.decode("utf-8", "replace").partition("=")
        if not mark:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields
    raise SourceError(f"{path} is no MetaImage: it has no line ElementDataFile; write it again")


def _words(path: str, header: dict[str, str], *keys: str) -> list[str]:
    for key in keys:
        if key in header:
            words = header[key].split()
            if len(words) not in (3, 9) or (key in _MATRICES) != (len(words) == 9):
                raise SourceError(
                    f"{path} states {key} = {header[key]}, of {len(words)} numbers, where a volume "
                    f"has {9 if key in _MATRICES else 3}: give a file of one volume"
                )
            return words
    if keys == _MATRICES:
        return ["1", "0", "0", "0", "1", "0", "0", "0", "1"]
    if keys == _ORIGINS:
        return ["0"] * 3
    raise SourceError(f"{path} does not state {keys[0]}: write it again, or correct the header")
