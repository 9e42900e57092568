import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from parafovea.errors import ConfigError, SourceError, StoreError
from parafovea.geometry.grid import Grid
from parafovea.settings.postprocess import ClassSettings
from parafovea.settings.quality import Limit
from parafovea.stages.measure_quality import measure_quality
from parafovea.stages.measure_quality_block import measure_quality_block
from parafovea.stages.segment_objects import segment_objects
from parafovea.storage.store import create

NAMES = ("background", "mitochondrion", "membrane")
GRID = Grid((40, 20, 24), (20.0, 10.0, 10.0))
BLENDING = {
    "window": [16, 20, 16],
    "starts": [[0, 12, 24], [0], [0, 8]],
    "minimum_weight": 0.125,
    "uncovered_voxels": 0,
    "padded_context": 0.25,
}


@dataclass(frozen=True)
class Volume:
    array: np.ndarray
    grid: Grid = GRID

    def write(self, path):
        """Write the labels as a store; return its path as a sheet names it."""
        with create(path, self.grid, dtype=self.array.dtype, labels=True) as array:
            array[:] = self.array
        return str(path)


def labels():
    """Return classes: three cuboids, one across the slabs of 32 planes, and a sheet."""
    classes = np.zeros(GRID.shape, np.uint8)
    classes[2:8, 2:8, 2:8] = 1
    classes[26:38, 2:8, 2:8] = 1
    classes[12:18, 12:18, 2:8] = 1
    classes[:, :, 20] = 2
    return classes


def write(folder, classes, blending=BLENDING):
    probabilities = np.stack([np.where(classes == k, 0.8, 0.1) for k in range(3)])
    attributes = {"model": "m"} | ({"blending": blending} if blending else {})
    path = folder / "prediction.ome.zarr"
    with create(path, GRID, dtype=np.float32, channels=NAMES, attributes=attributes) as array:
        array[:] = probabilities
    segment_objects(
        path,
        folder / "classes.ome.zarr",
        folder / "objects.ome.zarr",
        folder / "objects.tsv",
        method="argmax",
        class_settings={"membrane": ClassSettings(instances=False)},
    )


def measure(folder, truth=None, truth_objects=None, limits=None):
    outputs = folder / "quality.json", folder / "quality.tsv"
    stores = [folder / f"{n}.ome.zarr" for n in ("prediction", "classes", "objects")]
    given = truth and truth.write(folder / "truth.ome.zarr")
    ids = truth_objects and truth_objects.write(folder / "ids.ome.zarr")
    metadata = f"objects={ids}" if ids else ""
    measure_quality(*stores, *outputs, truth=given, metadata=metadata, limits=limits or {})
    table = pd.read_csv(outputs[1], sep="\t", index_col="metric", keep_default_na=False)
    return json.loads(outputs[0].read_text()), table


def test_a_perfect_result_has_perfect_scores(tmp_path):
    write(tmp_path, labels())
    found = measure(tmp_path, Volume(labels()))[0]["metrics"]
    assert found["iou"] == {"overall": 1, "background": 1, "mitochondrion": 1, "membrane": 1}
    assert found["voi"] == {"split": 0, "merge": 0}
    assert found["arand"] == {"error": 0, "precision": 1, "recall": 1}
    perfect = {"tp": 3, "fp": 0, "fn": 0, "rq": 1, "sq": 1, "pq": 1}
    assert found["panoptic"] == {"mitochondrion": perfect}


def test_mistakes_show_in_the_metrics_that_are_about_them(tmp_path):
    predicted = labels()
    predicted[12:18, 12:18, 2:8] = 0  # one object missed
    predicted[30:32, 2:8, 2:8] = 0  # one object cut in two, 4 and 6 planes of 12
    write(tmp_path, predicted)
    found = measure(tmp_path, Volume(labels()))[0]["metrics"]
    assert found["iou"]["mitochondrion"] == pytest.approx((6 + 10) / (6 + 12 + 6))
    assert found["precision"]["mitochondrion"] == 1
    assert found["panoptic"]["mitochondrion"] == {
        "tp": 1,
        "fp": 2,
        "fn": 2,
        "rq": pytest.approx(1 / 3),
        "sq": 1,
        "pq": pytest.approx(1 / 3),
    }
    assert found["voi"]["split"] > 0
    # Background covers the missed object and the gap: both are one found "object".
    assert found["voi"]["merge"] > 0


def test_given_truth_objects_take_the_place_of_components(tmp_path):
    write(tmp_path, labels())
    ids = np.zeros(GRID.shape, np.uint64)
    ids[labels() == 1] = 2**40
    ids[2:8, 2:8, 2:5] = 7  # truth knows that this cuboid is two
    ids[2:8, 2:8, 5:8] = 8
    ids[labels() == 2] = 9  # a membrane is no instance
    for truth in (Volume(labels()), None):
        found = measure(tmp_path, truth, Volume(ids))[0]["metrics"]
        assert found["voi"]["merge"] > 0
        if truth is not None:
            counts = found["panoptic"]["mitochondrion"]
            assert (counts["tp"], counts["fp"], counts["fn"]) == (1, 2, 2)
    assert found["iou"]["mitochondrion"] is None


