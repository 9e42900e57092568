"""Position of a source in the world: statements of the file and user overrides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import GridError, SourceError, SpacingError, VoxelError
from parafovea.formats.metadata.length_units import known_unit
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.geometry.grid import AXES, METRES, Grid, Shape, Vector, vector3
from parafovea.geometry.scan_space import square_affine

#: Attributes of Zarr arrays and HDF5 datasets that state a spacing along z, y, x, in order of
#: precedence, each with the unit implied by its name.
SPACING_ATTRIBUTES = {
    "resolution": None,
    "voxel_size": None,
    "spacing": None,
    "element_size_um": "micrometer",
}


#: Units that writers put beside numbers that state no length.
_NO_LENGTHS = ("pixel", "pixels", "px", "voxel", "voxels", "reference frame", "arbitrary")


@dataclass(frozen=True, slots=True)
class Stated:
    """Position of the voxels as stated in a file.

    Parameters
    ----------
    spacing : tuple of float or None
        Along z, y, x; None for an axis without a stated spacing.
    unit : str, optional
        Unit as spelled in the file.
    origin : tuple of float
        Centre of voxel (0, 0, 0) along z, y, x, in `unit`.
    """

    spacing: tuple[float | None, float | None, float | None] = (None, None, None)
    unit: str | None = None
    origin: Vector = (0.0, 0.0, 0.0)


#: Most voxels along an axis: more than a mouse brain has at 4 nm.
LONGEST = 2**23


def check_shape(path: str, shape: Sequence[int]) -> Shape:
    """Return a volume's shape (z, y, x), or raise `VoxelError` if an axis has no or no sane length.

    A header costs nothing to make, and whoever plans lists the windows along each axis.
    """
    z, y, x = (int(n) for n in shape)
    for name, length in zip(AXES, (z, y, x), strict=True):
        if length < 1:
            raise VoxelError(
                f"{path} has the shape {(z, y, x)}, so it has no voxels along {name}: "
                "write the file again or give another source"
            )
        if length > LONGEST:
            raise VoxelError(
                f"{path} has the shape {(z, y, x)}, which is {length} voxels along {name}, of "
                f"{LONGEST} at most: its header may be damaged, write the file again"
            )
    return z, y, x


def unit_factors(units: Sequence[str | None]) -> tuple[list[float | None], str | None]:
    """Return factors that convert lengths along each axis to the unit of the last, and that unit.

    Parameters
    ----------
    units : sequence of str or None
        Units as spelled in the file, x last.

    Returns
    -------
    factors : list of float or None
        None for an axis whose unit cannot be converted to that of x.
    unit : str or None
        Unit of x, as spelled in the file.
    """
    reference = units[-1]
    common = None if reference is None else known_unit(reference)
    factors: list[float | None] = []
    for spelled in units:
        own = None if spelled is None else known_unit(spelled)
        if spelled == reference:
            factors.append(1.0)
        elif own is not None and common is not None:
            # Powers of ten have no exact inverse: 1e-6 / 1e-9 is 999.9999999999999.
            factors.append(float(f"{METRES[own] / METRES[common]:.12g}"))
        else:
            factors.append(None)
    return factors, reference


def stated_by_axis(
    spacing: Sequence[float | None],
    units: Sequence[str | None],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> Stated:
    """Return the statements of a file whose axes may have different units.

    Parameters
    ----------
    spacing : sequence of float or None
        Along z, y, x, each in its own unit.
    units : sequence of str or None
        Along z, y, x, as spelled in the file.
    origin : sequence of float
        Centre of voxel (0, 0, 0) along z, y, x, each in its own unit.
    """
    factors, unit = unit_factors(units)
    z, y, x = (
        None if s is None or f is None else s * f for s, f in zip(spacing, factors, strict=True)
    )
    moved = [o * (f or 1.0) for o, f in zip(origin, factors, strict=True)]
    return Stated((z, y, x), unit, vector3(moved))


def place(path: str, shape: Sequence[int], stated: Stated, metadata: SourceMetadata) -> Grid:
    """Return the grid of a source; user metadata override the file.

    Parameters
    ----------
    path : str
        Used in error messages.
    shape : sequence of int
        Voxels along z, y, x.
    stated, metadata
        From the file and from the user, as for `settle`.

    Returns
    -------
    Grid
        In the user's unit, else the file's.

    Raises
    ------
    SpacingError
        As `settle`.
    VoxelError
        If an axis has no length.
    """
    size = check_shape(path, shape)
    return Grid(size, *settle(path, stated, metadata))


def settle(path: str, stated: Stated, metadata: SourceMetadata) -> tuple[Vector, Vector, str]:
    """Return spacing, origin and unit of a source from file and user metadata.

    If the user states another spacing, the file's origin keeps its position in voxels.

    Parameters
    ----------
    path : str
        Used in error messages.
    stated : Stated
        Statements of the file.
    metadata : SourceMetadata
        User metadata; override the file.

    Returns
    -------
    tuple
        Spacing and origin along z, y, x, and the OME-Zarr name of their unit.

    Raises
    ------
    SpacingError
        If neither states the spacing along every axis and its unit.
    """
    if stated.unit is not None and stated.unit.strip().lower() in _NO_LENGTHS:
        stated = Stated(origin=stated.origin)
    unit = metadata.unit
    if unit is None and stated.unit is not None:
        unit = known_unit(stated.unit)
    known = [s if s is not None and 0 < s < math.inf else None for s in stated.spacing]
    spacing = metadata.spacing or known
    if unit is None or None in spacing:
        raise SpacingError(_missing(path, spacing, unit, stated.unit))
    final = vector3([s for s in spacing if s is not None])
    moved = [
        o * (new / old) if old is not None else 0.0
        for o, new, old in zip(stated.origin, final, known, strict=True)
    ]
    return final, metadata.origin or vector3(moved), unit


def plain_axes(path: str, shape: Sequence[int]) -> tuple[int | None, int, int]:
    """Return which axes of an array without names are z, y, x; a plane has no z."""
    if len(shape) == 3:
        return 0, 1, 2
    if len(shape) == 2:
        return None, 0, 1
    raise SourceError(
        f"{path} has the shape {tuple(shape)}, of {len(shape)} axes: give an array with the axes "
        "z, y, x or y, x, or an OME-Zarr image, which names its axes"
    )


def _missing(
    path: str, spacing: Sequence[float | None], unit: str | None, spelled: str | None
) -> str:
    gaps = [name for name, s in zip(AXES, spacing, strict=True) if s is None]
    example = (50, 4.6, 4.6) if len(gaps) == 3 else spacing
    numbers = ",".join(
        name.upper() if s is None else f"{s:.10g}" for name, s in zip(AXES, example, strict=True)
    )
    if len(gaps) == 3:
        problem = "does not state how large its voxels are"
        advice = "distances between voxel centres along z, y, x"
    elif gaps:
        problem = f"does not state how large its voxels are along {', '.join(gaps)}"
        advice = f"with the distance between voxel centres for {', '.join(gaps).upper()}"
    elif spelled:
        problem = f"has the unit of length {spelled!r}, which is not known"
        advice = f"or another unit of {', '.join(METRES)}"
    else:
        problem = f"has voxels of {numbers.replace(',', ' x ')}, in an unspecified unit"
        advice = f"or another unit of {', '.join(METRES)}"
    return (
        f"{path} {problem}: write `spacing={numbers} unit={unit or 'nanometer'}` in the metadata "
        f"column of its line in the sample sheet ({advice})"
    )


def ras_affine(
    path: str, columns: NDArray[np.float64], origin: NDArray[np.float64], to_ras: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the affine to RAS millimetres for a file whose world has other axes.

    Parameters
    ----------
    path : str
        Used in error messages.
    columns : ndarray
        (3, 3), steps between voxels along x, y, z in the file's world, in millimetres.
    origin : ndarray
        (3,), centre of the first voxel in that world.
    to_ras : tuple of int
        1 or -1 for each axis of that world.

    Raises
    ------
    SourceError
        If numbers are not finite.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    if not np.isfinite(affine).all():
        raise SourceError(f"{path} states an origin or directions that are not finite: correct it")
    return square(path, np.diag([*to_ras, 1]) @ affine)


def square(path: str, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `square_affine`, or raise `SourceError` if a file states sheared axes.

    Axes of length 0 are unchanged: their spacing is missing, which `settle` reports.
    """
    if not np.linalg.norm(affine[:3, :3], axis=0).all():
        return affine
    try:
        return square_affine(affine)
    except GridError as error:
        raise SourceError(f"{path} cannot be placed: {error}") from error


