"""Sizes of pixels on the ground, against geodesy's own numbers."""

import math

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform

from parafovea.formats import ground
from parafovea.formats.geo.geotiff import crs_name
from parafovea.formats.ground import difference, ground_sides, position_sides, same_crs
from parafovea.formats.tiles.tile import Position

#: WGS 84: the radii of curvature along the meridian and the parallel, from its two constants.
A, E2 = 6378137.0, 1 - (1 - 1 / 298.257223563) ** 2


def radii(latitude: float) -> tuple[float, float]:
    bulge = 1 - E2 * math.sin(math.radians(latitude)) ** 2
    return A * (1 - E2) / bulge**1.5, A / math.sqrt(bulge)


@pytest.mark.parametrize("latitude", [-60, -35, 12, 45, 70])
def test_web_mercator_is_as_large_as_its_latitude_makes_it(latitude):
    y = A * math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))
    height, width = ground_sides(CRS.from_epsg(3857), 1e6, y, 10, 10)
    meridian, normal = radii(latitude)
    shrunk = 10 / A * math.cos(math.radians(latitude))
    assert height == pytest.approx(shrunk * meridian, rel=1e-4)
    assert width == pytest.approx(shrunk * normal, rel=1e-4)


@pytest.mark.parametrize("latitude", [-38.0, 0.0, 52.0])
def test_degrees_and_grads_are_as_long_as_the_ellipsoid_says(latitude):
    meridian, normal = radii(latitude)
    expected = (
        math.radians(9e-5) * meridian,
        math.radians(9e-5) * normal * math.cos(math.radians(latitude)),
    )
    assert ground_sides(CRS.from_epsg(4326), 13, latitude, 9e-5, 9e-5) == pytest.approx(expected)
    grads = CRS.from_epsg(4807)
    found = ground_sides(grads, 5, latitude / 0.9, 1e-4, 1e-4)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("code", "x", "y", "side", "expected"),
    [
        (32633, 5e5, 5e6, 10, 10),  # UTM: 4 cm a hundred metres, and taken at its word
        (2263, 1e6, 2e5, 32.8083333333, 10),  # US survey feet
        (3035, 4e6, 3e6, 10, 10),
    ],
)
def test_a_true_projection_is_taken_at_its_word_in_its_own_unit(code, x, y, side, expected):
    found = ground_sides(CRS.from_epsg(code), x, y, side, side)
    assert found == pytest.approx((expected, expected), rel=1e-9)


def test_a_system_that_is_not_known_has_no_metres():
    assert position_sides(Position("the field behind the barn", 0, 0, 10), 64, 64) is None


def test_one_system_under_two_names_is_one():
    assert same_crs("EPSG:32633", CRS.from_epsg(32633).to_wkt())
    assert not same_crs("EPSG:32633", "EPSG:32634")
    assert not same_crs("EPSG:32633", None)
    assert same_crs(None, None)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Position("EPSG:32633", 0.5, 0, 10), ""),
        (Position("EPSG:32633", 5, 0, 10), "its corner at 5, 0 instead of 0, 0"),
        (Position("EPSG:32633", 0, 0, 20), "pixels of 20 instead of 10"),
        (Position("EPSG:32634", 0, 0, 10), "the coordinate system EPSG:32634 instead"),
    ],
)
def test_places_that_differ_are_told_apart(other, says):
    found = difference(other, Position("EPSG:32633", 0, 0, 10))
    assert found.startswith(says) if says else not found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("EPSG:32633", "EPSG:32633"),
        ("+proj=utm +zone=33 +ellps=GRS80 +units=m", "EPSG:25833"),  # without a name of its datum
        ("+proj=utm +zone=33 +ellps=intl +towgs84=-87,-98,-121 +units=m", "PROJCS"),
        ("+proj=tmerc +lon_0=15 +k=0.9996 +x_0=600000 +datum=WGS84 +units=m", "PROJCS"),
    ],
)
def test_a_crs_has_the_code_of_no_other_one(text, name):
    crs = CRS.from_user_input(text)
    found = crs_name(crs)
    assert found.startswith(name)
    # the same places on the ground, as PROJ gives them
    points = [500_000.0, 450_000.0], [5_000_000.0, 5_100_000.0]
    expected = transform(crs, "EPSG:4326", *points)
    np.testing.assert_allclose(transform(found, "EPSG:4326", *points), expected, atol=1e-8)


def test_a_local_coordinate_system_has_the_unit_that_it_states():
    crs = CRS.from_wkt('LOCAL_CS["site",UNIT["foot",0.3048]]')
    assert ground_sides(crs, 0, 0, 10, 20) == pytest.approx((3.048, 6.096))


def test_the_name_of_a_system_is_never_opened_as_a_file_or_an_address(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name in ("here", "here.prj"):
        (tmp_path / name).write_text(CRS.from_epsg(32633).to_wkt())
    names = ("here", "here.prj", str(tmp_path / "here"), "http://127.0.0.1:9/crs", "ESRI::here")
    for name in (*names, "EPSG:99999999"):
        assert position_sides(Position(name, 5e5, 5e6, 10.0), 8, 8) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "epsg:32633", "urn:ogc:def:crs:EPSG::32633", "+proj=utm +zone=33 +datum=WGS84",
        CRS.from_epsg(32633).to_wkt(), "ESRI:102033", "WGS84",
    ],
)  # fmt: skip
def test_a_system_is_known_by_its_code_or_its_text(name):
    assert position_sides(Position(name, 5e5, 5e6, 10.0), 8, 8) is not None


@pytest.mark.parametrize("code", [32601, 32633, 32660, 32701, 32756])
@pytest.mark.parametrize("x", [99e3, 101e3, 5e5, 899e3, 901e3, 5e6])
@pytest.mark.parametrize("y", [-5.0, 0.0, 4e6, 9.3e6, 1e7])
def test_utm_is_measured_without_the_library_as_with_it(code, x, y):
    sides = position_sides(Position(f"EPSG:{code}", x, y, 10.0), 2, 2)
    assert sides == ground_sides(CRS.from_epsg(code), x + 10, y - 10, 10.0, 10.0)


def test_tiles_in_utm_need_no_library(monkeypatch):
    monkeypatch.setattr(ground, "crs_of", None)
    assert position_sides(Position("EPSG:32633", 5e5, 5e6, 10.0), 8, 8) == (10.0, 10.0)
    place = Position("EPSG:32761", 2e6, 2e6, 10.0)  # around the pole, which is no zone
    with pytest.raises(TypeError):
        position_sides(place, 8, 8)
