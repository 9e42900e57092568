"""The stage that writes a landscape as folders of tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parafovea import __version__
from parafovea.errors import ConfigError
from parafovea_phantoms.landscapes.landscape import LANDCOVER, Landscape
from parafovea_phantoms.landscapes.tile_cutting import EASTING, NORTHING
from parafovea_phantoms.make_landscape import make_landscape

PARTS = {"": ("opt_v1",), "_truth": ("opt_v2",), "_classes": ("classes", "landcover")}
PARTS["_sar"] = ("sar",)
SEED = 401


def make(folder: Path, **changes: Any) -> Path:
    asked = {"kind": "landscape", "seed": SEED, "tiles_of_size": [6, 4], "sizes": [32, 20]}
    stem = folder / "landscape"
    paths = [stem.with_name(f"landscape{part}") for part in PARTS]
    make_landscape(*paths, **{**asked, "pixel_size": 10.0, **changes})
    return stem


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("landscape"))


def read(stem: Path, part: str) -> dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]]:
    folder = stem.with_name(stem.name + part)
    out = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        out[path.stem] = (arrays, json.loads(path.with_suffix(".json").read_text()))
    assert len(list(folder.iterdir())) == 2 * len(out)
    return out


def test_the_folders_hold_tiles_of_the_same_names_with_their_keys(stem: Path) -> None:
    names = [f"tile_{number:03d}" for number in range(1, 11)]
    for part, keys in PARTS.items():
        found = read(stem, part)
        assert list(found) == names
        for number, (arrays, facts) in enumerate(found.values()):
            assert tuple(arrays) == keys
            side = 32 if number < 6 else 20
            assert {values.shape[-2:] for values in arrays.values()} == {(side, side)}
            assert facts["parafovea"] == {
                "stage": "make_landscape",
                "version": __version__,
                "phantom": {"kind": "landscape", "seed": SEED},
            }
    assert sorted(path.name for path in stem.parent.iterdir()) == sorted(
        f"landscape{part}" for part in PARTS
    )


def test_a_tile_is_its_landscape_at_its_position(stem: Path) -> None:
    images, truths, labels, echoes = (read(stem, part) for part in PARTS)
    for name in ("tile_001", "tile_004", "tile_006", "tile_010"):
        arrays, facts = images[name]
        position = facts["position"]
        assert position["crs"] == "EPSG:32633"
        row = (NORTHING - position["y"]) / position["pixel_size"]
        column = (position["x"] - EASTING) / position["pixel_size"]
        place = Landscape(SEED, facts["biome_code"], facts["month"])
        view = place.view(int(row), int(column), arrays["opt_v1"].shape[1:])
        np.testing.assert_array_equal(arrays["opt_v1"], view.degraded)
        np.testing.assert_array_equal(truths[name][0]["opt_v2"], view.truth)
        np.testing.assert_array_equal(labels[name][0]["landcover"], view.landcover)
        np.testing.assert_array_equal(labels[name][0]["classes"], view.classes)
        np.testing.assert_array_equal(echoes[name][0]["sar"], view.radar)
        assert facts["tile_id"] == name
    assert labels["tile_001"][1]["landcover"] == list(LANDCOVER)


def test_tiles_of_a_patch_touch_share_their_date_and_fit_at_the_seam(stem: Path) -> None:
    images = read(stem, "")
    (left, left_facts), (right, right_facts) = images["tile_001"], images["tile_002"]
    below, below_facts = images["tile_003"]
    assert right_facts["position"]["x"] - left_facts["position"]["x"] == 320
    assert right_facts["position"]["y"] == left_facts["position"]["y"]
    assert left_facts["position"]["y"] - below_facts["position"]["y"] == 320
    for key in ("month", "biome_code", "patch"):
        assert left_facts[key] == right_facts[key] == below_facts[key]
    both = Landscape(SEED, left_facts["biome_code"], left_facts["month"]).view(0, 0, (64, 64))
    together = np.concatenate([left["opt_v1"], right["opt_v1"]], axis=2)
    np.testing.assert_array_equal(together, both.degraded[:, :32])
    np.testing.assert_array_equal(below["opt_v1"], both.degraded[:, 32:, :32])


def test_tiles_of_different_patches_lie_apart_with_months_and_biomes_of_their_own(
    stem: Path,
) -> None:
    facts = [each for _, each in read(stem, "").values()]
    assert [each["patch"] for each in facts] == [0] * 4 + [1] * 2 + [2] * 4
    for key in ("month", "biome_code"):
        assert len({each[key] for each in facts}) == 3
    for one in facts:
        for other in facts:
            if one["patch"] < other["patch"]:
                away = max(abs(one["position"][a] - other["position"][a]) for a in "xy")
                assert away >= 2 * 320


def test_months_and_biomes_are_all_had_before_one_comes_again(tmp_path: Path) -> None:
    stem = make(tmp_path, tiles_of_size=[16 * 4], sizes=[16])
    facts = [each for _, each in read(stem, "").values()][::4]
    assert sorted(each["biome_code"] for each in facts) == list(range(16))
    assert sorted(each["month"] for each in facts[:12]) == list(range(1, 13))


def test_a_second_run_writes_the_same_bytes(stem: Path, tmp_path: Path) -> None:
    again = make(tmp_path)
    for part in PARTS:
        one, two = (path.with_name(path.name + part) for path in (stem, again))
        for path in one.iterdir():
            assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [{"tiles_of_size": [6]}, {"sizes": [32, 0]}, {"seed": -3}, {"tiles_of_size": [], "sizes": []}],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_left(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"do not match|is negative"):
        make(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []
