"""What the JSON file beside a tile says."""

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tile_files import write_sidecar

from parafovea.errors import TileError
from parafovea.formats.tiles.sidecar import read_sidecar
from parafovea.formats.tiles.tile import Position


def _read(folder, content):
    return read_sidecar(write_sidecar(folder, "a", content))


@pytest.mark.parametrize("month", [6, 6.0, "6", "06", "jun", "June", "JUN", " june "])
def test_months_are_numbers_or_names(tmp_path, month):
    assert _read(tmp_path, {"month": month}).month == 6


@given(st.integers(1, 12), st.integers(3, 9), st.sampled_from([str.lower, str.upper, str.title]))
def test_every_month_is_known_by_its_first_letters(tmp_path_factory, number, letters, case):
    name = case(calendar.month_name[number][:letters])
    assert _read(tmp_path_factory.getbasetemp(), {"month": name}).month == number


@pytest.mark.parametrize(
    "month", [0, 13, -1, 3.5, "foo", "ju", "", "13", "²", True, [6], {"is": 6}, "9" * 500]
)
def test_what_is_no_month_is_refused(tmp_path, month):
    with pytest.raises(TileError, match=r"a\.json: month .* is not a month: write 1 to 12"):
        _read(tmp_path, {"month": month})


@pytest.mark.parametrize("biome", [0, 15, 3.0, "7"])
def test_biomes_run_from_0_to_15(tmp_path, biome):
    assert _read(tmp_path, {"month": 1, "biome_code": biome}).biome == int(biome)


@pytest.mark.parametrize("biome", [99, 16, -1, 3.5, "-1", "forest", False, [1]])
def test_what_is_no_biome_is_refused(tmp_path, biome):
    with pytest.raises(TileError, match=r"a\.json: biome_code .* whole number from 0 to 15"):
        _read(tmp_path, {"month": 1, "biome_code": biome})


@pytest.mark.parametrize(
    ("content", "assumed"),
    [
        (None, ("month", "biome")),
        ({}, ("month", "biome")),
        ({"month": 6}, ("biome",)),
        ({"biome_code": 0}, ("month",)),
        ({"month": None, "biome_code": 0}, ("month",)),
        ({"month": 6, "biome_code": 0}, ()),
    ],
)
def test_what_nobody_says_is_june_and_biome_0_and_marked_as_assumed(tmp_path, content, assumed):
    found = _read(tmp_path, content)
    assert (found.month, found.biome, found.assumed) == (6, 0, assumed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{month: 6}", r"is not JSON \(.*line 1 column 2"),
        ("", "is not JSON"),
        ("[1, 2]", "holds list instead of keys"),
        ('"june"', "holds str instead of keys"),
        ('{"month": 6, "cloud": NaN}', "contains NaN, which is not JSON"),
        ('{"cloud": [-Infinity]}', "contains -Infinity"),
        ('{"cloud": 1e999}', "contains 1e999"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "is encoded in UTF-16 or UTF-32: save it as UTF-8"),
        ('{"month": 6}'.encode("utf-16-be"), "save it as UTF-8"),
        (
            '{"site": "Müritz"}'.encode("latin-1"),
            r"not UTF-8 \(byte 0xfc at 11\).*save it as UTF-8",
        ),
        (r'{"tile_id": "field \ud83d"}', r"half of a character \(\\ud83d\)"),
        (r'{"\udc00": 1}', "half of a character"),
    ],
)
def test_what_is_no_json_object_is_refused_in_one_line(tmp_path, content, says):
    with pytest.raises(TileError, match=says) as caught:
        _read(tmp_path, content)
    assert str(tmp_path / "a.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_else_is_kept_as_it_stands(tmp_path):
    rest = {"tile_id": "a", "nested": {"x": [1, 2.5, None]}, "date": "2020-06-01", "ß": "é"}
    assert _read(tmp_path, {"month": 3, **rest, "biome_code": 1}).metadata == rest


def test_a_byte_order_mark_is_no_part_of_the_content(tmp_path):
    assert _read(tmp_path, b'\xef\xbb\xbf{"month": 3}').month == 3


def test_a_position_is_the_upper_left_corner(tmp_path):
    place = {"crs": "EPSG:32633", "x": 500000, "y": 5000000.5, "pixel_size": 10.0, "row": 4}
    found = _read(tmp_path, {"position": place})
    assert found.position == Position("EPSG:32633", 500000.0, 5000000.5, 10.0)
    assert found.metadata["position"] == place


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ([1, 2], "has no keys"),
        ({"x": 1, "y": 2, "pixel_size": 10}, "no crs"),
        ({"crs": 32633, "x": 1, "y": 2, "pixel_size": 10}, "crs 32633 is not a text"),
        ({"crs": "EPSG:32633", "x": 1, "pixel_size": 10}, "has no y"),
        ({"crs": "EPSG:32633", "x": "1", "y": 2, "pixel_size": 10}, "x '1' is not a valid number"),
        (
            {"crs": "EPSG:32633", "x": 10**400, "y": 2, "pixel_size": 10},
            "x 1000.* is not a valid number",
        ),
        ({"crs": "EPSG:32633", "x": 1, "y": 2, "pixel_size": 0}, "not positive"),
    ],
)
def test_half_a_position_is_refused(tmp_path, place, says):
    with pytest.raises(TileError, match=rf"a\.json: .*{says}"):
        _read(tmp_path, {"position": place})


