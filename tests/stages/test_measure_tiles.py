"""Quality of a folder of tiles, through its files."""

import csv
import json
import re
import tracemalloc
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from mosaic_sample import invented, reflectance, write_mosaic
from tile_results import CLASSES, REFINED, SEGMENTED, write_folder

from parafovea.errors import ConfigError, MissingSourceError, SourceError, StoreError
from parafovea.formats.tiles.ledger import FILE_COLUMNS, read_ledger, write_ledger
from parafovea.formats.tiles.npz import write_tile
from parafovea.quality.tiles.image_metrics import ndvi_rmse
from parafovea.settings.quality import Limit
from parafovea.stages.measure_tiles import measure_tiles
from parafovea.storage.layout import SampleResults


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


def measure(folder, *, truth=True, limits=None, **options):
    outputs = SampleResults(folder.root / "results")
    measure_tiles(
        folder.ledger,
        folder.quarantine,
        outputs.quality,
        outputs.quality_table,
        outputs.tile_quality,
        source=str(folder.root / "source"),
        truth=str(folder.truth) if truth is True else truth,
        limits=limits or {},
        **{**REFINED, **options},
    )
    rows = pd.read_csv(outputs.tile_quality, sep="\t", index_col="name")
    return json.loads(outputs.quality.read_text()), rows, outputs


def array(path, key):
    with np.load(path) as stored:
        return stored[key]


def test_tiles_are_counted_and_those_without_truth_have_empty_cells(folder):
    record, rows, outputs = measure(folder)
    assert record["metrics"]["tiles"] == {
        "in": 7,
        "out": 6,
        "quarantined": 1,
        "month_assumed": 1,
        "biome_assumed": 0,
        "with_truth": 5,
        "without_truth": 1,
        "truth_invalid": 0,
        "clipped": None,
    }
    assert list(rows.index) == list(folder.names)
    truth = rows.filter(regex=r"^(accuracy|accuracy_input|gain)\.")
    assert truth.loc["tile_0005"].isna().all()
    assert truth.loc["tile_0000"].notna().all()
    assert rows["truth"].tolist() == [True] * 5 + [False]
    assert rows.loc["tile_0004", "assumed"] == "month"
    for path in (outputs.quality_table, outputs.tile_quality):
        assert "nan" not in path.read_text().lower().split()


def test_a_row_holds_what_the_arrays_give_and_the_mean_is_over_the_rows(folder):
    record, rows, outputs = measure(folder)
    for name in folder.names[:2]:
        pair = (
            array(folder.result_file(name), "opt_v2"),
            array(folder.source_file(name), "opt_v1"),
        )
        assert rows.loc[name, "preservation.ndvi_rmse"] == pytest.approx(ndvi_rmse(*pair))
    table = pd.read_csv(outputs.quality_table, sep="\t", index_col="metric")
    means = rows["accuracy.psnr"].mean(), table.loc["accuracy.psnr", "value"]
    assert means[0] == pytest.approx(means[1])
    assert record["metrics"]["accuracy"]["psnr"] == pytest.approx(means[0])
    assert record["metrics"]["gain"]["psnr"] > 1
    assert record["metrics"]["accuracy"]["rmse"] < record["metrics"]["accuracy_input"]["rmse"]


def test_the_share_held_back_is_of_the_pixels_with_less_than_half_of_the_trust(folder):
    record, rows, _ = measure(folder)
    assert record["metrics"]["held_back"] is None
    assert rows["held_back"].isna().all()
    file = folder.result_file("tile_0000")
    refined = array(file, "opt_v2")
    trust = np.full(refined.shape[1:], 0.8, np.float16)
    trust[:5] = 0.3
    np.savez(file, opt_v2=refined, trust=trust)
    record, rows, _ = measure(folder)
    assert rows.loc["tile_0000", "held_back"] == pytest.approx(5 / len(trust))
    assert record["metrics"]["held_back"] == pytest.approx(5 / len(trust))


