"""NRRD volumes, .nrrd and .nhdr, as 3D Slicer writes them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.metadata.length_units import known_unit
from parafovea.formats.named_axes import axis_letter
from parafovea.formats.raw_voxels import data_file, stored_voxels
from parafovea.formats.source import Array, Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import (
    Stated,
    check_shape,
    place,
    placed_affine,
    ras_affine,
)
from parafovea.formats.unpacking import LARGEST_HEADER
from parafovea.geometry.grid import AXES, METRES

#: Spaces with three axes; 1 if an axis has the direction of RAS, -1 if the opposite. Spaces that
#: are not anatomical, and a plain `space dimension`, are read as LPS, as ITK does.
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
    **dict.fromkeys(("scanner-xyz", "3d-right-handed", "3d-left-handed", ""), (-1, -1, 1)),
}
#: Kinds of spatial axes, including axes of unspecified kind.
_IN_SPACE = ("domain", "space", "none", "???")
_PACKED = {"raw": False, "gzip": True, "gz": True}


def open_volume(location: Location, request: Request) -> Source:
    """Open a NRRD file.

    Parameters
    ----------
    location : Location
        A .nrrd file, or a .nhdr header next to its voxel file.
    request : Request
        User metadata. A user spacing changes the grid and, relative to the first voxel, the affine.

    Returns
    -------
    Source
        Spacing from the directions of the axes, in millimetres if a space is named without a unit;
        origin 0, and the affine of the space or of the axis mins, if there are any.

    Raises
    ------
    SourceError
        If the file is damaged, truncated, or not a single numeric volume; if its space is unknown
        or does not have three axes, its axes are sheared, or its axis mins, maxs and spacings, or
        the labels, kinds and directions of its axes contradict each other; if its values were
        quantized.
    """
    path, metadata = location.path, request.metadata
    with readable(path):
        with Path(path).open("rb") as file:
            if file.read(4) != b"NRRD":
                raise SourceError(f"{path} is not an NRRD file: it does not start with NRRD")
            file.seek(0)
            head = io.BytesIO(file.read(LARGEST_HEADER))
            header = nrrd.read_header(head)
            end = head.tell()
            if end == LARGEST_HEADER:
                raise SourceError(
                    f"{path} has no end of its header within {LARGEST_HEADER} bytes: it is "
                    "damaged, or has too many comments; write it again"
                )
        shape = tuple(int(n) for n in header["sizes"])
        _check_values(path, header)
        steps, axes, others = _axes(path, header, shape)
        check_shape(path, [shape[a] for a in axes[::-1]])
        stored = _stored(path, header, end, shape)
        unit, factors = _units(path, header, axes, directed=steps is not None)
    fixed = {a: pick_channel(path, shape[a], metadata.channel) for a in others}
    x, y, z = axes
    view = VolumeView(stored, path, axes=(z, y, x), fixed=fixed)
    spacing: list[float | None] = [None] * 3
    origin: Array | None = None
    if steps is not None:
        steps = steps * factors
        origin = np.asarray(header.get("space origin", np.zeros(3)), float) * factors
        spacing = [float(length) for length in np.linalg.norm(steps, axis=1)]
    elif "spacings" in header:
        own = np.array([float(header["spacings"][a]) for a in axes])
        spacing = [float(abs(length)) for length in own * factors]
        origin = _first_centres(path, header, axes, own)
        if origin is not None or (own < 0).any():
            origin = (np.zeros(3) if origin is None else origin) * factors
            steps = np.diag(own * factors)
    sx, sy, sz = spacing
    stated = Stated((sz, sy, sx), unit)
    grid = place(path, view.shape, stated, metadata)
    affine = None
    if steps is not None and origin is not None:
        known = (None if unit is None else known_unit(unit)) or grid.unit
        scale = METRES[known] / METRES["millimeter"]
        named = str(header.get("space", "")).lower()
        affine = ras_affine(path, steps.T * scale, origin * scale, _SPACES[named])
        affine = placed_affine(path, affine, grid, stated, metadata)
    return Source(path, view, grid, affine=affine)


def _axes(
    path: str, header: Any, shape: tuple[int, ...]
) -> tuple[Array | None, tuple[int, int, int], list[int]]:
    """Return the steps (axis, world) of the axes x, y, z, their indices, and the other axes."""
    named = str(header.get("space", ""))
    if named.lower() not in _SPACES or int(header.get("space dimension", 3)) != 3:
        raise SourceError(
            f"{path} is in the space {named or header.get('space dimension')!r}, which is not "
            "supported: write it again in left-posterior-superior or another space of three axes"
        )
    stated = "space" in header or "space dimension" in header
    if stated and "spacings" in header and "space directions" not in header:
        raise SourceError(
            f"{path} names a space but states spacings without directions in it, so the position "
            "of its voxels is unknown: replace spacings by space directions"
        )
    steps = None
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * len(shape))]
    spatial = [a for a, kind in enumerate(kinds) if kind in _IN_SPACE]
    if "space directions" in header:
        rows = [
            np.full(3, np.nan) if row is None else np.asarray(row, float)
            for row in header["space directions"]
        ]
        spatial = [a for a, row in enumerate(rows) if np.isfinite(row).all()]
        steps = np.array([rows[a] for a in spatial])
        odd = next((a for a in spatial if kinds[a] not in _IN_SPACE), None)
        if odd is not None:
            raise SourceError(
                f"{path} states a direction in space for its axis {odd}, of the kind "
                f"{kinds[odd]!r}: correct the kinds or the space directions in its header"
            )
    others = [a for a in range(len(shape)) if a not in spatial]
    if len(spatial) != 3 or len(others) > 1 or (steps is not None and steps.shape != (3, 3)):
        raise SourceError(
            f"{path} has the sizes {shape}, {len(spatial)} of them spatial: give a file of one "
            "volume, or of channels along one more axis"
        )
    _check_labels(path, header, spatial, steps)
    x, y, z = spatial
    return steps, (x, y, z), others


def _check_labels(path: str, header: Any, spatial: list[int], steps: Array | None) -> None:
    """Raise `SourceError` if axes are labelled x, y and z in an order that ITK does not read."""
    labels = [axis_letter(str(label)) for label in header.get("labels", [])]
    named = [labels[a] if a < len(labels) else "" for a in spatial]
    if sorted(named) != sorted(AXES) or named == ["x", "y", "z"]:
        return
    along = ["x", "y", "z"]
    if steps is not None:
        along = ["xyz"[int(np.abs(step).argmax())] for step in steps]
    if along != named:
        raise SourceError(
            f"{path} labels its axes {', '.join(named)}, but "
            f"{'by their order' if steps is None else 'by their space directions'} they are "
            f"{', '.join(along)}, as ITK reads them: correct the labels in its header, or write "
            "the volume again"
        )


def _check_values(path: str, header: Any) -> None:
    """Raise `SourceError` if the numbers are values that were quantized to integers."""
    dtype = nrrd.reader._determine_datatype(header)
    if dtype.kind not in "iu":
        return
    limits = np.iinfo(dtype)
    ends = [header.get(f"old {end}", header.get(f"old{end}")) for end in ("min", "max")]
    neutral = (float(limits.min), float(limits.max))
    if any(
        value is not None and math.isfinite(float(value)) and float(value) != same
        for value, same in zip(ends, neutral, strict=True)
    ):
        raise SourceError(
            f"{path} states that its {dtype} numbers are values that were quantized, of old min "
            f"{ends[0]} and old max {ends[1]}, which ITK ignores: write the values themselves (unu "
            "unquantize), or remove these lines from the header"
        )


def _stored(path: str, header: Any, end: int, shape: tuple[int, ...]) -> Any:
    encoding = str(header.get("encoding", "")).lower()
    voxel_type = str(header.get("type", ""))
    if encoding not in _PACKED or voxel_type == "block":
        raise SourceError(
            f"{path} has voxels of type {voxel_type!r} in encoding {encoding!r}: write it again as "
            "numbers in the encoding raw or gzip"
        )
    if header.get("line skip", header.get("lineskip", 0)):
        raise SourceError(f"{path} has lines of text before its voxels: write it again without")
    dtype = nrrd.reader._determine_datatype(header)
    data = data_file(path)
    packed = _PACKED[encoding]
    skipped = int(header.get("byte skip", header.get("byteskip", 0)))
    if packed and skipped:
        raise SourceError(f"{path} has a byte skip before compressed voxels: write it again")
    offset = -1 if skipped < 0 else skipped + (end if data is None else 0)
    return stored_voxels(path, data or path, offset, shape=shape, dtype=dtype, packed=packed)


def _units(
    path: str, header: Any, axes: tuple[int, int, int], *, directed: bool
) -> tuple[str | None, Array]:
    """Return the unit of all lengths, and the factor for the lengths along each axis.

    The axes are those of the world if there are directions, otherwise x, y, z.
    """
    if directed and "space units" in header:
        stated = [str(unit) for unit in header["space units"]]
    else:
        units = header.get("units", [])
        stated = [str(units[a]) for a in axes if a < len(units)]
    stated = ["" if unit in ("nan", "None") else unit for unit in stated]
    names = set(filter(None, stated))
    if not names:
        return "millimeter" if "space" in header else None, np.ones(3)
    if len(set(stated)) == 1:
        return names.pop(), np.ones(3)
    known = [known_unit(unit) for unit in stated]
    if None in known:
        raise SourceError(
            f"{path} states the units {', '.join(repr(unit) for unit in stated)}, one of which is "
            f"unknown: use one of {', '.join(METRES)} for each axis"
        )
    factors = [METRES[unit] / METRES["millimeter"] for unit in known if unit is not None]
    return "millimeter", np.array(factors)


def _first_centres(
    path: str, header: Any, axes: tuple[int, int, int], spacing: Array
) -> Array | None:
    """Return the centre of the first voxel along x, y, z if the header states axis mins.

    A min is the outer border of the first voxel, unless the axis is node-centred, as in ITK.
    """
    if "axis mins" not in header and "axismins" not in header:
        return None
    mins = np.asarray(header.get("axis mins", header.get("axismins")), float)[list(axes)]
    centred = header.get("centers", header.get("centerings", []))
    words = centred.split() if isinstance(centred, str) else [str(word) for word in centred]
    node = np.array([a < len(words) and words[a].lower() == "node" for a in axes])
    maxs = header.get("axis maxs", header.get("axismaxs"))
    if maxs is not None:
        sizes = np.array([int(header["sizes"][a]) for a in axes])
        ends = mins + spacing * (sizes - node)
        stated = np.asarray(maxs, float)[list(axes)]
        wrong = np.isfinite(stated) & (abs(stated - ends) > 0.01 * abs(spacing))
        if wrong.any():
            raise SourceError(
                f"{path} contradicts itself: its axis mins and spacings put its end at "
                f"{ends.tolist()}, its axis maxs at {stated.tolist()} (x, y, z): correct the header"
            )
    if not np.isfinite(mins).all():
        raise SourceError(
            f"{path} states the axis mins {mins.tolist()} (x, y, z), which are not all numbers: "
            "correct the header"
        )
    return mins + np.where(node, 0.0, spacing / 2)
