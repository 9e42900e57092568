import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import zarr
from chest_scan import Nodule, ellipsoid, heat
from test_detect_nodules import AFFINE, CHEST, LOCAL, NODULES, run, world, write_inputs

from parafovea.errors import ConfigError, SourceError, TableError
from parafovea.formats.opening import open_source
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.detection_files import (
    Detection,
    Detections,
    Properties,
    ScanMetadata,
    load_detections,
    summarize,
)
from parafovea.quality.detections.lesions import components, detection_map, score_case
from parafovea.settings.quality import Limit
from parafovea.stages.detect_nodules import write_detections
from parafovea.stages.measure_detections import measure_detections
from parafovea.storage.store import create, describe_again, open_stored

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


def measure(folder, truth=None, *, name="quality", limits=None, metadata="", **options):
    outputs = folder / f"{name}.json", folder / f"{name}.tsv"
    measure_detections(
        folder / "out" / "detections.json",
        folder / "prediction.ome.zarr",
        *outputs,
        source="scan.nii.gz",
        truth=None if truth is None else str(folder / truth),
        metadata=metadata,
        limits=limits or {},
        **options,
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


@pytest.mark.parametrize("truth", ["nodules.csv", "objects.nii.gz", "mask.nii.gz"])
def test_nodules_outside_of_the_part_of_a_scan_are_not_missed(folder, tmp_path, truth):
    part = Path(shutil.copytree(folder, tmp_path / "part"))
    group = zarr.open_group(part / "prediction.ome.zarr", mode="r+")
    facts = open_stored(part / "prediction.ome.zarr").attributes
    depth, height, width = CHEST.shape
    # up to 12.8 mm: through one nodule, and below the one that was missed
    region = [[0, 27], [0, height], [0, width]]
    describe_again(
        group,
        part / "prediction.ome.zarr",
        {**facts, "source": {**facts["source"], "region": region}},
    )
    assert depth > 27
    found = measure(part, truth)[0]["metrics"]
    assert [found[name] for name in ("nodules", "found", "missed")] == [3, 3, 0]


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


PICAI = {"rule": "picai", "min_overlap": 0.1}


def test_regions_are_matched_to_lesions_by_their_overlap(folder):
    record, table = measure(folder, "mask.nii.gz", name="picai", scoring=PICAI)
    # from the files alone: the heatmap of the scan and the mask
    run(folder, "with_heatmap", heatmap=folder / "heatmap.nii.gz")
    heatmap, mask = (
        np.asarray(nibabel.load(folder / name).dataobj).T
        for name in ("heatmap.nii.gz", "mask.nii.gz")
    )
    wanted = score_case(detection_map(heatmap, 0.5), mask)
    results = sorted(r["overlap"] for r in record["case"]["lesions"])
    assert results == pytest.approx(sorted(r.overlap for r in wanted.lesions))
    assert record["case"]["confidence"] == pytest.approx(wanted.confidence, abs=0.02)
    found = record["metrics"]
    counts = [found[key] for key in ("lesions", "found", "missed", "false_positives")]
    assert counts == [4, 3, 1, 1]
    overlaps = [r.overlap for r in wanted.lesions if r.overlap]
    assert found["overlap"] == pytest.approx(np.mean(overlaps))
    # by confidence: two lesions, the false positive, a lesion; one is missed
    assert found["AP"] == pytest.approx((1 + 1 + 3 / 4) / 4)
    # of one scan alone
    assert (found["auroc"], found["score"]) == (None, None)
    assert table.loc["AP", "value"] == "0.6875"
    assert [hit["nodule"] for hit in record["hits"]] == [
        n["id"] for n in record["nodules"] if n["found"]
    ]
    assert all(hit["distance_mm"] < 2 for hit in record["hits"])
    (wrong,) = record["false_positives"]
    detections = load_detections(folder / "out" / "detections.json").detections
    assert detections[wrong].coordinates == pytest.approx(world(FALSE)[0], abs=0.5)


def test_a_higher_overlap_may_be_needed_and_limits_are_on_the_metrics_of_the_rule(folder):
    strict = {"rule": "picai", "min_overlap": 0.99}
    limits = {"AP": Limit(min=0.5)}
    record, _ = measure(folder, "mask.nii.gz", name="strict", scoring=strict, limits=limits)
    assert record["metrics"]["found"] == 0
    assert record["metrics"]["false_positives"] == 4
    assert record["passed"] is False
    with pytest.raises(ConfigError, match="centre_distance_mm"):
        measure(folder, "mask.nii.gz", scoring=PICAI, limits={"centre_distance_mm": Limit(max=3)})


@pytest.mark.parametrize("scoring", [None, PICAI])
def test_detections_where_nobody_has_labelled_count_neither_way(folder, scoring):
    mask = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj).T.astype(np.int16)
    unknown = ellipsoid(CHEST, FALSE.centre, (15, 15, 15))
    mask[unknown & (mask == 0)] = -1
    nibabel.save(nibabel.Nifti1Image(mask.T, AFFINE), folder / "partly.nii.gz")
    with pytest.raises(SourceError, match="holds -1"):
        measure(folder, "partly.nii.gz", name="none")
    record, _ = measure(
        folder, "partly.nii.gz", name="partly", metadata="truth_ignore=-1", scoring=scoring
    )
    found = record["metrics"]
    assert [found[key] for key in ("found", "missed", "false_positives")] == [3, 1, 0]
    assert record["false_positives"] == []


