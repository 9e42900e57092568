"""NRRD volumes, .nrrd and .nhdr, as 3D Slicer writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.metadata import known_unit
from parafovea.formats.raw_voxels import data_file, stored_voxels
from parafovea.formats.source import Array, Request, Source, VolumeView, pick_channel, readable
from parafovea.formats.source_placement import Stated, check_shape, place, ras_affine
from parafovea.geometry.grid import METRES

#: Worlds around a patient; 1 where an axis of the world is that of RAS, -1 where the opposite.
_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
}
_PACKED = {"raw": False, "gzip": True, "gz": True}


def open_volume(location: Location, request: Request) -> Source:
    """Open a NRRD file.

    Parameters
    ----------
    location : Location
        A .nrrd file, or a .nhdr header beside the file of its voxels.
    request : Request
        The user's metadata changes the grid, never the affine.

    Returns
    -------
    Source
        Spacing from the directions of the axes, in millimetres where no unit is stated; origin 0,
        and the affine where the space is one around a patient.

    Raises
    ------
    SourceError
        If the file is damaged, truncated, or is not one volume of numbers.
    """
    path, metadata = location.path, request.metadata
    with readable(path, nrrd.NRRDError):
        with Path(path).open("rb") as file:
            if file.read(4) != b"NRRD":
                raise SourceError(f"{path} is no NRRD file: it does not begin with NRRD")
            file.seek(0)
            header = nrrd.read_header(file)
            end = file.tell()
        shape = tuple(int(n) for n in header["sizes"])
        steps, axes, others = _axes(path, header, shape)
        check_shape(path, [shape[a] for a in axes[::-1]])
        stored = _stored(path, header, end, shape)
        unit = _unit(header)
        affine = _affine(path, header, steps, unit)
    fixed = {a: pick_channel(path, shape[a], metadata.channel) for a in others}
    x, y, z = axes
    view = VolumeView(stored, path, axes=(z, y, x), fixed=fixed)
    spacing: list[float | None] = [None] * 3
    if steps is not None:
        spacing = [float(length) for length in np.linalg.norm(steps, axis=1)]
    elif "spacings" in header:
        spacing = [float(header["spacings"][a]) for a in axes]
    sx, sy, sz = spacing
    grid = place(path, view.shape, Stated((sz, sy, sx), unit), metadata)
    return Source(path, view, grid, affine=affine)


def _axes(
    path: str, header: Any, shape: tuple[int, ...]
) -> tuple[Array | None, tuple[int, int, int], list[int]]:
    """Return the steps (axis, world) of the axes x, y, z, which axes they are, and the others."""
    steps = None
    spatial = list(range(len(shape)))
    if "space directions" in header:
        rows = [
            np.full(3, np.nan) if row is None else np.asarray(row, float)
            for row in header["space directions"]
        ]
        spatial = [a for a, row in enumerate(rows) if np.isfinite(row).all()]
        steps = np.array([rows[a] for a in spatial])
    others = [a for a in range(len(shape)) if a not in spatial]
    if len(spatial) != 3 or len(others) > 1 or (steps is not None and steps.shape != (3, 3)):
        raise SourceError(
            f"{path} has the sizes {shape}, {len(spatial)} of them in space: give a file of one "
            "volume, or of channels along one more axis"
        )
    x, y, z = spatial
    return steps, (x, y, z), others


def _stored(path: str, header: Any, end: int, shape: tuple[int, ...]) -> Any:
    encoding = str(header.get("encoding", "")).lower()
    voxel_type = str(header.get("type", ""))
    if encoding not in _PACKED or voxel_type == "block":
        raise SourceError(
            f"{path} has voxels of type {voxel_type!r} in the encoding {encoding!r}: write it "
            "again as numbers in the encoding raw or gzip"
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


def _unit(header: Any) -> str | None:
    stated = [u for u in header.get("space units", header.get("units", [])) if u]
    if stated:
        return str(stated[0])
    return "millimeter" if "space" in header else None


def _affine(path: str, header: Any, steps: Array | None, unit: str | None) -> Array | None:
    to_ras = _SPACES.get(str(header.get("space", "")).lower())
    known = None if unit is None else known_unit(unit)
    if steps is None or to_ras is None or known is None:
        return None
    scale = METRES[known] / METRES["millimeter"]
    origin = np.asarray(header.get("space origin", np.zeros(3)), float)
    return ras_affine(path, steps.T * scale, origin * scale, to_ras)
