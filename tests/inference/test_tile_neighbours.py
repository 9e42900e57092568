"""Tiles among their neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.formats.tiles.tile import Position
from parafovea.inference.tile_neighbours import Place, TileNeighbours

SCENE = np.random.default_rng(0).random((2, 96, 96)).astype(np.float32)
CRS = "EPSG:32633"


def place(top: int, left: int, size: int = 32, *, month: int = 6, crs: str = CRS) -> Place:
    return Place(Position(crs, 5e5 + 10 * left, 4e6 - 10 * top, 10.0), size, size, month)


def grid_of_tiles() -> dict[str, Place]:
    return {f"t{y}{x}": place(32 * y, 32 * x) for y in range(3) for x in range(3)}


def cut(where: Place) -> np.ndarray:
    top, left = round((4e6 - where.position.y) / 10), round((where.position.x - 5e5) / 10)
    return SCENE[:, top : top + where.height, left : left + where.width]


def test_a_tile_amid_others_sees_the_scene_that_they_were_cut_from() -> None:
    places = grid_of_tiles()
    around = TileNeighbours(places, lambda name: cut(places[name]), margin=20)
    assert len(around.neighbours("t11")) == 8
    canvas = around.canvas("t11", cut(places["t11"]))
    np.testing.assert_array_equal(canvas, SCENE[:, 12:84, 12:84])


def test_where_there_is_no_neighbour_the_tile_is_mirrored() -> None:
    places = {"a": place(32, 32), "b": place(32, 64)}
    around = TileNeighbours(places, lambda name: cut(places[name]), margin=8)
    canvas = around.canvas("a", cut(places["a"]))
    mirrored = np.pad(cut(places["a"]), ((0, 0), (8, 8), (8, 8)), mode="reflect")
    np.testing.assert_array_equal(canvas[:, :, :40], mirrored[:, :, :40])
    np.testing.assert_array_equal(canvas[:, 8:40, 40:], SCENE[:, 32:64, 64:72])


@given(top=st.integers(0, 60), left=st.integers(0, 60), margin=st.integers(1, 40))
def test_every_pixel_that_a_neighbour_has_is_taken_from_it(
    top: int, left: int, margin: int
) -> None:
    places = {"a": place(30, 30, 24), "b": place(top, left, 20)}
    around = TileNeighbours(places, lambda name: cut(places[name]), margin=margin)
    canvas = around.canvas("a", cut(places["a"]))
    for y in range(-margin, 24 + margin):
        for x in range(-margin, 24 + margin):
            inside = 0 <= y < 24 and 0 <= x < 24
            beside = top <= 30 + y < top + 20 and left <= 30 + x < left + 20
            if inside or beside:
                pixel = canvas[:, y + margin, x + margin]
                np.testing.assert_array_equal(pixel, SCENE[:, 30 + y, 30 + x])


@pytest.mark.parametrize(
    "other",
    [
        place(32, 64, month=7),
        replace(place(32, 64), date="2021-06-01"),
        place(32, 64, crs="EPSG:32634"),
        Place(Position(CRS, 5e5 + 643, 4e6 - 320, 10.0), 32, 32, 6),
        place(32, 90),
    ],
    ids=["another month", "another day", "another system", "between pixels", "too far"],
)
def test_what_does_not_belong_beside_a_tile_is_no_neighbour(other: Place) -> None:
    around = TileNeighbours({"a": place(32, 32), "b": other}, lambda _: None, margin=16)
    assert around.neighbours("a") == ()


def test_of_two_dates_of_a_neighbour_the_one_of_the_same_day_is_taken() -> None:
    first, second = "2020-06-01", "2021-06-16"
    places = {
        "a": replace(place(32, 32), date=first),
        "b_2020": replace(place(32, 64), date=first),
        "b_2021": replace(place(32, 64), date=second),
    }
    around = TileNeighbours(places, lambda name: cut(places[name]), margin=8)
    assert around.neighbours("a") == ("b_2020",)
    assert around.neighbours("b_2021") == ()


def test_a_neighbour_that_cannot_be_read_is_mirrored_over() -> None:
    places = grid_of_tiles()
    around = TileNeighbours(places, lambda _: None, margin=8)
    tile = cut(places["t11"])
    mirrored = np.pad(tile, ((0, 0), (8, 8), (8, 8)), mode="reflect")
    np.testing.assert_array_equal(around.canvas("t11", tile), mirrored)


def test_a_tile_that_does_not_know_its_place_has_no_neighbours() -> None:
    around = TileNeighbours(grid_of_tiles(), lambda _: None, margin=8)
    assert around.neighbours("elsewhere") == ()


def test_two_tiles_of_one_place_without_dates_are_no_surroundings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = {
        "a": place(32, 32),
        "b_2020": place(32, 64),
        "b_2021": place(32, 64),
        "c": place(64, 32),
    }
    around = TileNeighbours(places, lambda name: cut(places[name]), margin=8)
    assert "2 tiles have the place of another one" in caplog.text
    assert around.neighbours("a") == ("c",)
    assert around.neighbours("b_2020") == ("a", "c")
    dated = {name: replace(each, date=name[2:]) for name, each in places.items()}
    caplog.clear()
    around = TileNeighbours(dated, lambda name: cut(places[name]), margin=8)
    assert around.neighbours("a") == ("c",)
    assert not caplog.text
