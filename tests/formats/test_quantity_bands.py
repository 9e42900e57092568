"""Radar and elevation bands: what their numbers are is stated, and never guessed."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from tile_files import write_npz

from parafovea.errors import ConfigError, SourceError, TileError
from parafovea.formats.band_folder import band_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.quantity_bands import elevation_forms, radar_forms
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.tile_folder import TileFile
from parafovea_phantoms.landscapes.radar import DECIBELS

RANGES = {"VV": (-25.0, 0.0), "VH": (-32.0, -5.0), "DEM": (0.0, 2000.0)}
PAIR = ("VV", "VH")


def decibels(seed=0):
    """Levels of VV and VH, within the range of the model."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-24, -1, (20, 24)), rng.uniform(-31, -6, (20, 24))])


def wanted(levels):
    """What the model takes: 0 and 1 at its own limits."""
    limits = np.array([RANGES[name] for name in PAIR])[:, :, None, None]
    return (levels - limits[:, 0]) / (limits[:, 1] - limits[:, 0])


def read(file, words="", bands=PAIR, ranges=RANGES):
    options = parse_metadata(words, folder=Path()).for_input(ranges).tiles
    return read_tile(file, bands=bands, key="sar", options=options)


def float32(values):
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("stored", "words", "sidecar"),
    [
        (lambda db: db, "radar=decibels", None),
        (lambda db: db, "", {"radar": "decibels"}),
        (lambda db: 10 ** (db / 10), "radar=power", None),
        (lambda db: 10 ** (db / 10), "radar=power", {"radar": "decibels"}),
        (lambda db: 10 ** (db / 10), "", {"radar": "power"}),
        (lambda db: (db + 40) / 50, "radar=VV:-40:10,VH:-40:10", None),
        (lambda db: (db + 40) / 50, "", {"radar": {"VV": [-40, 10], "VH": [-40, 10]}}),
        (
            lambda db: (db + 40) / 50,
            "",
            {"bands": ["VV", "VH"], "decibels": [[-40, 10], [-40, 10]]},
        ),
        (lambda db: db * 100, "radar=decibels scale=0.01", None),
    ],
)
def test_whatever_the_numbers_are_the_model_takes_the_same(tmp_path, stored, words, sidecar):
    levels = decibels()
    file = write_npz(tmp_path, sidecar=sidecar, sar=float32(stored(levels)))
    tile = read(file, words)
    np.testing.assert_allclose(tile.values, wanted(levels), atol=2e-5)
    assert (tile.clipped, tile.notes) == (0, ())


def test_radar_of_the_phantoms_states_its_decibels(tmp_path):
    levels = decibels()
    limits = np.array(DECIBELS)[:, :, None, None]
    scaled = (levels - limits[:, 0]) / (limits[:, 1] - limits[:, 0])
    about = {"bands": list(PAIR), "decibels": [list(pair) for pair in DECIBELS]}
    file = write_npz(tmp_path, sidecar=about, sar=float32(scaled))
    np.testing.assert_allclose(read(file).values, wanted(levels), atol=2e-5)


def test_bands_that_a_json_file_names_are_put_in_order(tmp_path):
    levels = decibels()
    about = {"bands": ["VH", "VV"], "radar": "decibels"}
    file = write_npz(tmp_path, sidecar=about, sar=float32(levels[::-1]))
    np.testing.assert_allclose(read(file).values, wanted(levels), atol=2e-5)


def test_levels_outside_of_the_range_are_clipped_and_counted(tmp_path):
    levels = decibels()
    levels[0, 0, :3], levels[1, 0, :2] = -60, 5
    tile = read(write_npz(tmp_path, sar=float32(levels)), "radar=decibels")
    assert tile.clipped == 5
    assert tile.values[0, 0, 0] == 0
    assert tile.values[1, 0, 0] == 1


def test_no_power_at_all_is_the_faintest(tmp_path):
    power = 10 ** (decibels() / 10)
    power[0, 0, 0] = 0
    tile = read(write_npz(tmp_path, sar=float32(power)), "radar=power")
    assert (tile.values[0, 0, 0], tile.clipped) == (0, 1)