def placed_affine(
    path: str, affine: NDArray[np.float64], grid: Grid, stated: Stated, metadata: SourceMetadata
) -> NDArray[np.float64]:
    """Return the affine of a file's voxels in the patient, with user metadata applied.

    Parameters
    ----------
    path : str
        Used in error messages.
    affine : ndarray
        (4, 4) to RAS millimetres, as stated in the file.
    grid : Grid
        From `place`, with the same `stated` and `metadata`.
    stated, metadata
        From the file and from the user.

    Returns
    -------
    ndarray
        (4, 4) float64. A user spacing replaces the file's along each axis, so that positions and
        sizes are in the same millimetres; the centre of the first voxel is kept. If only a unit is
        given, it applies to all numbers of the file, including the origin. A user origin is the
        centre of the first voxel in the patient, in LPS.
    """
    placed = square(path, affine)
    if metadata.spacing is not None:
        wanted = np.asarray(grid.converted("millimeter").spacing[::-1])
        lengths = np.linalg.norm(placed[:3, :3], axis=0)
        if not lengths.all():
            raise SourceError(f"{path} states no direction for its voxels: correct its header")
        other = np.abs(wanted - lengths) > 1e-6 * lengths
        placed[:3, :3] *= np.where(other, wanted / lengths, 1.0)
    elif metadata.unit is not None:
        own = None if stated.unit is None else known_unit(stated.unit)
        if own is not None and own != metadata.unit:
            placed[:3] *= METRES[metadata.unit] / METRES[own]
    if metadata.origin is not None:
        x, y, z = grid.converted("millimeter").origin[::-1]
        placed[:3, 3] = (-x, -y, z)
    return placed


