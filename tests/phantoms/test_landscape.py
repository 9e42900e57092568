"""A landscape: the same wherever it is cut, with reflectance, seasons and radar as measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import ConfigError
from parafovea_phantoms.landscapes import landscape as module
from parafovea_phantoms.landscapes.biomes import BIOMES, sun_height
from parafovea_phantoms.landscapes.ground import Cover
from parafovea_phantoms.landscapes.landscape import (
    LANDCOVER,
    Landscape,
    LandscapeView,
    landscape_mosaic,
)

SIDE = 128
TEMPERATE = 4


@pytest.fixture(scope="module")
def july() -> LandscapeView:
    return landscape_mosaic(3, (SIDE, SIDE), 7, TEMPERATE)


def ndvi(image: np.ndarray) -> np.ndarray:
    return (image[3] - image[2]) / (image[3] + image[2])


def median(view: LandscapeView, cover: Cover) -> np.ndarray:
    return np.median(view.truth[:, view.landcover == cover], axis=1)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_place(
    july: LandscapeView,
) -> None:
    again = landscape_mosaic(3, (SIDE, SIDE), 7, TEMPERATE)
    other = landscape_mosaic(4, (SIDE, SIDE), 7, TEMPERATE)
    for name, values in vars(july).items():
        assert values.tobytes() == getattr(again, name).tobytes()
        assert not np.array_equal(values, getattr(other, name))


@settings(max_examples=6, derandomize=True)
@given(st.integers(0, SIDE - 9), st.integers(0, SIDE - 9), st.integers(1, 40), st.integers(1, 40))
def test_any_part_is_the_same_bytes_drawn_alone(
    july: LandscapeView, top: int, left: int, high: int, wide: int
) -> None:
    shape = (min(high, SIDE - top), min(wide, SIDE - left))
    part = Landscape(3, TEMPERATE, 7).view(top, left, shape)
    place = (..., slice(top, top + shape[0]), slice(left, left + shape[1]))
    for name, values in vars(part).items():
        np.testing.assert_array_equal(values, getattr(july, name)[place], err_msg=name)


def test_a_part_to_the_north_west_of_the_first_pixel_fits_to_the_rest() -> None:
    place = Landscape(3, TEMPERATE, 7)
    whole, corner = place.view(-20, -20, (40, 40)), place.view(0, 0, (20, 20))
    np.testing.assert_array_equal(whole.degraded[:, 20:, 20:], corner.degraded)


def test_blocks_do_not_show(july: LandscapeView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)
    blocks = landscape_mosaic(3, (SIDE, SIDE), 7, TEMPERATE)
    np.testing.assert_array_equal(blocks.truth, july.truth)
    np.testing.assert_array_equal(blocks.degraded, july.degraded)


@pytest.mark.parametrize("biome", range(len(BIOMES)))
def test_every_biome_is_a_landscape_within_range(biome: int) -> None:
    view = landscape_mosaic(8, (64, 64), 1 + 5 * biome % 12, biome)
    for image, bands in ((view.truth, 4), (view.degraded, 4), (view.radar, 2)):
        assert image.shape == (bands, 64, 64)
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() <= 1
    assert view.landcover.dtype == view.classes.dtype == np.uint8
    assert view.landcover.max() < len(LANDCOVER)
    np.testing.assert_array_equal(view.classes == 1, view.landcover == Cover.WATER)


@pytest.fixture(scope="module")
def summer() -> LandscapeView:
    """Return 16 km² in July, with every class of land cover."""
    return landscape_mosaic(12, (256, 640), 7, TEMPERATE)


def test_a_few_kilometres_hold_every_class(summer: LandscapeView) -> None:
    shares = np.bincount(summer.landcover.ravel(), minlength=len(LANDCOVER)) / summer.landcover.size
    assert (shares[Cover.CROP :] > 0.001).all(), dict(zip(LANDCOVER, shares, strict=True))
    assert shares[Cover.CROP] + shares[Cover.GRASS] > 0.25
    assert 0.15 < shares[Cover.BROADLEAF] + shares[Cover.CONIFER] < 0.65
    assert shares[Cover.ROAD] < 0.06


def test_reflectance_is_that_of_water_forest_and_fields(summer: LandscapeView) -> None:
    water = median(summer, Cover.WATER)
    assert water[3] < 0.05
    assert water[3] < water[2] < water[1]
    for cover in (Cover.BROADLEAF, Cover.CROP):
        blue, green, red, infrared = median(summer, cover)
        assert 0.25 < infrared < 0.5
        assert 0.015 < red < 0.07
        assert blue < green
    assert 0.15 < median(summer, Cover.CONIFER)[3] < median(summer, Cover.BROADLEAF)[3] - 0.05
    bare = landscape_mosaic(12, (SIDE, SIDE), 7, 13)
    soil = median(bare, Cover.SOIL)
    assert (np.diff(soil) > 0.02).all()


def test_fields_and_broadleaved_forest_are_green_in_summer_and_conifers_always(
    summer: LandscapeView,
) -> None:
    winter = landscape_mosaic(12, (256, 640), 1, TEMPERATE)
    np.testing.assert_array_equal(winter.landcover, summer.landcover)
    change = {
        cover: np.median((ndvi(summer.truth) - ndvi(winter.truth))[summer.landcover == cover])
        for cover in (Cover.CROP, Cover.GRASS, Cover.BROADLEAF, Cover.CONIFER)
    }
    assert change[Cover.CROP] > 0.2
    assert change[Cover.GRASS] > 0.1
    assert change[Cover.BROADLEAF] > 0.3
    assert abs(change[Cover.CONIFER]) < 0.03


def test_a_mediterranean_summer_is_drier_than_its_spring() -> None:
    april, august = (landscape_mosaic(5, (SIDE, SIDE), month, 12) for month in (4, 8))
    grass = april.landcover == Cover.GRASS
    assert np.median(ndvi(april.truth)[grass]) > np.median(ndvi(august.truth)[grass]) + 0.08


def test_radar_sees_dark_water_bright_forest_and_brightest_houses(summer: LandscapeView) -> None:
    vv, vh = (
        {cover: np.median(plane[summer.landcover == cover]) for cover in Cover if cover > 0}
        for plane in summer.radar
    )
    assert vv[Cover.WATER] < 0.25 < vv[Cover.CROP] < vv[Cover.BROADLEAF] < vv[Cover.SETTLEMENT]
    assert vh[Cover.WATER] < 0.25
    assert vh[Cover.BROADLEAF] > vh[Cover.CROP] + 0.1


def test_the_sun_is_as_high_as_an_almanac_says() -> None:
    # noon is 22.5° later: at the equator, at equinox, the sun has then 22.5° left to climb
    assert np.degrees(sun_height(0, 81)) == pytest.approx(67.5, abs=0.7)
    assert np.degrees(sun_height(48, 172)) > np.degrees(sun_height(48, 81)) + 15
    assert np.degrees(sun_height(70, 355)) == pytest.approx(15)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed -1 is negative"),
        ({"month": 13}, "invalid month 13: use a number from 1 to 12"),
        ({"biome": 16}, "unknown biome 16: use a code from 0 to 15"),
        ({"pixel_size": 0.2}, "use 1 to 100 metres"),
    ],
)
def test_a_landscape_that_cannot_be_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Landscape(**{"seed": 1, "biome": 0, "month": 6, **wrong})
