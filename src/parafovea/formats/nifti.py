"""NIfTI volumes, .nii and .nii.gz: reading as z, y, x on a Grid, writing on a scan's own voxels."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileslice import fileslice
from nibabel.quaternions import quat2mat
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.compressed_voxels import CompressedVoxels
from parafovea.formats.location import Location
from parafovea.formats.metadata.length_units import known_unit
from parafovea.formats.source import (
    Array,
    Request,
    Source,
    VolumeView,
    pick_channel,
    readable,
    voxel_dtype,
)
from parafovea.formats.source_placement import Stated, check_shape, place, placed_affine
from parafovea.formats.unpacking import LARGEST_EXTENSION, check_deflated
from parafovea.geometry.grid import METRES, Box, Grid
from parafovea.geometry.resample import ReadBox, resample_box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.storage.store import replacing


def open_volume(location: Location, request: Request) -> Source:
    """Open a NIfTI file.

    Parameters
    ----------
    location : Location
        A file with two, three or four axes; the fourth is the channel, or the fifth after a fourth
        of length 1, as ITK writes vectors.
    request : Request
        User metadata. A user spacing changes the grid and, relative to the first voxel, the affine.

    Returns
    -------
    Source
        Spacing from the header's zooms, origin 0, and the affine in millimetres if the file has
        one: its sform, or else its qform. Voxels are scaled as stated in the header, as float32,
        or as float64 if a stored voxel has 32 bits or more. Compression is detected from the first
        bytes of the file, independent of its name.

    Raises
    ------
    SpacingError
        If the file has no affine, or one that contradicts its spacing, and the user states none.
    SourceError
        If the file is damaged, truncated, or not a single volume; if its axes are sheared, or its
        sform and qform differ.
    """
    path, metadata = location.path, request.metadata
    with readable(path):
        packed = _is_gzip(path)
        header, stored = _header_and_voxels(path, packed=packed)
        shape = tuple(int(n) for n in header.get_data_shape())
        zooms = _stored_zooms(path, header, packed=packed)
        unit = _unit(header)
        forms = _forms(header, unit)
    if len(shape) < 2 or sum(n != 1 for n in shape[3:5]) > 1 or any(n != 1 for n in shape[5:]):
        raise SourceError(
            f"{path} has the shape {shape} along x, y, z: give a file of one volume, or of "
            "channels along a fourth axis"
        )
    axes = (2 if len(shape) > 2 else None, 1, 0)
    check_shape(path, [1 if a is None else shape[a] for a in axes])
    fixed = {}
    if len(shape) > 3:
        along = 3 if shape[4:5] in ((), (1,)) else 4
        if along == 3 and shape[3] > 1 and request.channels:
            _check_channels(path, header)
        fixed = {along: pick_channel(path, shape[along], metadata.channel)}
    dtype = voxel_dtype(np.dtype(stored.dtype), path)
    if (stored.slope, stored.inter) != (1.0, 0.0):
        dtype = np.result_type(dtype, np.float32)
    with readable(path):
        needed = int(stored.offset) + math.prod(shape) * stored.dtype.itemsize
        _check_complete(path, needed, packed=packed)
    view = VolumeView(stored, path, axes=axes, fixed=fixed, dtype=dtype)
    z, y, x = (None if a is None else zooms[a] for a in axes)
    if metadata.spacing is None and len(shape) > 2:
        _check_placed(path, zooms, unit, next(iter(forms.values()), None))
    stated = Stated((z, y, x), unit)
    grid = place(path, view.shape, stated, metadata)
    placed = {
        name: placed_affine(path, affine, grid, stated, metadata) for name, affine in forms.items()
    }
    _check_forms(path, placed, header, view.shape)
    return Source(path, view, grid, affine=next(iter(placed.values()), None))


class _Voxels:
    """Scaled voxels of a file, along the stored axes."""

    def __init__(self, path: str, header: Any, *, packed: bool) -> None:
        self.offset = int(header.get_data_offset())
        self.slope, self.inter = (
            neutral if stated is None else stated
            for stated, neutral in zip(header.get_slope_inter(), (1.0, 0.0), strict=True)
        )
        self.dtype: np.dtype[Any] = header.get_data_dtype()
        self.shape: tuple[int, ...] = tuple(int(n) for n in header.get_data_shape())
        self._path = path
        self._packed: CompressedVoxels | None = None
        if packed:
            self._packed = CompressedVoxels(
                path, 0, shape=self.shape, dtype=self.dtype, skipped=self.offset, spare=_SPARE
            )

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        """Return scaled elements."""
        if self._packed is not None:
            values = self._packed[index]
        else:
            with Path(self._path).open("rb") as file:
                values = fileslice(file, index, self.shape, self.dtype, self.offset, order="F")
        return apply_read_scaling(values, np.asarray(self.slope), np.asarray(self.inter))


#: Bytes that some programs write after the voxels.
_SPARE = 2**20

#: Header classes, by the header size at the beginning of the file.
_HEADERS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}


def _check_channels(path: str, header: Any) -> None:
    """Raise `SourceError` if the fourth axis is one of time: its steps are stated, or an offset.

    ITK writes steps of 1 second for any fourth axis, so that these say nothing.
    """
    codes = {8: "second", 16: "millisecond", 24: "microsecond"}
    unit = codes.get(int(header["xyzt_units"]) & 56)
    step, begin = float(header["pixdim"][4]), float(header["toffset"])
    if unit is None or (step in (0.0, 1.0) and unit == "second" and begin == 0.0):
        return
    raise SourceError(
        f"{path} is a time series by its header (steps of {step:g} {unit} along the fourth axis), "
        "not a volume of channels: save its channels along an axis without a unit of time, or one "
        "file a channel"
    )


def _is_gzip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _header_and_voxels(path: str, *, packed: bool) -> tuple[Any, _Voxels]:
    """Return the header and the scaled voxels along the stored axes."""
    with _reading(path, packed=packed) as file:
        size = file.read(4)
        order: Literal["little", "big"]
        for order in ("little", "big"):
            kind = _HEADERS.get(int.from_bytes(size, order))
            if kind is not None:
                _check_extensions(path, file, kind, order)
                file.seek(0)
                header: Any = kind.from_fileobj(file)
                return header, _Voxels(path, header, packed=packed)
    raise ImageFileError("it does not start with a NIfTI header")


def _check_extensions(
    path: str, file: BinaryIO, kind: Any, order: Literal["little", "big"]
) -> None:
    """Raise `SourceError` if the extensions of a header do not fit before the voxels."""
    file.seek(0)
    names = kind.template_dtype.newbyteorder("<" if order == "little" else ">")
    raw = file.read(kind.sizeof_hdr + 4)
    if len(raw) < kind.sizeof_hdr + 4:
        raise EOFError(f"it ends after {len(raw)} bytes, within its header")
    start = float(np.frombuffer(raw[: kind.sizeof_hdr], names)[0]["vox_offset"])
    if not math.isfinite(start):
        raise ValueError(f"its voxels start at byte {start}")
    left = int(start) - len(raw)
    if left < -4:  # the voxels may follow the header without the four bytes of extensions
        raise SourceError(
            f"{path} states that its voxels start at byte {int(start)}, within its header of "
            f"{kind.sizeof_hdr} bytes: correct vox_offset in its header, or write it again"
        )
    if left > LARGEST_EXTENSION:
        raise SourceError(
            f"{path} states that its voxels start at byte {int(start)}, more than the limit of "
            f"{LARGEST_EXTENSION} bytes after its header: correct the header, or write it again"
        )
    while raw[kind.sizeof_hdr] and left >= 16:
        size = int.from_bytes(file.read(4), order, signed=True)
        if not 8 <= size <= left:
            raise SourceError(
                f"{path} has a header extension of {size} bytes, with {left} bytes left before its "
                "voxels: correct the header, or write it again"
            )
        file.read(size - 4)
        left -= size


def _reading(path: str, *, packed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if packed else Path(path).open("rb"))


def _forms(header: Any, unit: str) -> dict[str, Array]:
    """Return the affines in millimetres that a header states, in order of precedence."""
    found = {}
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) > 0:
            affine = np.array(getattr(header, f"get_{name}")(), dtype=np.float64)
            affine[:3] *= METRES[unit] / METRES["millimeter"]
            found[name] = affine
    return found


def _check_forms(
    path: str, forms: Mapping[str, Array], header: Any, shape: tuple[int, int, int]
) -> None:
    """Raise `SourceError` if sform and qform place a corner of the volume differently."""
    if len(forms) < 2:
        return
    last = [n - 1 for n in shape[::-1]]
    corners = np.array([(*(k * n for k, n in zip(c, last, strict=True)), 1) for c in _CORNERS])
    places = [corners @ forms[name].T for name in ("sform", "qform")]
    apart = np.linalg.norm(places[0] - places[1], axis=1)
    voxel = np.linalg.norm(forms["sform"][:3, :3], axis=0)
    reach = np.linalg.norm(corners[:, :3] * voxel, axis=1)
    if (apart > np.maximum(_APART * voxel.min(), _TURNED * reach)).any():
        codes = [int(header[f"{name}_code"]) for name in ("sform", "qform")]
        raise SourceError(
            f"{path} states two placements, up to {apart.max():.4g} mm apart: its sform (code "
            f"{codes[0]}) and its qform (code {codes[1]}). Set the code of the wrong one to 0, in "
            "nibabel with image.set_qform(None, 0) or image.set_sform(None, 0), and save the file"
        )


#: Tolerated distance between the positions of a voxel by sform and qform: in voxels, and for the
#: rounding of the quaternion as a fraction of the distance from the first voxel.
_APART, _TURNED = 0.1, 2e-3
_CORNERS = tuple(itertools.product((0, 1), repeat=3))


def _check_placed(path: str, zooms: Sequence[float], unit: str, affine: Array | None) -> None:
    """Raise `SpacingError` if the header has contradictory placement metadata."""
    words = ",".join(f"{abs(zoom):.6g}" for zoom in zooms[::-1])
    # the message suggests no values from the header, which may be the wrong ones
    advice = (
        f"write `spacing=Z,Y,X unit={unit}` in the metadata column of its line in the sample "
        "sheet, with the true distances between voxel centres along z, y, x in place of Z,Y,X"
    )
    if affine is None:
        raise SpacingError(
            f"{path} has no affine (sform_code and qform_code are 0), so the position "
            "of its voxels in the patient is unknown: set one with the program that wrote it, or "
            f"{advice} (the header's pixdim states {words})"
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0) * (METRES["millimeter"] / METRES[unit])
    # zeros in pixdim are reported by `place`
    if 0 not in zooms and not np.allclose(lengths, zooms, rtol=0.01, atol=0):
        other = ",".join(f"{length:.6g}" for length in lengths[::-1])
        raise SpacingError(
            f"{path} contradicts itself: its pixdim states voxels of {words}, its affine {other} "
            f"(z,y,x): correct the header, or {advice}"
        )


def _stored_zooms(path: str, header: Any, *, packed: bool) -> list[float]:
    """Return the voxel lengths along x, y, z as stored; nibabel replaces 0 by 1."""
    with _reading(path, packed=packed) as file:
        stored = type(header).from_fileobj(file, check=False)
    return [abs(float(zoom)) for zoom in stored["pixdim"][1:4]]


def _unit(header: Any) -> str:
    """Return the header's unit of length; millimetres if it is missing or has an invalid code."""
    try:
        name = header.get_xyzt_units()[0]
    except KeyError:
        return "millimeter"
    return known_unit(name) or "millimeter"


