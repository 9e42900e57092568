"""Folders of tiles: what is predicted, skipped, done again or set aside, and what is written."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from rasterio.transform import Affine
from scipy import ndimage
from tile_files import field, write_tif
from tiny_sample import random_network, tiny_model, tiny_refinement, tiny_spec

from parafovea.errors import SourceError
from parafovea.formats.geo import geotiff
from parafovea.formats.tiles.npz import write_tile
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.inference_unet import InferenceUNet
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.collect_tiles import collect_tiles
from parafovea.stages.predict_tiles import TileCounts, predict_tiles

SIZES = ((32, 32), (24, 40))
SETTINGS = {"precision": "float32", "batch_size": 3}


def image(height: int, width: int, seed: int) -> np.ndarray:
    """Return smooth reflectance (band, y, x) float32."""
    noise = np.random.default_rng(seed).normal(size=(4, height, width))
    values = 0.3 + 0.4 * ndimage.gaussian_filter(noise, (0, 2, 2))
    return np.clip(values, 0.01, 0.99).astype(np.float32)


def put(folder: Path, number: int, *, seed: int | None = None, **metadata: Any) -> str:
    """Write a tile of one of two sizes; return its name."""
    name = f"tile_{number:02d}"
    values = image(*SIZES[number % 2], number if seed is None else seed)
    write_tile(folder, name, {"opt_v1": values}, {"month": 1 + number % 12, **metadata})
    return name


def placed(column: int, row: int) -> dict[str, Any]:
    """Return the position of a tile of 32 x 32 pixels in a grid of them."""
    x, y = 500_000 + 320 * column, 5_000_000 - 320 * row
    return {"crs": "EPSG:32633", "x": float(x), "y": float(y), "pixel_size": 10.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", tiny_refinement())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of seven tiles of two sizes."""
    for number in range(7):
        put(tmp_path / "source", number, biome_code=number)
    return tmp_path / "source"


@pytest.fixture(autouse=True)
def _stated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")


def run(
    source: Path, model: Path, out: Path, *, strict: bool = False, **changes: Any
) -> TileCounts:
    """Predict and collect, as one job."""
    settings = InferenceSettings.model_validate({**SETTINGS, **changes.pop("settings", {})})
    counts = predict_tiles(
        out / "shards/1.tsv",
        source=str(source),
        model=str(model),
        settings=settings,
        shard=1,
        **changes,
    )
    collect(out, strict=strict)
    return counts