def test_finer_truth_gives_the_same_scores_as_its_own_copy(tmp_path):
    write(tmp_path, labels())
    fine = labels().repeat(2, axis=0).repeat(3, axis=1).repeat(2, axis=2)
    truth = Volume(fine, GRID.resampled((10.0, 10 / 3, 5.0)))
    same, copy = measure(tmp_path, truth), measure(tmp_path, Volume(labels()))
    assert same[0]["metrics"] == copy[0]["metrics"]


def test_without_truth_its_metrics_are_null_and_empty(tmp_path):
    write(tmp_path, labels())
    record, table = measure(tmp_path)
    assert record["metrics"]["iou"]["mitochondrion"] is None
    assert record["metrics"]["panoptic"]["mitochondrion"]["pq"] is None
    assert table.loc["iou.mitochondrion", "value"] == ""
    assert record["metrics"]["coverage"] == {
        "minimum_weight": 0.125,
        "uncovered_voxels": 0,
        "padded_context": 0.25,
    }
    assert table.loc["coverage.padded_context", "value"] == "0.25"
    assert 0 < record["metrics"]["entropy"] < 1
    assert record["metrics"]["seam_energy"]["y"] is None


def test_a_step_at_window_faces_shows_as_seam_energy(tmp_path):
    write(tmp_path, labels())
    before = measure(tmp_path)[0]["metrics"]["seam_energy"]
    seamed = labels()
    seamed[:, :, 8:] = np.where(seamed[:, :, 8:] == 0, 1, seamed[:, :, 8:])
    write(tmp_path, seamed)
    after = measure(tmp_path)[0]["metrics"]["seam_energy"]
    assert before["x"] < 1
    assert after["x"] > 3
    assert after["overall"] == after["x"]


def test_limits_are_judged_in_both_files(tmp_path):
    write(tmp_path, labels())
    limits = {
        "iou.mitochondrion": Limit(min=0.9),
        "coverage.minimum_weight": Limit(min=0.5, max=1.0),
        "entropy": Limit(max=1.0),
    }
    record, table = measure(tmp_path, limits=limits)
    assert list(table.columns) == ["value", "minimum", "maximum", "passed"]
    assert table.loc["coverage.minimum_weight"].tolist() == ["0.125", "0.5", "1", "false"]
    assert table.loc["iou.mitochondrion"].tolist() == ["", "0.9", "", ""]
    assert table.loc["entropy", "passed"] == "true"
    assert table.loc["voi.split"].tolist() == ["", "", "", ""]
    assert record["passed"] is False
    assert record["limits"]["iou.mitochondrion"]["passed"] is None
    assert measure(tmp_path)[0]["passed"] is None


def test_the_record_says_what_made_it_and_is_the_same_again(tmp_path):
    write(tmp_path, labels())
    made = measure(tmp_path, Volume(labels()))[0]["provenance"]
    assert (made["stage"], made["model"]) == ("measure_quality", "m")
    assert made["blending"] == BLENDING
    assert made["grid"] == made["truth"] == GRID.to_dict()
    assert made["postprocess"]["connectivity"] == 26
    first = (tmp_path / "quality.json").read_bytes()
    measure(tmp_path, Volume(labels()))
    assert (tmp_path / "quality.json").read_bytes() == first


def test_mistakes_of_the_user_leave_no_files(tmp_path):
    write(tmp_path, labels())
    with pytest.raises(ConfigError, match=r"panoptic\.membrane\.pq.*panoptic\.mitochondrion\.pq"):
        measure(tmp_path, limits={"panoptic.membrane.pq": Limit(min=0.5)})
    with pytest.raises(SourceError, match="not cover the same region"):
        measure(tmp_path, Volume(labels(), Grid(GRID.shape, (20.0, 10.0, 20.0))))
    wrong = labels()
    wrong[0, 0, :3] = 7, 9, 255
    with pytest.raises(SourceError, match="holds 7, 9 in"):
        measure(tmp_path, Volume(wrong))
    assert not (tmp_path / "quality.json").exists()
    assert not (tmp_path / "quality.tsv").exists()


def test_a_prediction_without_its_blending_is_refused(tmp_path):
    write(tmp_path, labels(), blending=None)
    with pytest.raises(StoreError, match="no complete record of its blending"):
        measure(tmp_path)


#: Three files of labels along z and x, two files of volumes along z.
LONG = Grid((70, 21, 530), (20.0, 10.0, 10.0))