def test_the_flat_tile_is_counted_and_its_edges_are_undefined(folder):
    record, rows, _ = measure(folder)
    assert record["metrics"]["preservation"]["flat_tiles"] == 1
    assert rows["preservation.edge_correlation"].isna().tolist().count(True) == 1
    assert np.isnan(rows.loc["tile_0002", "preservation.edge_displacement"])


def test_limits_are_judged_and_an_unknown_one_is_refused_before_a_tile_is_read(folder):
    limits = {"preservation.ndvi_rmse": {"max": 0.001}, "gain.psnr": Limit(min=0)}
    record, _, outputs = measure(folder, limits=limits)
    assert record["passed"] is False
    assert "gain.psnr" in outputs.quality_table.read_text()
    folder.result_file("tile_0000").unlink()
    with pytest.raises(ConfigError, match=r"'iou\.water'.*preservation\.ndvi_rmse"):
        measure(folder, limits={"iou.water": Limit(min=0)})


def test_the_same_tiles_give_the_same_bytes(folder):
    *_, outputs = measure(folder)
    paths = (outputs.quality, outputs.quality_table, outputs.tile_quality)
    first = [path.read_bytes() for path in paths]
    measure(folder)
    assert [path.read_bytes() for path in paths] == first


def test_a_radar_input_is_no_reference_of_colours(folder):
    for name in folder.names:
        shape = array(folder.source_file(name), "opt_v1").shape[1:]
        folder.write_source(name, {"sar": np.full((2, *shape), 0.3, np.float32)})
    record, rows, _ = measure(folder, bands=("VV", "VH"))
    assert record["metrics"]["preservation"]["ndvi_rmse"] is None
    assert record["metrics"]["gain"]["psnr"] is None
    assert rows["accuracy.psnr"].notna().sum() == 5


def _elsewhere(folder, **changes):
    """Give the truth of tile_0001 a position that differs from that of the tile."""
    entry = next(e for e in read_ledger(folder.ledger) if e.name == "tile_0001")
    position = {**asdict(entry.position), **changes}
    true = {"opt_v2": array(folder.truth / "tile_0001.npz", "opt_v2")}
    write_tile(folder.truth, "tile_0001", true, {"position": position})


def _cut(folder):
    path = folder.truth / "tile_0001.npz"
    path.write_bytes(path.read_bytes()[:900])


def _written(values):
    def write(folder):
        write_tile(folder.truth, "tile_0001", {"opt_v2": values.astype(np.float32)})

    return write


#: What may be wrong with the truth of one tile, and what is said.
BAD_TRUTHS = {
    "another size": (_written(np.ones((4, 16, 20))), r"is 4 × 16 × 20.*is 4 × 36 × 52"),
    "one row more": (_written(np.ones((4, 37, 52))), r"is 4 × 37 × 52"),
    "all cloud": (_written(np.full((4, 36, 52), np.nan)), "no valid pixel"),
    "cut off": (_cut, "cannot be read"),
    "another place": (lambda f: _elsewhere(f, x=0.0), "not of the same place.*its corner at 0"),
    "another pixel size": (lambda f: _elsewhere(f, pixel_size=20.0), "pixels of 20 instead of 10"),
    "another system": (lambda f: _elsewhere(f, crs="EPSG:32634"), "system EPSG:32634 instead"),
}


@pytest.mark.parametrize("case", BAD_TRUTHS)
def test_one_bad_truth_sets_that_tile_aside_and_no_other(folder, caplog, case):
    before, rows_before, _ = measure(folder)
    spoil, says = BAD_TRUTHS[case]
    spoil(folder)
    record, rows, _ = measure(folder)
    assert re.search(says, record["truth_invalid"]["tile_0001"])
    assert re.search(says, caplog.text)
    assert "1 of 6 tiles have a truth that cannot be used" in caplog.text
    counts = record["metrics"]["tiles"]
    assert (counts["with_truth"], counts["without_truth"], counts["truth_invalid"]) == (4, 2, 1)
    assert rows.loc["tile_0001"].filter(regex="^accuracy").isna().all()
    others = [name for name in folder.names if name != "tile_0001"]
    pd.testing.assert_frame_equal(rows.loc[others], rows_before.loc[others])
    assert "truth_invalid" not in before


