import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from chest_scan import Nodule, ellipsoid, heat
from test_detect_nodules import AFFINE, CHEST, LOCAL, NODULES, run, world, write_inputs

from parafovea.errors import ConfigError, SourceError, TableError
from parafovea.postprocess.detection.detection_files import load_detections
from parafovea.settings.quality import Limit
from parafovea.stages.measure_detections import measure_detections
from parafovea.storage.store import create

BLENDING = {
    "window": [32, 32, 32],
    "starts": [[0, 16], [0, 16, 32], [0]],
    "minimum_weight": 0.125,
    "uncovered_voxels": 0,
    "padded_context": None,
    "skipped_windows": 3,
}

#: In no heatmap, and its heat in no scan.
MISSED = Nodule((20, 0, -50), 6.0)
FALSE = Nodule((30, 10, 40), 5.0, heat=0.85)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a scan with a prediction of its three nodules and one that is none."""
    path = tmp_path_factory.mktemp("measured")
    write_inputs(path, heat(LOCAL, [*NODULES, FALSE]))
    start = [a - b for a, b in zip(LOCAL.origin, CHEST.origin, strict=True)]
    grid = type(LOCAL)(LOCAL.shape, LOCAL.spacing, tuple(start), "millimeter")
    scan = type(LOCAL)(CHEST.shape, CHEST.spacing, unit="millimeter")
    source = {"series": "1.2.3", "grid": scan.to_dict(), "affine": AFFINE.tolist()}
    made = {"source": source, "model": {"name": "chest", "sha256": "ab" * 32}, "blending": BLENDING}
    with create(
        path / "prediction.ome.zarr", grid, dtype=np.float16, channels=("nodule",), attributes=made
    ) as array:
        array[:] = heat(LOCAL, [*NODULES, FALSE])[None].astype(np.float16)
    run(path)
    rows = [["1.2.3", *world(n)[0], 2 * n.radius] for n in (*NODULES, MISSED)]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    table = pd.DataFrame([["9.9", 0, 0, 0, 5], *rows], columns=columns)
    table.to_csv(path / "nodules.csv", index=False)
    mask = np.zeros(CHEST.shape, np.uint8)
    for number, nodule in enumerate((*NODULES, MISSED), start=1):
        mask[ellipsoid(CHEST, nodule.centre, (nodule.radius,) * 3)] = number
    for name, values in (("objects", mask), ("mask", (mask > 0).astype(np.float32))):
        image = nibabel.Nifti1Image(values.transpose(2, 1, 0), AFFINE)
        nibabel.save(image, path / f"{name}.nii.gz")
    return path


def measure(folder, truth=None, *, name="quality", limits=None, metadata=""):
    outputs = folder / f"{name}.json", folder / f"{name}.tsv"
    measure_detections(
        folder / "out" / "detections.json",
        folder / "prediction.ome.zarr",
        *outputs,
        source="scan.nii.gz",
        truth=None if truth is None else str(folder / truth),
        metadata=metadata,
        limits=limits or {},
    )
    table = pd.read_csv(outputs[1], sep="\t", index_col="metric", keep_default_na=False)
    return json.loads(outputs[0].read_text()), table


@pytest.mark.parametrize("truth", ["nodules.csv", "objects.nii.gz", "mask.nii.gz"])
def test_a_table_and_masks_of_the_same_nodules_give_the_same_counts(folder, truth):
    record, table = measure(folder, truth)
    found = record["metrics"]
    counts = [found[name] for name in ("nodules", "found", "missed", "false_positives")]
    assert counts == [4, 3, 1, 1]
    assert found["sensitivity"]["overall"] == 0.75
    assert found["precision"] == 0.75
    # the false positive is the third most confident of four
    assert found["sensitivity"]["at_1_false_positive"] == 0.75
    assert 0 <= found["centre_distance_mm"] < 1
    assert 0 <= abs(found["diameter_error_mm"]["signed"]) <= found["diameter_error_mm"]["overall"]
    assert found["diameter_error_mm"]["overall"] < 1.5
    assert table.loc["sensitivity", "value"] == "0.75"


def test_the_record_says_which_detection_is_on_which_nodule(folder):
    record, _ = measure(folder, "nodules.csv")
    detections = load_detections(folder / "out" / "detections.json").detections
    pairs = {hit["nodule"]: hit for hit in record["hits"]}
    assert sorted(pairs) == [0, 1, 2]
    for number, hit in pairs.items():
        centre = np.array(record["nodules"][number]["coordinates"])
        gap = np.linalg.norm(centre - detections[hit["detection"]].coordinates)
        assert hit["distance_mm"] == pytest.approx(gap, abs=1e-3)
    assert [n["found"] for n in record["nodules"]] == [True, True, True, False]
    (wrong,) = record["false_positives"]
    assert detections[wrong].coordinates == pytest.approx(world(FALSE)[0], abs=0.5)
    assert record["provenance"]["truth"]["series"] == "1.2.3"


def test_without_truth_counts_and_coverage_are_left(folder):
    record, table = measure(folder)
    assert "hits" not in record
    assert record["metrics"]["detections"] == {
        "overall": 4,
        "high": None,
        "intermediate": None,
        "low": None,
    }
    assert record["metrics"]["coverage"]["skipped_windows"] == 0.5
    assert table.loc["detections", "value"] == "4"
    assert table.loc["sensitivity", "value"] == ""


def test_limits_are_judged_and_those_on_other_kinds_refused(folder):
    limits = {"sensitivity": {"min": 0.7}, "false_positives": Limit(max=0)}
    record, table = measure(folder, "nodules.csv", limits=limits)
    assert record["passed"] is False
    assert record["limits"]["sensitivity"]["passed"] is True
    assert table.loc["false_positives"].tolist() == ["1", "", "0", "false"]
    with pytest.raises(ConfigError, match=r"iou\.nodule.*centre_distance_mm"):
        measure(folder, "nodules.csv", name="none", limits={"iou.nodule": Limit(min=0.5)})
    assert not (folder / "none.json").exists()


def test_a_table_that_does_not_name_the_scan_is_refused_with_the_way_out(folder):
    lines = (folder / "nodules.csv").read_text().splitlines()
    (folder / "other.csv").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(TableError, match=r"series '1\.2\.3'.*has 9\.9.*series= to the name"):
        measure(folder, "other.csv", name="none")
    (folder / "empty.csv").write_text("\n".join([*lines[:2], "1.2.3,,,,"]) + "\n")
    record, _ = measure(folder, "empty.csv", name="empty")
    assert record["metrics"]["nodules"] == 0
    assert record["metrics"]["sensitivity"]["overall"] is None
    assert record["metrics"]["false_positives"] == 4
    assert record["nodules"] == []
    (folder / "both.csv").write_text("\n".join([*lines, "1.2.3,,,,"]) + "\n")
    with pytest.raises(TableError, match="has no findings, but line 3 has one"):
        measure(folder, "both.csv", name="none")
    assert not (folder / "none.json").exists()


def test_a_table_without_a_column_is_refused_and_nothing_is_written(folder):
    lines = [line.rpartition(",")[0] for line in (folder / "nodules.csv").read_text().splitlines()]
    (folder / "narrow.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(TableError, match=r"narrow\.csv:1: the header lacks diameter_mm") as error:
        measure(folder, "narrow.csv", name="none")
    assert error.value.__notes__ == ["for the truth of scan.nii.gz"]
    assert not [*folder.glob("none.*")]


def test_nodules_outside_of_the_scan_are_refused(folder):
    table = pd.read_csv(folder / "nodules.csv")
    # RAS instead of LPS
    table[["coordX", "coordY"]] *= -1
    table.to_csv(folder / "ras.csv", index=False)
    with pytest.raises(SourceError, match=r"1 of 4 nodules lie outside the scan.*LPS"):
        measure(folder, "ras.csv", name="none")


def test_a_series_in_the_metadata_names_the_scan_in_the_table(folder):
    text = (folder / "nodules.csv").read_text().replace("1.2.3", "renamed")
    (folder / "renamed.csv").write_text(text)
    record, _ = measure(folder, "renamed.csv", metadata="series=renamed")
    assert record["metrics"]["nodules"] == 4