def test_missing_pixels_are_no_measurement(tmp_path):
    levels = decibels()
    levels[:, 3, 4] = -9999
    tile = read(write_npz(tmp_path, sar=float32(levels)), "radar=decibels nodata=-9999")
    assert tile.measured == 20 * 24 - 1
    assert tile.clipped == 0
    assert 0 <= tile.values.min() <= tile.values.max() <= 1


def test_a_sea_below_the_range_is_no_error(tmp_path):
    tile = read(write_npz(tmp_path, sar=np.full((2, 20, 24), -50, np.float32)), "radar=decibels")
    assert not tile.values.any()


def test_radar_elevation_and_reflectance_lie_in_one_array(tmp_path):
    levels, bands = decibels(), (*PAIR, "DEM", "B02", "B03")
    rng = np.random.default_rng(3)
    heights, numbers = rng.integers(100, 1900, (1, 20, 24)), rng.integers(1500, 6000, (2, 20, 24))
    every = float32(np.concatenate([levels, heights, numbers]))
    file = write_npz(tmp_path, sar=every)
    tile = read(file, "radar=decibels elevation=meters baseline=0400", bands=bands)
    optical = numbers / 10000 - 0.1
    reached = np.concatenate([wanted(levels), heights / 2000, optical])
    np.testing.assert_allclose(tile.values, reached, atol=2e-5)
    scaled = float32(np.concatenate([levels, heights / 4000, optical]))
    file = write_npz(tmp_path, "b", sar=scaled)
    tile = read(file, "radar=decibels elevation=0:4000", bands=bands)
    np.testing.assert_allclose(tile.values, reached, atol=2e-5)


def test_what_is_not_stated_is_refused_and_how_to_state_it_is_said(tmp_path):
    file = write_npz(tmp_path, sar=float32(wanted(decibels())))
    with pytest.raises(
        TileError,
        match=r"does not state what the numbers of VV are, and the model "
        r"takes decibels: write radar=decibels, radar=power",
    ):
        read(file)
    with pytest.raises(TileError, match="does not state what the numbers of VH are"):
        read(file, "radar=VV:-25:0")
    heights = write_npz(tmp_path, "b", sar=np.full((1, 20, 24), 0.5, np.float32))
    with pytest.raises(TileError, match="the numbers of DEM are, and the model takes meters"):
        read(heights, bands=("DEM",))


def test_a_model_that_states_no_range_takes_numbers_as_they_are(tmp_path):
    values = float32(wanted(decibels()))
    file = write_npz(tmp_path, sidecar={"radar": "decibels"}, sar=values)
    np.testing.assert_array_equal(read(file, ranges=None).values, values)
    with pytest.raises(TileError, match="the model does not state its range"):
        read(file, "radar=decibels", ranges=None)


@pytest.mark.parametrize(
    ("change", "words", "part"),
    [
        (lambda db: wanted(db), "radar=decibels", "not decibels but looks scaled"),
        (lambda db: db, "radar=power", "linear power is never below 0"),
        (lambda db: db, "radar=VV:-25:0,VH:-32:-5", r"should lie in \[0, 1\] if these stand for"),
        (lambda db: np.where(db < -20, -9999, db), "radar=decibels", "-9999 to .*no decibels"),
        (lambda db: np.where(db < -20, np.nan, db), "radar=decibels", "NaN"),
        (lambda db: 10 ** (db / 10) * 1e9, "radar=power", "which are no decibels"),
    ],
)
def test_numbers_that_are_not_what_is_stated_are_refused(tmp_path, change, words, part):
    file = write_npz(tmp_path, sar=float32(change(decibels())))
    with pytest.raises(TileError, match=part) as caught:
        read(file, words)
    assert "a.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("sidecar", "part"),
    [
        ({"radar": "amplitude"}, "the JSON file of .*radar 'amplitude' is not known: for example"),
        ({"radar": 3}, "radar 3 is not known"),
        ({"decibels": [[-25, 0]], "bands": ["VV", "VH"]}, "are not a pair for each of its bands"),
        ({"radar": {"VV": [0, -25], "VH": [-32, -5]}}, "write the lower number first"),
    ],
)
def test_json_files_that_cannot_be_understood_are_refused(tmp_path, sidecar, part):
    file = write_npz(tmp_path, sidecar=sidecar, sar=float32(decibels()))
    with pytest.raises(TileError, match=part):
        read(file)