def blobs(shape, seed, density=0.35):
    """Return classes in blobs, which touch across blocks in every direction."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(3, [-(-n // 4) for n in shape], p=[1 - density, density * 0.8, density / 5])
    full = coarse.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2)
    return full[tuple(slice(0, n) for n in shape)].astype(np.uint8)


@pytest.fixture(scope="module")
def long_sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    classes = blobs(LONG.shape, 0)
    noise = np.random.default_rng(1).random((3, *LONG.shape), np.float32)
    values = np.stack([classes == k for k in range(3)]) + noise
    values[:, 40:44, :, 250:260] = 0
    values /= np.maximum(values.sum(axis=0), 1e-9)
    blending = BLENDING | {"window": [32, 21, 64], "starts": [[0, 19, 38], [0], [0, 256, 466]]}
    path = folder / "prediction.ome.zarr"
    attributes = {"model": "m", "blending": blending}
    with create(path, LONG, dtype=np.float16, channels=NAMES, attributes=attributes) as array:
        array[:] = values
    segment_objects(
        path,
        folder / "classes.ome.zarr",
        folder / "objects.ome.zarr",
        folder / "objects.tsv",
        method="argmax",
        connectivity=18,
        class_settings={"membrane": ClassSettings(instances=False)},
    )
    return folder


def true_classes(grid, seed=0):
    """Return true classes on a grid, of which a few are wrong and a few unlabelled."""
    rng = np.random.default_rng(seed)
    classes = blobs(grid.shape, seed)
    classes[rng.random(grid.shape) < 0.02] = 1
    classes[:, 5:8, 255:300] = 255
    return Volume(classes, grid)


def true_ids(grid):
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 2**40, (9, 6, 30)).astype(np.uint64).repeat(8, axis=0)
    ids = ids.repeat(4, axis=1).repeat(18, axis=2)[tuple(slice(0, n) for n in grid.shape)]
    ids[blobs(grid.shape, 0) != 1] = 0
    return Volume(ids, grid)


TRUTHS = {
    "none": (None, None),
    "classes": (true_classes(LONG), None),
    "objects": (None, true_ids(LONG)),
    "both": (true_classes(LONG), true_ids(LONG)),
    "finer": (true_classes(LONG.resampled((10.0, 4.0, 10.0))), None),
    "coarser": (true_classes(LONG.resampled((40.0, 10.0, 25.0))), None),
    "shifted": (
        true_classes(Grid((50, 21, 400), LONG.spacing, origin=(124.0, 3.0, 905.0))),
        true_ids(Grid((50, 20, 400), LONG.spacing, origin=(124.0, 12.0, 905.0))),
    ),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_any_number_of_blocks_gives_the_same_bytes(long_sample, tmp_path, name):
    truth, truth_objects = TRUTHS[name]
    stores = [long_sample / f"{n}.ome.zarr" for n in ("prediction", "classes", "objects")]
    given = truth and truth.write(tmp_path / "truth.ome.zarr")
    ids = truth_objects and truth_objects.write(tmp_path / "ids.ome.zarr")
    said = {"truth": given, "metadata": f"objects={ids}" if ids else ""}
    limits = {"entropy": Limit(max=0.5)}
    found = {}
    for blocks in (1, 3, 8):
        parts = [tmp_path / f"{blocks}_{block}.npz" for block in range(1, blocks + 1)]
        for block, part in enumerate(parts, start=1):
            measure_quality_block(*stores, part, **said, block=block, blocks=blocks)
        outputs = tmp_path / f"{blocks}.json", tmp_path / f"{blocks}.tsv"
        measure_quality(*stores, *outputs, parts=parts, **said, limits=limits)
        found[blocks] = [path.read_bytes() for path in outputs]
    outputs = tmp_path / "one.json", tmp_path / "one.tsv"
    measure_quality(*stores, *outputs, **said, limits=limits)
    assert found[1] == found[3] == found[8] == [path.read_bytes() for path in outputs]
    metrics = json.loads(outputs[0].read_text())["metrics"]
    assert 0 < metrics["entropy"] < 1
    assert metrics["seam_energy"]["z"] > 0
    assert (metrics["iou"]["mitochondrion"] is None) == (truth is None)
    assert (metrics["arand"]["error"] is None) == (name == "none")


def test_counts_that_are_missing_or_damaged_are_refused(long_sample, tmp_path):
    stores = [long_sample / f"{n}.ome.zarr" for n in ("prediction", "classes", "objects")]
    parts = [tmp_path / f"{block}.npz" for block in (1, 2)]
    for block, part in enumerate(parts, start=1):
        measure_quality_block(*stores, part, truth=None, block=block, blocks=2)
    outputs = tmp_path / "quality.json", tmp_path / "quality.tsv"
    with pytest.raises(StoreError, match=r"are of \d+ voxels, .* but the prediction has 779100"):
        measure_quality(*stores, *outputs, parts=parts[:1], truth=None, limits={})
    parts[1].write_bytes(parts[1].read_bytes()[:-30])
    with pytest.raises(StoreError, match=r"2\.npz is missing or damaged"):
        measure_quality(*stores, *outputs, parts=parts, truth=None, limits={})
    assert not outputs[0].exists()