def test_a_truth_at_the_place_of_its_tile_counts(folder):
    _elsewhere(folder)
    record, _, _ = measure(folder)
    assert record["metrics"]["tiles"]["truth_invalid"] == 0
    assert record["metrics"]["tiles"]["with_truth"] == 5


def test_where_no_truth_is_valid_the_reason_of_one_is_told(folder):
    for name in folder.names:
        write_tile(folder.truth, name, {"opt_v2": np.ones((4, 16, 20), np.float32)})
    with pytest.raises(SourceError, match=r"no valid truth for any of the 6.*'tile_0000'.*16 × 20"):
        measure(folder)
    assert not (folder.root / "results" / "quality.json").exists()
    assert not list((folder.root / "results").glob(".*"))


def test_the_share_of_clipped_values_is_a_metric_with_limits(folder):
    with folder.ledger.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row, clipped in zip(rows, (0, 30, 0, 0, 12, 0), strict=True):
        row |= {"clipped": clipped, "measured": 1000, "fingerprint": ""}
    write_ledger(folder.ledger, rows, FILE_COLUMNS)
    record, _, _ = measure(folder, limits={"tiles.clipped": {"max": 0.005}})
    assert record["metrics"]["tiles"]["clipped"] == pytest.approx(42 / 6000)
    assert not record["passed"]


def test_truth_that_is_for_no_tile_or_no_folder_is_refused(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match=r"no truth for any of the 6 tiles.*tile_0000\.npz"):
        measure(folder, truth=str(empty))
    with pytest.raises(MissingSourceError, match="is not a folder"):
        measure(folder, truth=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 cut off", "cannot be read"),
        (None, "cannot be read"),
        ({"other": np.zeros(3)}, "has no array opt_v2, but other"),
        ({"opt_v2": np.array([{}], dtype=object)}, "holds pickled Python objects"),
        ({"opt_v2": np.zeros((3, 36, 52))}, "is 3 × 36 × 52"),
    ],
)
def test_a_damaged_result_says_to_predict_again(folder, content, words):
    path = folder.result_file("tile_0003")
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(StoreError, match=rf"{words}.*run predict_tiles again"):
        measure(folder)


@pytest.mark.parametrize("name", ["../tile_0000", "", "..", "a/b"])
def test_a_name_that_leaves_the_folder_is_refused(folder, name):
    text = folder.ledger.read_text().replace("tile_0000\t", f"{name}\t", 1)
    folder.ledger.write_text(text)
    with pytest.raises(StoreError, match="not a plain file name"):
        measure(folder)


def test_no_finished_tile_is_a_result_with_counts_alone(folder):
    folder.ledger.write_text(folder.ledger.read_text().splitlines()[0] + "\n")
    record, rows, _ = measure(folder)
    assert record["metrics"]["tiles"]["out"] == 0
    assert record["metrics"]["preservation"]["ndvi_rmse"] is None
    assert len(rows) == 0


def test_memory_does_not_grow_with_the_number_of_tiles(folder):
    lines = folder.ledger.read_text().splitlines()

    def peak(times):
        folder.ledger.write_text("\n".join([lines[0], *lines[1:4] * times]) + "\n")
        tracemalloc.start()
        measure(folder)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1)
    assert peak(12) < 1.2 * peak(1)


