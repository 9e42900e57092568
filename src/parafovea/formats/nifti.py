"""NIfTI volumes, .nii and .nii.gz: read as z, y, x on a Grid, written in a scan's own voxels."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.location import Location
from parafovea.formats.metadata import known_unit
from parafovea.formats.source import (
    Array,
    Request,
    Source,
    VolumeView,
    pick_channel,
    readable,
    voxel_dtype,
)
from parafovea.formats.source_placement import Stated, check_shape, place
from parafovea.geometry.grid import METRES, Box, Grid
from parafovea.geometry.resample import ReadBox, resample_box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.storage.store import replacing

_FAILURES = (ImageFileError, HeaderDataError)


def open_volume(location: Location, request: Request) -> Source:
    """Open a NIfTI file.

    Parameters
    ----------
    location : Location
        A file of two, three or four axes; the fourth is the channel.
    request : Request
        The user's metadata changes the grid, never the affine, so that results still lie on the
        file.

    Returns
    -------
    Source
        Spacing from the header's zooms, origin 0, and the affine in millimetres, if the file has
        one. Voxels are scaled as the header states, as float32, or float64 where a stored voxel has
        32 bits or more.

    Raises
    ------
    SpacingError
        If the file has no affine, or one that contradicts its spacing, and the user gives none.
    SourceError
        If the file is damaged, truncated, or is not one volume.
    """
    path, metadata = location.path, request.metadata
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
    """Raise `SpacingError` where the header has contradictory placement metadata."""
    words = ",".join(f"{abs(zoom):.6g}" for zoom in zooms[::-1])
    advice = (
        "in the metadata column of its line in the sample sheet, with the true distances between "
        "voxel centres along z, y, x"
    )
    if affine is None:
        raise SpacingError(
            f"{path} has no affine (sform_code and qform_code are 0), so that the place "
            f"of its voxels in the patient is unknown: set one with the program that wrote it, or "
            f"write `spacing={words} unit={unit}` {advice} (the header's pixdim states {words})"
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
    """Raise `SourceError` where the file is shorter than its header states."""
    needed = offset + size
    if path.lower().endswith(".gz"):
        with Path(path).open("rb") as file:
            file.seek(-4, 2)
            stated = int.from_bytes(file.read(4), "little")
        # The last four bytes of a gzip file are its unpacked size, modulo 2^32. Where they do not
        # fit, the file is truncated or has several members: only unpacking it shows which.
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


#: Voxels of the scan that are held at once.
SLAB_VOXELS = 2**23


def write_heatmap(path: Path, read: ReadBox, grid: Grid, *, space: ScanSpace) -> None:
    """Write a heatmap of the model's grid in the voxels of its scan.

    Parameters
    ----------
    path : Path
        A .nii.gz or .nii file; it appears when it is whole.
    read : callable
        Returns the heatmap (z, y, x), 0 to 1, of a box of `grid`.
    grid : Grid
        Of the heatmap, in the world of the scan's grid.
    space : ScanSpace
        Of the scan: shape and affine of the file.

    Notes
    -----
    Interpolated linearly at the centres of the scan's voxels, float32 in 0 to 1; beyond the
    heatmap's border it keeps its outermost value.
    """
    target = space.grid.converted(grid.unit)

    def resampled(box: Box) -> NDArray[np.float32]:
        values = resample_box(read, grid, target, box, antialias=False)
        return np.clip(values, 0, 1, out=values)

    write_nifti(path, resampled, space=space, limits=(0.0, 1.0))


def write_nifti(
    path: Path,
    read: ReadBox,
    *,
    space: ScanSpace,
    dtype: np.typing.DTypeLike = np.float32,
    limits: tuple[float, float] | None = None,
    comment: str = "",
    level: int = 1,
) -> None:
    """Write an array on the grid of a scan, with the scan's own axes and affine.

    Parameters
    ----------
    path : Path
        A .nii.gz or .nii file; it appears when it is whole.
    read : callable
        Returns the voxels (z, y, x) of a box of `space.grid`; asked for slabs in the order of z.
    space : ScanSpace
        Of the scan.
    dtype : dtype
        Of the file.
    limits : tuple of float, optional
        The values that viewers show as black and white at first.
    comment : str
        Text to store in the file's header, as an extension of NIfTI.
    level : int
        Of gzip: 1 is the fastest, 9 the smallest.

    Notes
    -----
    The same voxels give the same bytes. The affine is stored as sform and, unless it is sheared,
    which that cannot express, as qform too.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    depth, height, width = space.grid.shape
    slab = (max(1, SLAB_VOXELS // (height * width)), height, width)
    packed = level if path.suffix == ".gz" else None
    with replacing(path) as partial, _opened(partial, packed) as file:
        file.write(_header(space, kind, limits, comment))
        for box in Box.whole((depth, height, width)).tiles(slab):
            file.write(np.ascontiguousarray(read(box), dtype=kind).data)


def _header(
    space: ScanSpace, dtype: np.dtype[Any], limits: tuple[float, float] | None, comment: str
) -> bytes:
    affine = np.asarray(space.affine)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(space.grid.shape[::-1])
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1, strip_shears=True)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(header.get_qform()[:3, :3] - affine[:3, :3]).max() > 1e-4 * steps.min():
        header.set_qform(None, code=0)
    # after the qform, which sets the zooms
    header.set_sform(affine, code=1)
    header.set_zooms(steps)
    if limits is not None:
        header["cal_min"], header["cal_max"] = limits
    # four bytes say whether extensions follow
    following = io.BytesIO(bytes(4))
    if comment:
        following.write(bytes([1, 0, 0, 0]))
        extension: Any = nibabel.nifti1.Nifti1Extension("comment", comment.encode())
        extension.write_to(following, byteswap=sys.byteorder != "little")
    header["vox_offset"], header["magic"] = 348 + len(following.getvalue()), b"n+1"
    header.set_slope_inter(1, 0)
    return bytes(header.binaryblock) + following.getvalue()


@contextlib.contextmanager
def _opened(path: Path, level: int | None) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if level is None:
            yield file
            return
        # without name and time, which would make other bytes each time
        with gzip.GzipFile("", "wb", compresslevel=level, fileobj=file, mtime=0) as stream:
            yield cast(BinaryIO, stream)
