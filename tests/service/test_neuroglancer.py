"""Links to Neuroglancer hold a state that it understands."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from parafovea.geometry.grid import Grid
from parafovea.service.neuroglancer import VIEWER, Layer, link

GRID = Grid((20, 30, 40), (16, 8, 8), (96, 0, -8))
IMAGE = Layer(name="image", address="http://127.0.0.1:1/a/b.ome.zarr", grid=GRID, kind="image")


def state_of(text: str) -> dict[str, Any]:
    address, mark, state = text.partition("#!")
    assert (address, mark) == (VIEWER, "#!")
    # nothing in it ends the link in a terminal, a mail or a shell
    assert re.fullmatch(r"[A-Za-z0-9%_.~-]+", state)
    found: dict[str, Any] = json.loads(unquote(state))
    return found


def test_axes_have_the_spacing_in_metres_and_x_is_the_first() -> None:
    state = state_of(link([IMAGE]))
    assert list(state["dimensions"]) == ["x", "y", "z"]
    assert state["dimensions"]["z"] == [pytest.approx(16e-9), "m"]
    assert state["dimensions"]["x"] == [pytest.approx(8e-9), "m"]


def test_it_looks_at_the_middle() -> None:
    # in voxels from the face of a voxel at the origin of the world, whose centre is half a voxel on
    assert state_of(link([IMAGE]))["position"] == [40 / 2 - 0.5 - 1, 30 / 2 - 0.5, 20 / 2 - 0.5 + 6]


def test_a_single_plane_is_shown_as_one() -> None:
    plane = Layer(name="a", address="http://x", grid=Grid((1, 30, 40), (1, 1, 1)), kind="image")
    assert state_of(link([plane]))["layout"] == "xy"
    assert state_of(link([IMAGE]))["layout"] == "4panel"


def test_sources_are_zarr_of_format_3() -> None:
    (layer,) = state_of(link([IMAGE]))["layers"]
    assert layer["type"] == "image"
    assert layer["source"] == {"url": "http://127.0.0.1:1/a/b.ome.zarr/|zarr3:"}


def test_channels_are_those_of_the_shader_in_their_colours() -> None:
    layer = Layer(
        name="prediction",
        address="http://x",
        grid=GRID,
        kind="image",
        channels=3,
        colours=((1, "#FF0000"), (2, "#008000")),
        range=(0, 0.5),
    ).state()
    assert list(layer["source"]["transform"]["outputDimensions"]) == ["c^", "z", "y", "x"]
    shader = layer["shader"]
    assert "vec3(1.000, 0.000, 0.000) * float(getDataValue(1))" in shader
    assert "vec3(0.000, 0.502, 0.000) * float(getDataValue(2))" in shader
    assert "getDataValue(0)" not in shader
    assert "default=2)" in shader
    # the language has no conversion from integers
    assert not re.search(r"[-+*] \d+[^.\d]", shader)


def test_labels_are_a_segmentation_with_the_colours_of_classes() -> None:
    layer = Layer(
        name="classes", address="http://x", grid=GRID, kind="labels", colours=((1, "#E69F00"),)
    ).state()
    assert layer["type"] == "segmentation"
    assert layer["segmentColors"] == {"1": "#E69F00"}
    assert "shader" not in layer
