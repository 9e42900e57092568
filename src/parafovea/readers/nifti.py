"""NIfTI volumes, .nii and .nii.gz: axes x, y, z and an affine become z, y, x on a Grid."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from parafovea.errors import SourceError, SpacingError
from parafovea.grid import METRES
from parafovea.readers.metadata import SourceMetadata, known_unit
from parafovea.readers.placement import Stated, check_shape, place
from parafovea.readers.source import (
    Array,
    Source,
    VolumeView,
    pick_channel,
    readable,
    voxel_dtype,
)

_FAILURES = (ImageFileError, HeaderDataError)


def open_nifti(path: str, *, metadata: SourceMetadata) -> Source:
    """Open a NIfTI file.

    Parameters
    ----------
    path : str
        With two, three or four axes; the fourth is the channel.
    metadata : SourceMetadata
        From the user. It changes the grid, never the affine, so that results still lie on the
        file.

    Returns
    -------
    Source
        Spacing from the header's zooms, origin 0, and the affine in millimetres, if the file has
        one. Voxels are scaled as the header says, as float32, or float64 where a stored voxel has
        32 bits or more.

    Raises
    ------
    SpacingError
        If the file has no affine, or one that contradicts its spacing, and the user gives none.
    SourceError
        If the file is damaged, truncated, or is not one volume.
    """
    with readable(path, *_FAILURES):
        image: Any = nibabel.load(path)
        header = image.header
        shape = tuple(int(n) for n in header.get_data_shape())
        zooms = _stored_zooms(path, header)
        unit = _unit(header)
        affine = _in_millimeters(np.array(image.affine, dtype=np.float64), unit)
        placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if not shape or len(shape) < 2 or any(n != 1 for n in shape[4:]):
        raise SourceError(
            f"{path} has the shape {shape} along x, y, z: give a file of one volume, or of "
            "channels along a fourth axis"
        )
    axes = (2 if len(shape) > 2 else None, 1, 0)
    check_shape(path, [1 if a is None else shape[a] for a in axes])
    fixed = {3: pick_channel(path, shape[3], metadata.channel)} if len(shape) > 3 else {}
    stored = image.dataobj
    dtype = voxel_dtype(np.dtype(stored.dtype), path)
    if (stored.slope, stored.inter) != (1.0, 0.0):
        dtype = np.result_type(dtype, np.float32)
    with readable(path):
        _check_complete(path, int(stored.offset), math.prod(shape) * stored.dtype.itemsize)
    view = VolumeView(stored, path, axes=axes, fixed=fixed, dtype=dtype, failures=_FAILURES)
    z, y, x = (None if a is None else zooms[a] for a in axes)
    if metadata.spacing is None and len(shape) > 2:
        _check_placed(path, zooms, unit, affine if placed else None)
    grid = place(path, view.shape, Stated((z, y, x), unit), metadata)
    return Source(path, view, grid, affine=affine if placed else None)


def _check_placed(path: str, zooms: Sequence[float], unit: str, affine: Array | None) -> None:
    """Raise `SpacingError` where the header does not say, with one voice, where voxels lie."""
    words = ",".join(f"{abs(zoom):.6g}" for zoom in zooms[::-1])
    advice = (
        "in the metadata column of its line in the sample sheet, with the true distances between "
        "voxel centres along z, y, x"
    )
    if affine is None:
        raise SpacingError(
            f"{path} has no affine (sform_code and qform_code are 0), so that nothing says where "
            f"its voxels lie in the patient: set one with the program that wrote it, or write "
            f"`spacing={words} unit={unit}` {advice} (the header's pixdim says {words})"
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0) * (METRES["millimeter"] / METRES[unit])
    # zeros in the pixdim are for `place` to name
    if 0 not in zooms and not np.allclose(lengths, zooms, rtol=0.01, atol=0):
        other = ",".join(f"{length:.6g}" for length in lengths[::-1])
        raise SpacingError(
            f"{path} contradicts itself: voxels of {words} by its pixdim, of {other} by its affine "
            f"(z,y,x): correct the header, or write `spacing={other if lengths.all() else words} "
            f"unit={unit}` {advice}"
        )


def _stored_zooms(path: str, header: Any) -> list[float]:
    """Return the lengths of voxels along x, y, z as the file has them: nibabel makes 0 to 1."""
    with ImageOpener(path) as file:
        stored = type(header).from_fileobj(file, check=False)
    return [abs(float(zoom)) for zoom in stored["pixdim"][1:4]]


def _unit(header: Any) -> str:
    """Return the unit of the header's lengths; millimetres where it has none or a wrong code."""
    try:
        name = header.get_xyzt_units()[0]
    except KeyError:
        return "millimeter"
    return known_unit(name) or "millimeter"


def _in_millimeters(affine: Array, unit: str) -> Array:
    scaled = affine.copy()
    scaled[:3] *= METRES[unit] / METRES["millimeter"]
    return scaled


def _check_complete(path: str, offset: int, size: int) -> None:
    """Raise `SourceError` where the file is shorter than its header says."""
    needed = offset + size
    if path.lower().endswith(".gz"):
        with Path(path).open("rb") as file:
            file.seek(-4, 2)
            stated = int.from_bytes(file.read(4), "little")
        # The last four bytes of a gzip file are its unpacked size, modulo 2^32. Where they do not
        # fit, the file is truncated or has several members: only unpacking it tells which.
        held = needed if stated == needed % 2**32 else _unpacked_size(path, needed)
    else:
        held = Path(path).stat().st_size
    if held < needed:
        raise SourceError(
            f"{path} is truncated: it holds {held} of {needed} bytes: copy or write it again"
        )


def _unpacked_size(path: str, enough: int) -> int:
    held = 0
    try:
        with gzip.open(path) as file:
            while held < enough and (block := file.read(2**20)):
                held += len(block)
    except EOFError:
        return held
    return held
