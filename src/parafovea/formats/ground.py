"""Ground size of pixels in any CRS and its units, and comparison of two positions."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parafovea.errors import SourceError, TileError
from parafovea.formats.tiles.tile import Position

if TYPE_CHECKING:
    from parafovea.formats.source import Source

#: WGS 84: semi-major axis in metres, and first eccentricity squared.
_AXIS, _ECCENTRICITY2 = 6378137.0, 0.0066943799901413165

#: A projection that distorts lengths by less than this is used without correction: UTM (0.1 %) and
#: the conic projections of most countries. Web Mercator doubles lengths at 60 degrees.
DISTORTED = 0.02

#: Tolerance for equal positions, as a fraction of a pixel.
APART = 0.1

#: UTM on WGS 84, the system of Sentinel-2, and the bounds of x and y in which it distorts lengths
#: by less than `DISTORTED`.
_UTM = re.compile(r"EPSG:32[67](?:0[1-9]|[1-5][0-9]|60)$", re.IGNORECASE)
_UTM_X, _UTM_Y = (1e5, 9e5), (0.0, 1e7)

_UNIT = re.compile(r'UNIT\["[^"]*",([0-9.eE+-]+)')

#: How a coordinate system is written: a code, a URN, a PROJ text, WKT or PROJJSON. GDAL would take
#: anything else for a file to open, or for an address to connect to.
_CRS = re.compile(
    r"[A-Za-z]{2,10}:[0-9A-Za-z_.]+$|urn:ogc:def:crs:[0-9A-Za-z:._-]+$|(?:WGS|NAD|CRS)[0-9]{2}$"
    r"|[+]|[A-Za-z]{4,24}\[|\{"
)

#: Points at which two coordinate systems are compared, in their units: x, y.
GEOGRAPHIC_POINTS = ((10.0, 50.0), (-70.0, -20.0), (140.0, 5.0))
PROJECTED_POINTS = ((5e5, 5e6), (0.0, 0.0), (4.5e6, 3.2e6), (2.5e6, 1.2e6), (-1e6, -1e6))

#: Relative tolerance for equal pixel sizes.
SAME_SIDE = 1e-3


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Return the length of one degree of latitude and of one of longitude on WGS 84.

    M = a (1 - e²) / (1 - e² sin² φ)^1.5 along the meridian and N cos φ with
    N = a / sqrt(1 - e² sin² φ)
    along the parallel (Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395,
    equations 4-18 to 4-21), times pi / 180.

    Parameters
    ----------
    latitude : float
        In degrees.

    Returns
    -------
    tuple of float
        Metres per degree of latitude, metres per degree of longitude.
    """
    phi = math.radians(latitude)
    bulge = 1 - _ECCENTRICITY2 * math.sin(phi) ** 2
    meridian = _AXIS * (1 - _ECCENTRICITY2) / bulge**1.5
    parallel = _AXIS * math.cos(phi) / math.sqrt(bulge)
    return math.radians(meridian), math.radians(parallel)


def ground_sides(crs: Any, x: float, y: float, height: float, width: float) -> tuple[float, float]:
    """Return the height and the width of a pixel in metres on the ground.

    Parameters
    ----------
    crs : rasterio.crs.CRS
        Projected or geographic.
    x, y : float
        A point near the pixel, such as the centre of its image, in the unit of the CRS.
    height, width : float
        Pixel size in the same unit; rows run south, columns east.

    Returns
    -------
    tuple of float
        The size in the unit of the CRS converted to metres where the projection is accurate to a
        few percent, otherwise measured on WGS 84.
    """
    if crs.is_geographic:
        degrees = math.degrees(crs.units_factor[1])
        if abs(degrees - 1) < 1e-9:  # rounding of the conversion
            degrees = 1.0
        per_y, per_x = metres_per_degree(y * degrees)
        return height * degrees * per_y, width * degrees * per_x
    if not crs.is_projected:  # that of a building site or of a ship, which lies nowhere
        units = _UNIT.findall(crs.to_wkt())
        metres = float(units[-1]) if units else 1.0
        return height * metres, width * metres
    metres = float(crs.linear_units_factor[1])
    nominal = height * metres, width * metres
    found = _measured_sides(crs, x, y, height, width)
    if found is None:
        return nominal
    far = max(abs(side / said - 1) for side, said in zip(found, nominal, strict=True))
    return found if far > DISTORTED else nominal


def position_sides(position: Position, height: int, width: int) -> tuple[float, float] | None:
    """Return the height and the width of a tile's pixels in metres on the ground.

    Parameters
    ----------
    position : Position
        Position of the tile.
    height, width : int
        Size of the tile in pixels.

    Returns
    -------
    tuple of float or None
        None if PROJ does not know the coordinate system.
    """
    side = position.pixel_size
    x, y = position.x + side * width / 2, position.y - side * height / 2
    if _UTM.match(position.crs) and _between(_UTM_X, x) and _between(_UTM_Y, y):
        return side, side  # as below, without PROJ
    crs = crs_of(position.crs)
    return None if crs is None else ground_sides(crs, x, y, side, side)


def _between(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] <= value <= bounds[1]