def collect(out: Path, *, strict: bool = False) -> None:
    ledgers = sorted((out / "shards").glob("*.tsv"))
    collect_tiles(ledgers, out / "tiles.tsv", out / "quarantine.tsv", strict=strict)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def written(out: Path) -> dict[str, int]:
    """Return when each result was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "tiles").iterdir()}


def redone(out: Path, before: dict[str, int]) -> set[str]:
    """Return the tiles that were written since."""
    return {Path(name).stem for name, at in written(out).items() if before.get(name) != at}


def archives(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "tiles").glob("*.npz")}


def result(out: Path, name: str) -> np.ndarray:
    with np.load(out / "tiles" / f"{name}.npz", allow_pickle=False) as arrays:
        return arrays["opt_v2"]


# ---- what is opened


class Opens:
    """Counts how often each file of a folder is opened, by Python or by GDAL."""

    folder: str | None = None
    counts: ClassVar[Counter[str]] = Counter()

    @classmethod
    def note(cls, path: object) -> None:
        if cls.folder is not None and str(path).startswith(cls.folder + os.sep):
            cls.counts[Path(str(path)).suffix] += 1

    @classmethod
    def audit(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            cls.note(arguments[0])


# it stays for the whole process: nothing is counted where no folder is named
sys.addaudithook(Opens.audit)


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Opens]]:
    original = geotiff.open_dataset

    def open_dataset(path: str) -> Any:
        Opens.note(path)
        return original(path)

    monkeypatch.setattr(geotiff, "open_dataset", open_dataset)
    Opens.counts = Counter()
    yield Opens
    Opens.folder = None


@pytest.mark.parametrize("form", [".npz", ".tif"])
@pytest.mark.parametrize("context", [False, True])
def test_the_files_of_a_tile_are_opened_once_a_job(
    tmp_path: Path, opens: type[Opens], context: bool, form: str
) -> None:
    model = tiny_model(tmp_path / "tiny", tiny_refinement(context=context))
    source, names = tmp_path / "source", []
    for number in range(6):
        place = placed(number % 3, number // 3)
        names.append(put(source, 2 * number, month=6, position=place))
        if form == ".tif":
            (source / f"{names[-1]}.npz").unlink()
            where = Affine(10, 0, place["x"], 0, -10, place["y"])
            write_tif(source, image(32, 32, number), names[-1], transform=where)
    for out in ("first", "again"):
        opens.folder, opens.counts = str(source), Counter()
        counts = run(source, model, tmp_path / "out")
        opens.folder = None
        assert (counts.predicted, counts.finished) == ((6, 0) if out == "first" else (0, 6))
        # where neighbours are seen, sizes are read from the headers of all tiles before
        assert opens.counts == {form: 12 if context else 6, ".json": 6}


# ---- what the sheet and the files beside say


def facts(folder: Path, name: str) -> dict[str, Any]:
    block: dict[str, Any] = json.loads((folder / f"tiles/{name}.json").read_text())
    return block


def test_month_and_biome_of_the_sheet_win_over_the_tiles_and_make_results_anew(
    tmp_path: Path,
) -> None:
    model = tiny_model(tmp_path / "tiny", tiny_refinement())
    names = [put(tmp_path / "in", 0, biome_code=3), put(tmp_path / "in", 2)]
    told = tmp_path / "told"
    for number in (0, 2):
        put(told, number, month=12, biome_code=9)
    run(tmp_path / "in", model, tmp_path / "out", metadata="month=12 biome=9")
    run(told, model, tmp_path / "expected")
    for name in names:
        np.testing.assert_array_equal(
            result(tmp_path / "out", name), result(tmp_path / "expected", name)
        )
        assert facts(tmp_path / "out", name)["month"] == 12
    for row in table(tmp_path / "out/tiles.tsv"):
        assert (row["month"], row["biome"], row["assumed"]) == ("12", "9", "")
    assert run(tmp_path / "in", model, tmp_path / "out", metadata="month=12 biome=9").finished == 2
    other = run(tmp_path / "in", model, tmp_path / "out")
    assert (other.predicted, other.finished) == (2, 0)
    assert {row["month"] for row in table(tmp_path / "out/tiles.tsv")} == {"1", "3"}
    assert np.abs(
        result(tmp_path / "out", names[0]) - result(tmp_path / "expected", names[0])
    ).max()


def test_another_scale_in_the_sheet_makes_results_anew(model: Path, tmp_path: Path) -> None:
    values = np.rint(image(32, 32, 0) * 10000 + 1000).astype(np.uint16)
    write_tile(tmp_path / "in", "a", {"opt_v1": values}, {"month": 6})
    for metadata, predicted in (("baseline=0400", 1), ("baseline=0400", 0), ("scale=0.0001", 1)):
        assert (
            run(tmp_path / "in", model, tmp_path / "out", metadata=metadata).predicted == predicted
        )


def test_one_bad_name_or_sidecar_sets_that_tile_aside_and_no_other(
    model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    for number in range(4):
        put(source, number)
    (source / "tile_00.json").write_text(r'{"month": 6, "tile_id": "field \ud83d"}')
    (source / "tile_01.json").write_text('{"month": 6}', encoding="utf-16")
    (source / "tile_02.npz").rename(source / "tile\t02.npz")
    (source / "tile_02.json").unlink()
    (source / "tile_03.npz").rename(source / f"{'x' * 248}.npz")
    (source / "tile_03.json").rename(source / f"{'x' * 248}.json")
    counts = run(source, model, tmp_path / "out")
    assert (counts.predicted, counts.quarantined) == (1, 3)
    assert [row["name"] for row in table(tmp_path / "out/tiles.tsv")] == ["x" * 248]
    reasons = {row["name"]: row["reason"] for row in table(tmp_path / "out/quarantine.tsv")}
    assert set(reasons) == {"tile_00", "tile_01", r"tile\t02"}
    for name, says in (("00", "half of a character"), ("01", "save it as UTF-8")):
        assert says in reasons[f"tile_{name}"]


def test_a_json_file_of_no_tile_is_named_once(
    source: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "tile_99.json").write_text("{}")
    run(source, model, tmp_path / "out")
    assert "1 JSON files of" in caplog.text
    assert "belong to no tile, tile_99.json" in caplog.text
    assert "tile_00.json" not in caplog.text


#: Pixels on the ground are 10 m where the model's are, whatever the unit of the system is.
SYSTEMS = {
    "feet": ({"crs": "EPSG:2263", "x": 1e6, "y": 2e5, "pixel_size": 32.8083333}, ""),
    "metres that are feet": ({"crs": "EPSG:2263", "x": 1e6, "y": 2e5, "pixel_size": 10.0}, "3.048"),
    "Web Mercator at the equator": (
        {"crs": "EPSG:3857", "x": 1e6, "y": 1e4, "pixel_size": 10.0},
        "",
    ),
    "Web Mercator at 60 degrees": (
        {"crs": "EPSG:3857", "x": 1e6, "y": 8399737.9, "pixel_size": 10.0},
        "5.01",
    ),
    "Web Mercator of twice the side": (
        {"crs": "EPSG:3857", "x": 1e6, "y": 8399737.9, "pixel_size": 19.95},
        "",
    ),
    "degrees at the equator": (
        {"crs": "EPSG:4326", "x": 13.0, "y": 0.0, "pixel_size": 9e-5},
        "",
    ),
    "degrees at 50": ({"crs": "EPSG:4326", "x": 13.0, "y": 50.0, "pixel_size": 9e-5}, "6.45"),
    "degrees far too coarse": (
        {"crs": "EPSG:4326", "x": 13.0, "y": 0.0, "pixel_size": 9e-4},
        "99.5",
    ),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_the_size_of_a_pixel_is_that_on_the_ground(model: Path, tmp_path: Path, case: str) -> None:
    position, says = SYSTEMS[case]
    put(tmp_path / "in", 0)
    put(tmp_path / "in", 2, position=position)
    counts = run(tmp_path / "in", model, tmp_path / "out")
    assert counts.quarantined == bool(says)
    if says:
        (row,) = table(tmp_path / "out/quarantine.tsv")
        assert says in row["reason"]
        assert "takes 10 m: resample the tile" in row["reason"]


def test_what_was_not_measured_stays_so_along_a_chain(model: Path, tmp_path: Path) -> None:
    valid = np.ones((32, 32), np.bool_)
    valid[:, :12] = False
    values = image(32, 32, 0)
    values[:, ~valid] = np.nan
    write_tile(tmp_path / "in", "a", {"opt_v1": values}, {"month": 6})
    run(tmp_path / "in", model, tmp_path / "first", metadata="nodata=nan")
    run(tmp_path / "first/tiles", model, tmp_path / "second")
    for stage in ("first", "second"):
        with np.load(tmp_path / stage / "tiles/a.npz") as arrays:
            np.testing.assert_array_equal(arrays["valid"], valid)
            assert not arrays["opt_v2"][:, ~valid].any()
        (row,) = table(tmp_path / stage / "tiles.tsv")
        assert row["measured"] == str(4 * valid.sum())


# ---- what is written


def test_tiles_of_two_sizes_in_one_folder_become_results_of_their_sizes(
    source: Path, model: Path, tmp_path: Path
) -> None:
    counts = run(source, model, tmp_path / "out")
    assert (counts.predicted, counts.finished, counts.quarantined) == (7, 0, 0)
    rows = table(tmp_path / "out/tiles.tsv")
    assert [row["name"] for row in rows] == [f"tile_{n:02d}" for n in range(7)]
    for number, row in enumerate(rows):
        values = result(tmp_path / "out", row["name"])
        assert values.shape == (4, *SIZES[number % 2]) == (4, int(row["height"]), int(row["width"]))
        assert values.dtype == np.float32
        assert 0 <= values.min() < values.max() <= 1
        assert np.abs(values - image(*SIZES[number % 2], number)).max() > 1e-3
        assert (row["month"], row["biome"]) == (str(1 + number), str(number))
        assert Path(row["output"]).is_file()
    assert table(tmp_path / "out/quarantine.tsv") == []


def test_metadata_are_kept_beside_what_made_the_result(model: Path, tmp_path: Path) -> None:
    facts = {"tile_id": "T33", "cloud": {"share": 0.1}, "stage": "stage1", "month": "June"}
    put(tmp_path / "in", 0, **facts)
    run(tmp_path / "in", model, tmp_path / "out")
    said = json.loads((tmp_path / "out/tiles/tile_00.json").read_text())
    assert (said["month"], said["biome_code"], said["tile_id"]) == (6, 0, "T33")
    assert said["cloud"] == {"share": 0.1}
    assert said["stage"] == "stage2_refined"
    assert said["timestamp"] == "1970-01-01T00:00:00"
    block = said["processing"]
    assert block["input_file"] == str(tmp_path / "in/tile_00.npz")
    assert block["checkpoint"] == str(model)
    assert (block["device"], block["use_amp"]) == ("cpu", False)
    assert block["processing_time_ms"] > 0
    assert block["assumed"] == ["biome"]
    assert block["earlier"] == {"stage": "stage1"}


def test_an_empty_epoch_is_none_and_the_time_of_a_result_is_that_of_the_clock(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    put(tmp_path / "in", 0)
    run(tmp_path / "in", model, tmp_path / "out")
    said = json.loads((tmp_path / "out/tiles/tile_00.json").read_text())["timestamp"]
    told = datetime.strptime(said, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - told < timedelta(minutes=10)


def test_a_segmentation_has_classes_and_their_probabilities(source: Path, tmp_path: Path) -> None:
    recipe = tiny_refinement(kind="segmentation", classes=("land", "water", "cloud"))
    model = tiny_model(tmp_path / "model", recipe)
    run(source, model, tmp_path / "out")
    with np.load(tmp_path / "out/tiles/tile_01.npz", allow_pickle=False) as arrays:
        classes, chances = arrays["classes"], arrays["probabilities"]
    assert (classes.dtype, classes.shape) == (np.uint8, SIZES[1])
    assert (chances.dtype, chances.shape) == (np.float16, (3, *SIZES[1]))
    np.testing.assert_allclose(chances.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    best = np.take_along_axis(chances, classes[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(best, chances.max(axis=0))
    said = json.loads((tmp_path / "out/tiles/tile_01.json").read_text())
    assert said["processing"]["classes"] == ["land", "water", "cloud"]


def doubting_model(folder: Path) -> Path:
    """Return a model whose scores filter its bands, and tell the error it expects."""
    plain = tiny_refinement()
    network = plain.fused.model_copy(update={"correction": "filter"})
    return tiny_model(folder, tiny_refinement(network=network))


def test_a_model_that_doubts_holds_back_brightness_by_the_caution_of_the_task(
    source: Path, tmp_path: Path
) -> None:
    model = doubting_model(tmp_path / "model")
    images, changes, trusts = {}, {}, {}
    for name, caution in (("free", 0.0), ("careful", 1e5), ("timid", 1e9)):
        out = tmp_path / name
        run(source, model, out, settings={"caution": caution, "precision": "float32"})
        with np.load(out / "tiles/tile_01.npz", allow_pickle=False) as arrays:
            images[name], trusts[name] = arrays["opt_v2"], arrays["trust"]
        with np.load(source / "tile_01.npz", allow_pickle=False) as arrays:
            changes[name] = np.abs((images[name] - arrays["opt_v1"]).mean(axis=(1, 2)))
        recorded = json.loads((out / "tiles/tile_01.json").read_text())["processing"]["settings"]
        assert recorded["caution"] == caution
    assert (trusts["free"].dtype, trusts["free"].shape) == (np.float16, SIZES[1])
    assert (trusts["free"] == 1).all()
    assert (trusts["timid"] < 0.01).all()
    # the errors that random weights expect are small
    assert trusts["timid"].mean() < trusts["careful"].astype(float).mean() < 0.999
    assert changes["free"].max() > 0.01
    assert changes["timid"].max() < 0.2 * changes["free"].max()


def test_a_model_that_adds_its_scores_tells_no_trust(
    source: Path, model: Path, tmp_path: Path
) -> None:
    for name, caution in (("free", 0.0), ("careful", 1.0)):
        run(source, model, tmp_path / name, settings={"caution": caution})
        with np.load(tmp_path / name / "tiles/tile_01.npz", allow_pickle=False) as arrays:
            assert "trust" not in arrays.files
    assert archives(tmp_path / "free") == archives(tmp_path / "careful")


def test_pixels_without_a_measurement_stay_without(model: Path, tmp_path: Path) -> None:
    values = image(32, 32, 0)
    values[:, 4:9, 5:20] = np.nan
    write_tile(tmp_path / "in", "a", {"opt_v1": values}, {"month": 6})
    run(tmp_path / "in", model, tmp_path / "out", metadata="nodata=nan")
    with np.load(tmp_path / "out/tiles/a.npz", allow_pickle=False) as arrays:
        valid, refined = arrays["valid"], arrays["opt_v2"]
    np.testing.assert_array_equal(~valid, np.isnan(values[0]))
    assert not refined[:, ~valid].any()
    assert np.isfinite(refined).all()


# ---- what is done again


def test_a_rerun_predicts_and_writes_nothing(source: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    before, rows = written(out), table(out / "tiles.tsv")
    for path in source.iterdir():
        os.utime(path)  # a new time is no new content
    counts = run(source, model, out)
    assert (counts.predicted, counts.finished, counts.quarantined) == (0, 7, 0)
    assert redone(out, before) == set()
    assert table(out / "tiles.tsv") == rows


def test_a_tile_that_changed_is_done_again_alone(source: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    before = written(out)
    put(source, 2, seed=99, biome_code=2)
    put(source, 4, biome_code=9)  # the same image, other metadata
    assert run(source, model, out).predicted == 2
    assert redone(out, before) == {"tile_02", "tile_04"}


def test_a_neighbour_that_changed_does_its_neighbours_again(model: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for column in range(4):
        values = {"opt_v1": image(32, 32, column)}
        write_tile(source, f"c{column}", values, {"month": 6, "position": placed(column, 0)})
    run(source, model, out)
    said = json.loads((out / "tiles/c1.json").read_text())["processing"]
    assert said["neighbours"] == ["c0", "c2"]
    before, first = written(out), result(out, "c1")
    values = {"opt_v1": image(32, 32, 77)}
    write_tile(source, "c0", values, {"month": 6, "position": placed(0, 0)})
    assert run(source, model, out).predicted == 2
    assert redone(out, before) == {"c0", "c1"}
    assert np.abs(result(out, "c1") - first).max() > 1e-6


@pytest.mark.parametrize("ending", ["npz", "json"])
@pytest.mark.parametrize("harm", ["truncated", "removed"])
def test_a_result_that_is_not_whole_is_done_again(
    source: Path, model: Path, tmp_path: Path, ending: str, harm: str
) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    wanted = archives(out)
    victim = out / f"tiles/tile_03.{ending}"
    if harm == "removed":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-20])
    before = written(out)
    assert run(source, model, out).predicted == 1
    assert redone(out, before) == {"tile_03"}
    assert archives(out) == wanted


def test_another_model_other_settings_or_other_code_do_all_again(
    source: Path, model: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    run(source, model, out)
    shutil.copytree(model, other)
    # a copy is the same model; other weights are another
    assert run(source, other, out).predicted == 0
    wider = tiny_model(tmp_path / "wider", tiny_refinement(context=False))
    assert run(source, wider, out).predicted == 7
    assert run(source, wider, out, settings={"precision": "bfloat16"}).predicted == 7
    assert run(source, wider, out, settings={"precision": "bfloat16"}, code="new").predicted == 7
    # neither the batch nor the shards change a result
    same = {"precision": "bfloat16", "batch_size": 2}
    assert run(source, wider, out, settings=same, code="new").predicted == 0


def test_overwrite_does_all_again_and_ends_with_the_same_bytes(
    source: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    before, wanted = written(out), archives(out)
    assert run(source, model, out, overwrite=True).predicted == 7
    assert len(redone(out, before)) == 7
    assert archives(out) == wanted


def test_results_of_tiles_that_are_gone_are_removed(
    source: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    for path in source.glob("tile_05.*"):
        path.unlink()
    (out / "tiles/.tile_00.npz.partial").write_bytes(b"left by a killed run")
    run(source, model, out)
    left = {path.name for path in (out / "tiles").iterdir()}
    assert left == {f"tile_{n:02d}.{e}" for n in (0, 1, 2, 3, 4, 6) for e in ("npz", "json")}


# ---- the same bytes, whatever shares a batch


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_shards_and_other_neighbours_in_a_batch_give_the_same_bytes(
    source: Path, model: Path, tmp_path: Path, precision: str
) -> None:
    settings = {"precision": precision}
    run(source, model, tmp_path / "one", settings=settings)
    both = InferenceSettings.model_validate({**SETTINGS, **settings, "shards": 2})
    for shard in (2, 1):
        out = tmp_path / "two"
        predict_tiles(
            out / f"shards/{shard}.tsv",
            source=str(source),
            model=str(model),
            settings=both,
            shard=shard,
        )
    collect(tmp_path / "two")
    assert archives(tmp_path / "two") == archives(tmp_path / "one")
    one, two = (table(tmp_path / name / "tiles.tsv") for name in ("one", "two"))
    assert [{**row, "output": ""} for row in one] == [{**row, "output": ""} for row in two]


def test_a_tile_without_neighbours_does_not_see_those_of_others(
    model: Path, tmp_path: Path
) -> None:
    alone = image(32, 32, 0)
    write_tile(tmp_path / "in", "a", {"opt_v1": alone}, {"month": 6})
    run(tmp_path / "in", model, tmp_path / "out")
    wanted = result(tmp_path / "out", "a")
    for column in range(2):
        values = {"opt_v1": image(32, 32, 1 + column)}
        write_tile(tmp_path / "in", f"c{column}", values, {"position": placed(column, 0)})
    run(tmp_path / "in", model, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(result(tmp_path / "out", "a"), wanted)


KILLED = """
import sys, time
from pathlib import Path
from parafovea.settings.inference import InferenceSettings
from parafovea.stages import predict_tiles as stage
usual = stage.write_result
def slowly(*arguments, **others):
    time.sleep(0.3)
    return usual(*arguments, **others)