@pytest.mark.parametrize(
    ("stated", "day"),
    [
        ({"date": "2020-07-01"}, "2020-07-01"),
        ({"datetime": "2020-07-01T10:20:31.024Z"}, "2020-07-01"),
        ({"acquired": "20200701T102031"}, "2020-07-01"),
        ({"date": 20200701}, "2020-07-01"),
        ({"system:time_start": 1593600631024}, "2020-07-01"),
        ({"datetime": 1593600631}, "2020-07-01"),
        ({"properties": {"datetime": "2020-07-01T10:20:31Z"}}, "2020-07-01"),
        ({"properties": ["2020"]}, ""),
        ({"date": None, "sensing_time": "2020/07/01 10:20"}, "2020-07-01"),
        ({"date": "summer 2020"}, "summer 2020"),
        ({"timestamp": "2026-01-01"}, ""),
        ({}, ""),
    ],
)
def test_the_day_on_which_a_tile_was_taken_is_read_from_its_keys(tmp_path, stated, day):
    assert _read(tmp_path, stated).date == day


@pytest.mark.parametrize(
    ("stated", "month", "assumed"),
    [
        ({"date": "2020-11-03"}, 11, ("biome",)),
        ({"datetime": "2020-11-03T10:00:00Z", "biome_code": 1}, 11, ()),
        ({"date": "2020-11-03", "month": 7}, 7, ("biome",)),
        ({"date": "2020-13-03"}, 6, ("month", "biome")),
        ({"date": "summer 2020"}, 6, ("month", "biome")),
    ],
)
def test_a_date_states_the_month_that_nothing_else_states(tmp_path, stated, month, assumed):
    found = _read(tmp_path, stated)
    assert (found.month, found.assumed) == (month, assumed)
    assert bool(found.doubts) == (month == 7)


def test_a_coordinate_system_is_one_line_without_control_characters(tmp_path):
    place = {"x": 0.0, "y": 0.0, "pixel_size": 10.0}
    found = _read(tmp_path, {"position": {"crs": 'PROJCS["a",\n\t  UNIT["metre",1]]', **place}})
    assert found.position.crs == 'PROJCS["a", UNIT["metre",1]]'
    with pytest.raises(TileError, match=r"crs contains the control character \\x1b: write"):
        _read(tmp_path, {"position": {"crs": "EPSG:32633\x1b[2J", **place}})