def _check_complete(path: str, needed: int, *, packed: bool) -> None:
    """Raise `SourceError` if the file is shorter than its header states."""
    if packed:
        check_deflated(path, Path(path).stat().st_size, needed)
        with Path(path).open("rb") as file:
            file.seek(-4, 2)
            stated = int.from_bytes(file.read(4), "little")
        # The last four bytes of a gzip file are its unpacked size, modulo 2^32. If they do not
        # match, the file is truncated or has several members, which only unpacking can tell apart.
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
            # in small pieces: of one that is cut short, nothing is returned
            while held < enough and (block := file.read1(2**14)):
                held += len(block)
    except EOFError:
        return held
    return held


#: Number of voxels of the scan held in memory at once
SLAB_VOXELS = 2**23


#: Number of steps from 0 to 1 in a heatmap's file, a power of two
HEATMAP_STEPS = 4096


def write_heatmap(path: Path, read: ReadBox, grid: Grid, *, space: ScanSpace) -> None:
    """Write a heatmap from the model's grid on the voxels of its scan.

    Parameters
    ----------
    path : Path
        A .nii.gz or .nii file; written atomically.
    read : callable
        Returns the heatmap (z, y, x), 0 to 1, of a box of `grid`.
    grid : Grid
        Grid of the heatmap, in the world of the scan's grid.
    space : ScanSpace
        Shape and affine of the scan's file.

    Notes
    -----
    Values are float32 in [0, 1], interpolated linearly at the centres of the scan's voxels; beyond
    the border of the heatmap, its outermost values are repeated. They are multiples of
    1 / `HEATMAP_STEPS`: a network's answer has no more meaning than that, and the file of a
    phantom chest of 300 x 512 x 512 voxels has 32 MB instead of 232 MB.
    """
    target = space.grid.converted(grid.unit)

    def resampled(box: Box) -> NDArray[np.float32]:
        values = resample_box(read, grid, target, box, antialias=False)
        values *= HEATMAP_STEPS
        np.rint(values, out=values)
        values /= HEATMAP_STEPS
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
    slope: float = 1.0,
) -> None:
    """Write an array on the grid of a scan, with the scan's own axes and affine.

    Parameters
    ----------
    path : Path
        A .nii.gz or .nii file; written atomically.
    read : callable
        Returns the voxels (z, y, x) of a box of `space.grid`; called for slabs in z order.
    space : ScanSpace
        Shape and affine of the scan's file.
    dtype : dtype
        Data type of the file.
    limits : tuple of float, optional
        Values initially displayed as black and white by viewers.
    comment : str
        Text stored in the file's header, as a NIfTI extension.
    level : int
        gzip level: 1 is the fastest, 9 gives the smallest file.
    slope : float
        Factor by which readers multiply the numbers in the file.

    Notes
    -----
    The same voxels give the same bytes. The affine is stored as both sform and qform, which are
    equivalent because a `ScanSpace` has perpendicular axes.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    depth, height, width = space.grid.shape
    slab = (max(1, SLAB_VOXELS // (height * width)), height, width)
    packed = level if path.suffix == ".gz" else None
    with replacing(path) as partial, _opened(partial, packed) as file:
        file.write(_header(space, kind, limits, comment, slope))
        for box in Box.whole((depth, height, width)).tiles(slab):
            file.write(np.ascontiguousarray(read(box), dtype=kind).data)


def _header(
    space: ScanSpace,
    dtype: np.dtype[Any],
    limits: tuple[float, float] | None,
    comment: str,
    slope: float,
) -> bytes:
    affine = np.asarray(space.affine)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(space.grid.shape[::-1])
    header.set_data_dtype(dtype)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    _refine_quaternion(header, affine)
    # after the qform, which sets the zooms
    header.set_sform(affine, code=1)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    if limits is not None:
        header["cal_min"], header["cal_max"] = limits
    # four bytes indicate whether extensions follow
    following = io.BytesIO(bytes(4))
    if comment:
        following.write(bytes([1, 0, 0, 0]))
        extension: Any = nibabel.nifti1.Nifti1Extension("comment", comment.encode())
        extension.write_to(following, byteswap=sys.byteorder != "little")
    header["vox_offset"], header["magic"] = 348 + len(following.getvalue()), b"n+1"
    header.set_slope_inter(slope, 0)
    return bytes(header.binaryblock) + following.getvalue()


def _refine_quaternion(header: Any, affine: Array) -> None:
    """Choose the rounding of the quaternion that brings the qform closest to the affine.

    NIfTI omits its first component, sqrt(1 - b^2 - c^2 - d^2). Near a half turn that is a small
    difference of float32 numbers, so that plain rounding rotates a scan by up to 0.07 degrees.
    """
    names = ("quatern_b", "quatern_c", "quatern_d")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    steps[2] *= float(header["pixdim"][0])
    wanted = affine[:3, :3] / steps

    def error(numbers: Sequence[np.float32]) -> float:
        return float(np.abs(_rotation(numbers) - wanted).max())

    plain = tuple(np.float32(header[name]) for name in names)
    if error(plain) <= 1e-6:
        return
    around = [
        [np.nextafter(v, np.float32(-2)), v, np.nextafter(v, np.float32(2))] if v else [v]
        for v in plain
    ]
    best = min(itertools.product(*around), key=error)
    for name, number in zip(names, best, strict=True):
        header[name] = number


def _rotation(numbers: Sequence[np.float32]) -> Array:
    """Return the (3, 3) rotation of a stored quaternion, computed as in the NIfTI library."""
    b, c, d = (float(number) for number in numbers)
    rest = 1 - (b * b + c * c + d * d)
    first = math.sqrt(rest) if rest >= 1e-7 else 0.0
    whole = np.array([first, b, c, d])
    rotation: Array = quat2mat(whole / np.linalg.norm(whole))
    return rotation


@contextlib.contextmanager
def _opened(path: Path, level: int | None) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if level is None:
            yield file
            return
        # without name and time, which would change the bytes at each run
        with gzip.GzipFile("", "wb", compresslevel=level, fileobj=file, mtime=0) as stream:
            yield cast(BinaryIO, stream)