stage.write_result = slowly
source, model, out = map(Path, sys.argv[1:])
settings = InferenceSettings(precision="float32", batch_size=3)
stage.predict_tiles(out / "shards/1.tsv", source=source, model=model, settings=settings, shard=1)
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    source: Path, model: Path, tmp_path: Path
) -> None:
    run(source, model, tmp_path / "wanted")
    out = tmp_path / "out"
    job = subprocess.Popen([sys.executable, "-c", KILLED, source, model, out])
    deadline = time.monotonic() + 600  # a busy machine takes long to load torch
    while len(list((out / "tiles").glob("*.npz"))) < 2:
        assert job.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (out / "shards/1.tsv").exists()
    done = set(archives(out))
    assert 2 <= len(done) < 7
    before = written(out)
    counts = run(source, model, out)
    assert counts.finished >= 2
    assert counts.predicted == 7 - counts.finished
    assert not redone(out, before) & {name.removesuffix(".npz") for name in done}
    assert archives(out) == archives(tmp_path / "wanted")


# ---- invalid tiles


def make_bad(folder: Path) -> dict[str, str]:
    """Write tiles that are wrong in every way; return a part of each one's reason."""
    good = image(32, 32, 0)
    with_hole = good.copy()
    with_hole[1, 3, 3] = np.nan
    arrays = {
        "three_bands": (good[:3], "3 bands instead of 4"),
        "bands_last": (np.moveaxis(good, 0, -1), "with its bands last"),
        "numbers": ((good * 10_000).astype(np.int16), "whole numbers"),
        "hole": (with_hole, "1 NaN"),
        "speck": (good[:, :8, :8], "a tile must have 16 to"),
        "nothing": (np.zeros_like(good), "0 in all pixels"),
    }
    reasons = {name: reason for name, (_, reason) in arrays.items()}
    for name, (values, _) in arrays.items():
        write_tile(folder, name, {"opt_v1": values})
    sidecars = {
        "no_month": '{"month": 13}',
        "foo": '{"month": "foo"}',
        "biome": '{"biome_code": 99}',
    }
    for name, text in {**sidecars, "text": "{month: 6"}.items():
        write_tile(folder, name, {"opt_v1": good})
        (folder / f"{name}.json").write_text(text)
    reasons |= {"no_month": "month 13", "foo": "'foo' is not a month", "biome": "biome_code 99"}
    reasons["text"] = "is not JSON"
    whole = write_tile(folder, "cut", {"opt_v1": good})
    whole.write_bytes(whole.read_bytes()[:-500])
    reasons["cut"] = "cut.npz"
    np.savez(folder / "pickled.npz", opt_v1=np.array([{"a": 1}], dtype=object))
    reasons["pickled"] = "never loaded"
    write_tile(folder, "other_key", {"image": good})
    reasons["other_key"] = "no array opt_v1, but image"
    coarse = {**placed(0, 0), "pixel_size": 20.0}
    write_tile(folder, "coarse", {"opt_v1": good}, {"position": coarse})
    reasons["coarse"] = "has pixels of 20 m, but the model tiny takes 10 m"
    return reasons