def same_crs(first: str | None, second: str | None) -> bool:
    """Return whether two names, codes or WKT strings denote the same coordinate system."""
    if first == second or first is None or second is None:
        return first == second
    one, other = crs_of(first), crs_of(second)
    return one is not None and other is not None and coincide(one, other)


def coincide(first: Any, second: Any) -> bool:
    """Return whether two coordinate systems give the same places, whatever their names.

    Parameters
    ----------
    first, second : rasterio.crs.CRS
        A code of EPSG and the WKT of other programs often differ in names and axes alone.
    """
    return bool(first == second) or _same_points(first.to_wkt(), second.to_wkt())


@functools.lru_cache(256)
def _same_points(first: str, second: str) -> bool:
    """Return whether two coordinate systems have the same coordinates at some points."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    one, other = crs_of(first), crs_of(second)
    if one is None or other is None or one.is_geographic != other.is_geographic:
        return False
    points = GEOGRAPHIC_POINTS if one.is_geographic else PROJECTED_POINTS
    x, y = (np.array(values, np.float64) for values in zip(*points, strict=True))
    try:
        there = np.array(transform(one, other, x, y))
        back = np.array(transform(other, one, x, y))
    except (RasterioError, CPLE_BaseError):
        return False
    far = [np.abs(found[:2] - (x, y)) for found in (there, back)]
    known = np.isfinite(far[0]) & np.isfinite(far[1])
    limit = 1e-8 if one.is_geographic else 1e-3
    return bool(known.any() and all((each[known] < limit).all() for each in far))


def require_same_place(
    truth: Position | None, expected: Position | None, path: str, what: str, *, pixels: bool = True
) -> None:
    """Raise `TileError` if a truth states another position than its image.

    Parameters
    ----------
    truth, expected : Position or None
        Position of the truth, and of its image; None if unknown, which fits anything.
    path : str
        Path of the truth.
    what : str
        The image, such as "tile 'a'".
    pixels : bool
        Whether the pixel size must be the same, too.
    """
    if truth is None or expected is None:
        return
    differs = difference(truth, expected, pixels=pixels)
    if differs:
        raise TileError(
            f"the truth {path} is not of the same place as {what}, it has {differs}: give the "
            "truth of the same pixels, for example with gdalwarp"
        )


def require_same_images(truth: Source, facts: Mapping[str, Any]) -> None:
    """Raise an error if a truth has other images than its sample; see `opening`.

    Raises
    ------
    SourceError
        If the names of its tiles differ.
    TileError
        If an image is at another place; its pixels may be finer.
    """
    names = facts.get("planes", ())
    others = sorted(set(names) ^ set(truth.planes))
    if names and truth.planes and others:
        raise SourceError(
            f"the tiles of {truth.path} differ from those of its sample, such as {others[0]}: "
            "give a truth of the same name for each tile"
        )
    images = [f"tile {name!r}" for name in names] or [f"the source {facts.get('path')}"]
    places = zip(images, truth.positions, facts.get("positions", ()), strict=False)
    for image, found, stated in places:
        expected = None if stated is None else Position(**stated)
        require_same_place(found, expected, truth.path, image, pixels=False)


def difference(first: Position, second: Position, *, pixels: bool = True) -> str:
    """Return how two positions differ, such as "pixels of 20 instead of 10", or "" if they agree.

    Parameters
    ----------
    first, second : Position
        Positions; the second is the expected one.
    pixels : bool
        Whether pixel sizes are compared.
    """
    if not same_crs(first.crs, second.crs):
        return f"the coordinate system {first.crs[:60]} instead of {second.crs[:60]}"
    if pixels and abs(first.pixel_size / second.pixel_size - 1) > SAME_SIDE:
        return f"pixels of {first.pixel_size:g} instead of {second.pixel_size:g}"
    apart = max(abs(first.x - second.x), abs(first.y - second.y))
    if apart > APART * second.pixel_size:
        return (
            f"its corner at {first.x:.10g}, {first.y:.10g} instead of {second.x:.10g}, "
            f"{second.y:.10g}"
        )
    return ""


@functools.lru_cache(256)
def crs_of(text: str) -> Any:
    """Return the rasterio CRS described by a text, or None if PROJ does not know it."""
    # the import takes half a second, and tiles without a position do not need it
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    if _CRS.match(text) is None:
        return None
    try:
        with rasterio.Env():  # without one, GDAL prints its errors
            return CRS.from_user_input(text)
    except CRSError:
        return None


def _measured_sides(
    crs: Any, x: float, y: float, height: float, width: float
) -> tuple[float, float] | None:
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        longitudes, latitudes = transform(crs, "EPSG:4326", [x, x + width, x], [y, y, y - height])
    except (RasterioError, CPLE_BaseError):
        return None
    if not all(map(math.isfinite, (*longitudes, *latitudes))):
        return None
    per_y, per_x = metres_per_degree(latitudes[0])

    def metres(index: int) -> float:
        east = math.remainder(longitudes[index] - longitudes[0], 360)
        return math.hypot(east * per_x, (latitudes[index] - latitudes[0]) * per_y)

    return metres(2), metres(1)
