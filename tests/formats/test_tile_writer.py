"""Tiles as files."""

import json
import time

import numpy as np

from parafovea.formats.tiles.npz import write_tile


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