def test_what_cannot_be_used_is_set_aside_with_its_reason_and_the_others_finish(
    source: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    run(source, model, tmp_path / "wanted")
    reasons = make_bad(source)
    with caplog.at_level(logging.INFO):
        counts = run(source, model, out)
    assert (counts.predicted, counts.quarantined) == (7, len(reasons))
    set_aside = {row["name"]: row for row in table(out / "quarantine.tsv")}
    assert set(set_aside) == set(reasons)
    for name, reason in reasons.items():
        assert reason in set_aside[name]["reason"], set_aside[name]
        assert set_aside[name]["file"] == str(source / f"{name}.npz")
        assert not list((out / "tiles").glob(f"{name}.*")), "nothing is substituted"
    assert archives(out) == archives(tmp_path / "wanted")
    total = 7 + len(reasons)
    assert f"{total} tiles in, 7 out, {len(reasons)} quarantined" in caplog.text


def test_what_was_finished_and_cannot_be_read_any_more_has_no_result(
    source: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(source, model, out)
    broken = source / "tile_01.npz"
    broken.write_bytes(broken.read_bytes()[:300])
    counts = run(source, model, out)
    assert (counts.finished, counts.quarantined) == (6, 1)
    assert not list((out / "tiles").glob("tile_01.*"))
    assert "tile_01" not in {row["name"] for row in table(out / "tiles.tsv")}


def test_a_neighbour_that_cannot_be_read_is_not_seen_and_stops_nobody(
    model: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for column in range(3):
        values = {"opt_v1": image(32, 32, column)}
        write_tile(source, f"c{column}", values, {"month": 6, "position": placed(column, 0)})
    with_hole = image(32, 32, 1)
    with_hole[:] = np.nan
    write_tile(source, "c1", {"opt_v1": with_hole}, {"month": 6, "position": placed(1, 0)})
    counts = run(source, model, out)
    assert (counts.predicted, counts.quarantined) == (2, 1)
    assert np.isfinite(result(out, "c0")).all()


def test_geotiff_tiles_are_placed_by_their_headers(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_tif(tmp_path / "in", field(32, 32), "north")
    run(tmp_path / "in", model, tmp_path / "out")
    (row,) = table(tmp_path / "out/tiles.tsv")
    place = [row[key] for key in ("crs", "x", "y", "pixel_size")]
    assert place == ["EPSG:32633", "500000.0", "5000000.0", "10.0"]
    assert result(tmp_path / "out", "north").shape == (4, 32, 32)
    # the next stage of a chain finds the place in the result
    said = json.loads((tmp_path / "out/tiles/north.json").read_text())
    assert said["position"] == placed(0, 0)


@pytest.mark.parametrize("strict", [True, False])
def test_a_folder_fails_if_no_tile_is_valid_or_strictly_if_one_is_not(
    model: Path, tmp_path: Path, strict: bool
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_tile(source, "bad", {"opt_v1": image(32, 32, 0)[:2]})
    if strict:
        put(source, 0)
    with pytest.raises(
        SourceError, match=r"1 of . tiles cannot be used .* has 2 bands instead of 4"
    ):
        run(source, model, out, strict=strict)
    assert not (out / "tiles.tsv").exists()
    assert not (out / "quarantine.tsv").exists()


def test_a_folder_without_tiles_says_what_is_there(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"No NPZ tiles found in .* it holds 1 \.jpg file"):
        run(tmp_path / "in", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_are_never_written_over_their_own_tiles(
    source: Path, model: Path, tmp_path: Path
) -> None:
    tiles = source.rename(tmp_path / "tiles")
    before = {path.name: path.read_bytes() for path in tiles.iterdir()}
    with pytest.raises(SourceError, match="which would be written over its tiles"):
        predict_tiles(
            tmp_path / "shards/1.tsv",
            source=str(tiles),
            model=str(model),
            settings={"precision": "float32"},
            shard=1,
        )
    assert {path.name: path.read_bytes() for path in tiles.iterdir()} == before


# ---- memory and disk


def test_a_batch_that_does_not_fit_memory_is_halved_and_counted(
    source: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(source, model, tmp_path / "wanted", settings={"batch_size": 1})
    usual, calls = InferenceUNet.forward, []

    def forward(
        self: InferenceUNet, features: torch.Tensor, guides: Any = None, conditions: Any = None
    ) -> torch.Tensor:
        calls.append(len(features))
        if len(features) > 1:
            torch.empty(2**58)
        return usual(self, features, guides, conditions)

    monkeypatch.setattr(InferenceUNet, "forward", forward)
    with caplog.at_level(logging.INFO):
        counts = run(source, model, tmp_path / "out")
    # the first batch fails once, and what did fit is kept for all that follow
    assert calls[:2] == [3, 1]
    assert set(calls[1:]) == {1}
    assert counts.fallbacks == ["a batch of 3 did not fit the memory of cpu: reduced to 1"]
    assert (counts.predicted, counts.cpu_fallbacks) == (7, 0)
    assert "reduced to 1" in caplog.text
    assert "CPU fallback: 0" in caplog.text
    assert archives(tmp_path / "out") == archives(tmp_path / "wanted")


def test_what_the_disk_refuses_ends_the_run_without_a_ledger(
    source: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "tiles/.tile_06.npz.partial").mkdir(parents=True)  # cannot be written to
    with pytest.raises(OSError, match="tile_06"):
        run(source, model, out)
    assert not (out / "shards/1.tsv").exists()
    assert not (out / "tiles/tile_06.npz").exists()


def test_large_tiles_share_no_batch_and_small_ones_do(
    source: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parafovea.stages import predict_tiles as stage

    batches: list[int] = []
    usual = stage.TileModel.__call__

    def noted(self: Any, images: np.ndarray, **others: Any) -> np.ndarray:
        batches.append(len(images))
        return usual(self, images, **others)

    monkeypatch.setattr(stage.TileModel, "__call__", noted)
    run(source, model, tmp_path / "together")
    assert sorted(batches) == [1, 3, 3]
    batches.clear()
    monkeypatch.setattr(stage, "BATCH_PIXELS", 1000)  # a tile has 1024 or 960
    run(source, model, tmp_path / "apart")
    assert batches == [1] * 7
    assert archives(tmp_path / "apart") == archives(tmp_path / "together")


@pytest.mark.parametrize(("pixels", "threads"), [(2**18, 1), (1024, 3)])
def test_a_batch_gets_the_threads_that_it_is_worth(
    source: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pixels: int,
    threads: int,
) -> None:
    from parafovea.inference.tile_batches import TileModel
    from parafovea.stages import predict_tiles as stage

    seen: set[int] = set()
    usual = TileModel.__call__

    def noted(self: Any, images: np.ndarray, **others: Any) -> np.ndarray:
        seen.add(torch.get_num_threads())
        return usual(self, images, **others)

    monkeypatch.setattr(TileModel, "__call__", noted)
    monkeypatch.setattr(stage, "THREAD_PIXELS", pixels)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(source, model, tmp_path / "out", settings={"batch_size": 4})
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert max(seen) == threads


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose scores are finite for bright tiles alone."""
    folder = tmp_path_factory.mktemp("model") / "overflowing"
    spec = tiny_spec(tiny_refinement(context=False))
    network = random_network(FusedUNet.from_spec(spec))
    network.get_parameter("input_conv.bias").data.zero_()
    for name in ("input_conv.weight", "enc1.0.weight"):
        weights = network.get_parameter(name).data
        weights.copy_(weights.abs() / weights.abs().max() * (1e38 if "enc1" in name else 1))
    save_model(folder, spec, network, exact=True)
    return folder


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_tile_whose_scores_are_not_finite_is_set_aside_and_the_others_finish(
    tmp_path, overflowing, batch
):
    dark, bright = (np.full((4, 32, 32), value, np.float32) for value in (0.001, 0.9))
    for number in range(6):
        values = dark if number in (1, 4) else bright
        write_tile(tmp_path / "in", f"t{number}", {"opt_v1": values}, {"month": 6})
    out = tmp_path / "out"
    # of an earlier run
    write_tile(out / "tiles", "t4", {"opt_v1": dark}, {"month": 6})
    counts = run(tmp_path / "in", overflowing, out, settings={"batch_size": batch})
    assert (counts.predicted, counts.quarantined) == (4, 2)
    bad = table(out / "quarantine.tsv")
    assert [row["name"] for row in bad] == ["t1", "t4"]
    for row in bad:
        assert row["file"] == str(tmp_path / "in" / f"{row['name']}.npz")
        assert row["reason"].startswith(f"{row['file']} cannot be predicted: ")
        assert "scores of the window" in row["reason"]
        assert "are not finite" in row["reason"]
    good = [row["name"] for row in table(out / "tiles.tsv")]
    assert good == ["t0", "t2", "t3", "t5"]
    assert sorted(path.stem for path in (out / "tiles").glob("*.npz")) == good
    again = run(tmp_path / "in", overflowing, out, settings={"batch_size": batch})
    assert (again.predicted, again.finished, again.quarantined) == (0, 4, 2)
    with pytest.raises(SourceError, match=r"t1\.npz cannot be predicted"):
        run(tmp_path / "in", overflowing, out, strict=True, settings={"batch_size": batch})