def stated_by_attributes(
    attributes: dict[str, Any],
    *,
    dimensions: int,
    path: str,
    axes: tuple[int | None, int, int] | None = None,
) -> Stated:
    """Return the position stated by the attributes of a Zarr array or HDF5 dataset.

    Parameters
    ----------
    attributes : dict
        `resolution`, `voxel_size`, `spacing` or `element_size_um`; `units` or `unit`, one for all
        axes or one for each; `offset`, the centre of voxel 0. A spacing has one number per axis,
        or one per spatial axis, in the order of the array. Or `transform` of OpenOrganelle, with
        `scale`, `translate` and `units` of each axis.
    dimensions : int
        Number of axes of the array.
    path : str
        Used in error messages.
    axes : tuple of int or None, optional
        Axes that are z, y, x; by default all three, or the two of a plane.

    Raises
    ------
    SourceError
        If a value has the wrong length or is not numeric.
    """
    order = axes or ((0, 1, 2) if dimensions == 3 else (None, 0, 1))
    transform = attributes.get("transform")
    if isinstance(transform, dict) and "scale" in transform:
        turn = -1 if str(transform.get("order", "C")).upper() == "F" else 1
        named = {"resolution": "scale", "offset": "translate", "units": "units"}
        there = {key: transform[word] for key, word in named.items() if word in transform}
        attributes = {
            **{key: v[::turn] if isinstance(v, list) else v for key, v in there.items()},
            **attributes,
        }
    spacing: list[float | None] = [None, None, None]
    implied: str | None = None
    for name, unit in SPACING_ATTRIBUTES.items():
        if name in attributes:
            spacing = _numbers(attributes[name], name, order, dimensions=dimensions, path=path)
            implied = unit
            break
    origin = [0.0, 0.0, 0.0]
    if "offset" in attributes:
        values = _numbers(attributes["offset"], "offset", order, dimensions=dimensions, path=path)
        origin = [value or 0.0 for value in values]
    units = attributes.get("units", attributes.get("unit", implied))
    return stated_by_axis(spacing, _units(units, order, dimensions=dimensions, path=path), origin)


def _numbers(
    value: Any, name: str, axes: Sequence[int | None], *, dimensions: int, path: str
) -> list[float | None]:
    # Attributes of HDF5 are numpy arrays and scalars, those of Zarr plain lists and numbers.
    plain = value.tolist() if hasattr(value, "tolist") else value
    try:
        numbers = [float(v) for v in plain]
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"{path} has the attribute {name} = {plain!r}, which is not a list of numbers "
            "along z, y, x: correct it in the file"
        ) from error
    found = _along(numbers, axes, dimensions)
    if found is None:
        raise SourceError(
            f"{path} has the attribute {name} = {plain!r}, of {len(numbers)} numbers for "
            f"{dimensions} axes: correct it in the file"
        )
    return found


def _along(values: Sequence[Any], axes: Sequence[int | None], dimensions: int) -> list[Any] | None:
    """Return the values of z, y, x among those of an array's axes; None if the number is wrong."""
    there = sorted(axis for axis in axes if axis is not None)
    if len(values) == dimensions:
        return [None if axis is None else values[axis] for axis in axes]
    if len(values) == len(there):
        return [None if axis is None else values[there.index(axis)] for axis in axes]
    # Some writers state three numbers for a plane of two axes.
    return [*values] if len(values) == 3 and axes[0] is None else None


def _units(
    value: Any, axes: Sequence[int | None], *, dimensions: int, path: str
) -> list[str | None]:
    """Return the unit along z, y, x."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    names = plain if isinstance(plain, list | tuple) else [plain]
    texts = [
        None if n is None else n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n)
        for n in names
    ]
    texts = [text or None for text in texts]
    stated = {text for text in texts if text is not None}
    if len(stated) < 2:
        return [next(iter(stated), None)] * 3
    found = _along(texts, axes, dimensions)
    if found is None:
        raise SourceError(
            f"{path} has the units {', '.join(map(str, texts))} for {dimensions} axes: give one "
            "unit, or one for each axis"
        )
    # a missing axis has no unit of its own
    return [found[2] if axis is None else unit for axis, unit in zip(axes, found, strict=True)]