@pytest.mark.parametrize(
    "words",
    [
        "radar=amplitude",
        "radar=VV:-25",
        "radar=B02:-25:0",
        "radar=VV:-25:0,vv:-30:0",
        "radar=VV:low:high",
        "radar=VV:nan:0",
        "elevation=feet",
        "elevation=0:99999",
        "ranges=VV:-25:0",
    ],
)
def test_words_that_cannot_be_are_refused(words):
    with pytest.raises(ConfigError, match=words.partition("=")[0]):
        parse_metadata(words, folder=Path())


def test_words_may_be_written_as_values_too():
    assert radar_forms("DECIBELS")["HH"] == "decibels"
    assert radar_forms({"vv": [-25, 0]}) == radar_forms("VV:-25:0") == {"VV": (-25.0, 0.0)}
    assert elevation_forms([0, 3000]) == elevation_forms("0:3000") == {"DEM": (0.0, 3000.0)}
    assert elevation_forms("m") == {"DEM": "meters"}


def write_radar(path, values, units=("dB", "dB")):
    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "crs": "EPSG:32633"}
    height, width = values.shape[1:]
    transform = Affine(10, 0, 500000, 0, -10, 5000000)
    with rasterio.open(
        path, "w", height=height, width=width, transform=transform, **profile
    ) as image:
        image.write(float32(values))
        image.descriptions = PAIR
        image.units = units
    return path


def test_the_unit_in_a_geotiff_states_it_for_tiles_and_mosaics(tmp_path):
    levels = decibels()
    path = write_radar(tmp_path / "a.tif", levels)
    np.testing.assert_allclose(read(TileFile("a", path, None)).values, wanted(levels), atol=2e-5)
    said = parse_metadata("", folder=Path()).for_input(RANGES)
    volume = open_source(path, metadata=said, bands=PAIR)
    found = volume.array[:, :, :]
    np.testing.assert_allclose(found[:, 0], wanted(levels), atol=2e-5)
    plain = write_radar(tmp_path / "b.tif", 10 ** (levels / 10), units=("", ""))
    with pytest.raises(SourceError, match=r"b\.tif does not state what the numbers of VV are"):
        open_source(plain, metadata=said, bands=PAIR)
    said = parse_metadata("radar=power", folder=Path()).for_input(RANGES)
    found = open_source(plain, metadata=said, bands=PAIR).array[:, :, :]
    np.testing.assert_allclose(found[:, 0], wanted(levels), atol=2e-5)


def test_a_folder_with_a_file_for_each_polarization_is_one_image(tmp_path):
    levels = decibels()
    both = write_radar(tmp_path / "both.tif", levels)
    folder = tmp_path / "scene"
    folder.mkdir()
    with rasterio.open(both) as image:
        profile = {**image.profile, "count": 1}
        for index, name in enumerate(PAIR, 1):
            with rasterio.open(folder / f"iw-{name.lower()}.rtc.tiff", "w", **profile) as one:
                one.write(image.read(index), 1)
                one.units = ("dB",)
    said = parse_metadata("", folder=Path()).for_input(RANGES)
    found = open_source(folder, metadata=said, bands=PAIR).array[:, :, :]
    np.testing.assert_allclose(found[:, 0], wanted(levels), atol=2e-5)
    assert band_files(folder).keys() == set(PAIR)
    (folder / "iw-vh.rtc.tiff").unlink()
    assert band_files(folder) == {}
