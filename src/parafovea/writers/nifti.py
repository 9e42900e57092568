"""NIfTI files in a scan's own voxels, written slab by slab, that viewers lay over the scan."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from numpy.typing import NDArray

from parafovea.coordinates import ScanSpace
from parafovea.grid import Box, Grid
from parafovea.resample import ReadBox, resample_box
from parafovea.store import replacing

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

    Notes
    -----
    The same voxels give the same bytes. The affine is stored as sform and, unless it is sheared,
    which that cannot express, as qform too.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    depth, height, width = space.grid.shape
    slab = (max(1, SLAB_VOXELS // (height * width)), height, width)
    with replacing(path) as partial, _opened(partial, packed=path.suffix == ".gz") as file:
        file.write(_header(space, kind, limits))
        for box in Box.whole((depth, height, width)).tiles(slab):
            file.write(np.ascontiguousarray(read(box), dtype=kind).data)


def _header(space: ScanSpace, dtype: np.dtype[Any], limits: tuple[float, float] | None) -> bytes:
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
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_slope_inter(1, 0)
    # four bytes more say that no extension follows
    return bytes(header.binaryblock) + bytes(4)


@contextlib.contextmanager
def _opened(path: Path, *, packed: bool) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if not packed:
            yield file
            return
        # without name and time, which would make other bytes each time
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            yield cast(BinaryIO, stream)