@pytest.mark.parametrize("case", [2, 3, 4, 5])
def test_the_maps_of_picai_eval_give_its_results_through_the_stage(tmp_path, case):
    root = os.environ.get("PARAFOVEA_REAL_DATA")
    if not root:
        pytest.skip("PARAFOVEA_REAL_DATA is not set")
    maps = Path(root) / "vectors/picai_eval/test-maps"
    mask = open_source(maps / f"case-{case}_label.nii.gz")
    values = np.asarray(nibabel.load(maps / f"case-{case}_detection_map.nii.gz").dataobj).T
    # the confidences of the package go up to 2
    values = values.astype(np.float32) / 2
    grid, space = mask.grid, ScanSpace(mask.grid, mask.affine)
    source = {"series": "1", "grid": grid.to_dict(), "affine": np.asarray(mask.affine).tolist()}
    made = {"source": source, "model": {"name": "m", "sha256": "ab" * 32}, "blending": BLENDING}
    with create(
        tmp_path / "prediction.ome.zarr", grid, dtype=np.float32, channels=("l",), attributes=made
    ) as array:
        array[:] = values[None]
    regions, count = components(values)
    marks = []
    for number in range(1, count + 1):
        places = np.argwhere(regions == number)
        middle = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
        marks.append((float(values[tuple(middle)]), space.world_of_voxel(middle)))
    write_scan(tmp_path, sorted(marks, key=lambda mark: -mark[0]))
    truth = str(maps / f"case-{case}_label.nii.gz")
    record, _ = measure(tmp_path, truth, scoring=PICAI, threshold=1e-3)
    rows = [
        (int(each["is_lesion"]), 2 * each["confidence"], each["overlap"])
        for each in record["case"]["lesions"]
    ]
    np.testing.assert_allclose(rows, EXPECTED[f"case-{case}"], rtol=1e-6)


def write_scan(folder, marks):
    """Write detections at positions with confidences."""
    found = tuple(
        Detection(
            id=number,
            coordinates=tuple(place),
            coordinates_voxel=(0, 0, 0),
            diameter_mm=4,
            confidence=confidence,
            properties=Properties(volume_mm3=30, mean_intensity=0, std_intensity=1),
        )
        for number, (confidence, place) in enumerate(marks)
    )
    document = Detections(
        scan_id="a",
        model="m",
        timestamp="1970-01-01T00:00:00Z",
        metadata=ScanMetadata(spacing=(1, 1, 1), shape=(8, 8, 8)),
        detections=found,
        summary=summarize(found, triaged=False),
    )
    (folder / "out").mkdir()
    write_detections(document, folder / "out/detections.json", folder / "out/detections.csv")


#: Of picai_eval 1.4 for its maps: (lesion, confidence, overlap) of each.
EXPECTED = {
    "case-2": [(0, 1, 0)],
    "case-3": [(1, 0, 0), (0, 1, 0)],
    "case-4": [(1, 1, 1 / 3)],
    "case-5": [(1, 1, 9 / 41), (0, 2, 0)],
}