def test_segmented_tiles_are_scored_over_all_pixels_together(tmp_path):
    folder = write_folder(tmp_path, kind="segmentation")
    record, rows, outputs = measure(folder, **SEGMENTED)
    pairs = [
        (array(folder.result_file(n), "classes"), array(folder.truth / f"{n}.npz", "classes"))
        for n in folder.names[:5]
    ]
    found, truth = (np.concatenate([each[i].ravel() for each in pairs]) for i in (0, 1))
    for index, name in enumerate(CLASSES):
        hit = ((found == index) & (truth == index)).sum()
        either = ((found == index) | (truth == index)).sum()
        assert record["metrics"]["iou"][name] == pytest.approx(hit / either)
        assert record["metrics"]["recall"][name] == pytest.approx(hit / (truth == index).sum())
    assert record["metrics"]["pixels"] == truth.size
    assert rows.columns[-5:].tolist() == ["iou", *(f"iou.{name}" for name in CLASSES)]
    assert np.isnan(rows.loc["tile_0005", "iou"])
    with outputs.quality_table.open(newline="") as file:
        names = [row["metric"] for row in csv.DictReader(file, delimiter="\t")]
    assert "iou.water" in names
    assert not [n for n in names if n.startswith("preservation")]


def test_pixels_that_nobody_knows_do_not_count_and_a_wrong_class_is_refused(tmp_path):
    folder = write_folder(tmp_path, kind="segmentation", count=2, truthless=0)
    truth = array(folder.truth / "tile_0000.npz", "classes")
    truth[:10] = 255
    write_tile(folder.truth, "tile_0000", {"classes": truth})
    _, rows, _ = measure(folder, **SEGMENTED)
    assert rows.loc["tile_0000", "pixels"] == 38 * 48
    truth[20, 20] = 7
    write_tile(folder.truth, "tile_0000", {"classes": truth})
    record, rows, _ = measure(folder, **SEGMENTED)
    assert re.search(
        r"'tile_0000' holds class 7.*0 to 3 \(water, soil", record["truth_invalid"]["tile_0000"]
    )
    assert np.isnan(rows.loc["tile_0000", "iou"])
    write_tile(folder.truth, "tile_0000", {"classes": truth / 2.0})
    record, _, _ = measure(folder, **SEGMENTED)
    assert "are float64, not integers" in record["truth_invalid"]["tile_0000"]


def test_classes_of_pixels_that_were_not_measured_do_not_count(tmp_path):
    folder = write_folder(tmp_path, kind="segmentation", count=2, truthless=0)
    valid = np.ones((48, 48), bool)
    valid[:10] = False
    for path in (folder.truth / "tile_0000.npz", folder.result_file("tile_0000")):
        classes = array(path, "classes")
        write_tile(path.parent, "tile_0000", {"classes": classes, "valid": valid})
        _, rows, _ = measure(folder, **SEGMENTED)
        assert rows.loc["tile_0000", "pixels"] == 38 * 48
        write_tile(path.parent, "tile_0000", {"classes": classes})


def test_what_may_be_wrong_with_truths_is_counted(folder, caplog):
    for path in sorted(folder.truth.glob("*.npz"))[:2]:
        values = array(path, "opt_v2")
        values[:, :3] = 0
        np.savez(path, opt_v2=values)
    measure(folder)
    assert f"2 files of the truth {folder.truth}: 1 % or more of the pixels are 0" in caplog.text


def test_blocks_where_the_truth_of_a_mosaic_has_a_gap_are_without_truth(tmp_path):
    values = reflectance(60, 300)
    mosaic = invented(tmp_path, write_mosaic(tmp_path, values))
    known = values.copy()
    known[:, :, 250:] = np.nan

    def measured(truth):
        outputs = SampleResults(tmp_path / "results")
        measure_tiles(
            mosaic.ledger,
            mosaic.quarantine,
            outputs.quality,
            outputs.quality_table,
            outputs.tile_quality,
            source=str(mosaic.source),
            truth=str(write_mosaic(tmp_path / "truth", truth, nodata=np.nan)),
            limits={},
            **REFINED,
        )
        return json.loads(outputs.quality.read_text())["metrics"]

    found = measured(known)
    assert (found["tiles"]["with_truth"], found["tiles"]["without_truth"]) == (1, 1)
    assert found["accuracy"]["rmse"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(SourceError, match="has no measured pixel in any of the 2 blocks"):
        measured(np.full_like(values, np.nan))
