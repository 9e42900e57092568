"""Tiles as files."""

import json
import re
import time

import numpy as np
import pytest
from tile_files import NAMES, field, write_npz

from parafovea.formats.tiles.npz import write_tile
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.results import BAND_FORM, Maker, write_result


def test_a_tile_comes_back_as_it_was(tmp_path):
    values = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    path = write_tile(tmp_path / "tiles", "a", {"opt_v2": values}, {"month": 6})
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["opt_v2"], values)
    assert json.loads((tmp_path / "tiles/a.json").read_text()) == {"month": 6}
    assert sorted(p.name for p in (tmp_path / "tiles").iterdir()) == ["a.json", "a.npz"]


def test_the_same_arrays_give_the_same_bytes_at_another_time(tmp_path, monkeypatch):
    values = {"classes": np.arange(12, dtype=np.uint8).reshape(3, 4)}
    first = write_tile(tmp_path, "a", values, compressed=True).read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    assert write_tile(tmp_path, "b", values, compressed=True).read_bytes() == first


@pytest.mark.parametrize(
    ("stated", "found"),
    [("1769860800", r"2026-01-31T12:00:00"), ("", r"20\d\d-\d\d-\d\dT[\d:]{8}")],
)
def test_a_result_states_the_time_also_where_the_variable_is_empty(
    tmp_path, monkeypatch, stated, found
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", stated)
    tile = read_tile(write_npz(tmp_path, opt_v1=field()))
    maker = Maker("refinement", BAND_FORM, "model", "0" * 64, NAMES, {}, "cpu", False)
    values = np.ones_like(tile.values)
    write_result(tmp_path / "out", tile, values, maker=maker, fingerprint="f", seconds=0.0)
    said = json.loads((tmp_path / "out" / "a.json").read_text())
    assert re.fullmatch(found, said["timestamp"])
