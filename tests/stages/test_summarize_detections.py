import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from report_results import render_sample, write_results

from parafovea.errors import StoreError
from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.detection_files import (
    Detection,
    Detections,
    Properties,
    ScanMetadata,
    summarize,
)
from parafovea.quality.detections.detector_score import evaluate_detections
from parafovea.stages.detect_nodules import write_detections
from parafovea.stages.summarize_cohort import CohortSample, summarize_cohort
from parafovea.storage.store import create

HEADER = "metric\tvalue\tminimum\tmaximum\tpassed\n"

SCAN_PAGE = "parafovea.report.detections.scan_view:cohort_view"
SAMPLE_PAGE = "parafovea.report.segmentation.sample_view:cohort_view"

#: Of each scan: confidence and x of its detections, x of its nodules of 8 mm; None: no truth.
SCANS = {
    "a": ([(0.9, 10), (0.8, 50), (0.4, 31)], [11, 30]),
    "b": ([(0.7, 20)], [70]),
    "c": ([(0.6, 40)], []),
    "d": ([(0.95, 5)], None),
}


def detection(number, confidence, x):
    return Detection(
        id=number,
        coordinates=(x, 0, 0),
        coordinates_voxel=(int(x), 0, 0),
        diameter_mm=8,
        confidence=confidence,
        properties=Properties(volume_mm3=268, mean_intensity=-20, std_intensity=5),
    )


def write_scan(folder, name, marks, nodules):
    found = tuple(detection(i, *each) for i, each in enumerate(marks))
    folder.mkdir(parents=True)
    document = Detections(
        scan_id=name,
        model="chest",
        timestamp="1970-01-01T00:00:00Z",
        metadata=ScanMetadata(spacing=(1, 1, 1), shape=(80, 8, 8)),
        detections=found,
        summary=summarize(found, triaged=False),
    )
    write_detections(document, folder / "detections.json", folder / "detections.csv")
    made = {"version": "1.2.3", "model": {"name": "chest", "sha256": "ab" * 32}}
    grid = Grid((8, 8, 80), (1, 1, 1), unit="millimeter")
    with create(
        folder / "prediction.ome.zarr", grid, dtype=np.float16, channels=("n",), attributes=made
    ) as array:
        array[:] = 0
    record = {"provenance": {"stage": "measure_detections"}}
    if nodules is not None:
        record["nodules"] = [
            {"id": i, "coordinates": [x, 0, 0], "diameter_mm": 8, "found": False}
            for i, x in enumerate(nodules)
        ]
    (folder / "quality.json").write_text(json.dumps(record))
    (folder / "quality.tsv").write_text(HEADER + f"detections\t{len(marks)}\t\t2\tTrue\n")


@pytest.fixture
def cohort(tmp_path):
    root = tmp_path / "results"
    for name, (marks, nodules) in SCANS.items():
        write_scan(root / name, name, marks, nodules)
    return SimpleNamespace(
        root=root,
        samples={
            name: CohortSample(
                task="lungs",
                kind="detection",
                folder=root / name,
                page=SCAN_PAGE,
                detections=True,
            )
            for name in SCANS
        },
        outputs=SimpleNamespace(
            quality=root / "cohort" / "quality.tsv",
            objects=root / "cohort" / "objects.tsv",
            figure=root / "cohort" / "quality.png",
            html=root / "report.html",
            detections=root / "cohort" / "detections.csv",
            froc=root / "cohort" / "froc",
        ),
    )


def summarize_it(cohort, **options):
    summarize_cohort(**vars(cohort.outputs), samples=cohort.samples, bootstrap=50, **options)
    return cohort.outputs.html.read_text(encoding="utf-8")


def test_the_froc_of_a_task_is_that_of_its_scans_with_truth_together(cohort):
    text = summarize_it(cohort)
    folder = cohort.root / "cohort" / "froc" / "lungs"
    names = ["froc.png", "froc.svg", "froc.tsv", "summary.json"]
    assert sorted(p.name for p in folder.iterdir()) == names
    truth = [(n, x) for n, (_, nodules) in SCANS.items() for x in nodules or ()]
    marks = [(n, x, c) for n, (own, known) in SCANS.items() if known is not None for c, x in own]
    columns = ["seriesuid", "coordX", "probability"]
    wanted = evaluate_detections(
        pd.DataFrame(marks, columns=columns).assign(coordY=0.0, coordZ=0.0),
        pd.DataFrame(truth, columns=columns[:2]).assign(coordY=0.0, coordZ=0.0, diameter_mm=8.0),
        series=["a", "b", "c"],
        bootstrap=50,
        seed=0,
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["cpm"] == wanted.score
    assert summary["cpm_interval"] == list(wanted.score_interval)
    counts = {"series": 3, "nodules": 3, "hit": 2, "false_positives": 3}
    assert {key: summary["counts"][key] for key in counts} == counts
    assert summary["provenance"]["scans"] == ["a", "b", "c"]
    assert "FROC of lungs" in text
    assert f"the CPM, is {wanted.score:.3f}" in text


def test_detections_of_all_scans_are_one_table_and_no_scan_has_objects(cohort):
    text = summarize_it(cohort)
    table = pd.read_csv(cohort.outputs.detections)
    assert list(table["scan_id"]) == ["a", "a", "a", "b", "c", "d"]
    assert list(table["detection_id"]) == [0, 1, 2, 0, 0, 0]
    assert cohort.outputs.objects.read_text() == "sample\ttask\n"
    quality = pd.read_csv(cohort.outputs.quality, sep="\t", index_col="sample")
    assert list(quality["detections"]) == [3, 1, 1, 1]
    assert quality["objects"].isna().all()
    assert 'data-sort="number">detections</th>' in text
    assert 'data-sort="number">objects</th>' not in text


def test_both_kinds_stand_on_one_page_each_with_its_own_table_and_panels(cohort):
    results = write_results(cohort.root / "cell", shape=(4, 24, 24))
    render_sample(results, sample="cell", settings={"slices": 1})
    cohort.samples["cell"] = CohortSample(
        task="em", kind="segmentation", folder=results.folder, page=SAMPLE_PAGE, objects=True
    )
    text = summarize_it(cohort)
    groups = text.split('<section class="group">')[1:]
    assert [re.search("<h2>(.*?) <span", group)[1] for group in groups] == [
        "Detection · 4 samples",
        "Segmentation · 1 sample",
    ]
    assert [group.count("<tr data-kind=") for group in groups] == [4, 1]
    assert "IoU of" not in groups[0].partition("</table>")[0]
    assert 'data-sort="number">objects</th>' in groups[1]
    lines = cohort.outputs.objects.read_text().splitlines()
    assert len(lines) == 1 + 3
    quality = pd.read_csv(cohort.outputs.quality, sep="\t", index_col="sample", dtype=str)
    assert quality.loc["cell", "objects"] == "3"


def test_the_report_and_the_view_in_3d_are_linked_where_they_exist(cohort):
    for name in ("report.pdf", "3d_rendering.html"):
        (cohort.root / "b" / name).touch()
    text = summarize_it(cohort)
    assert text.count('<a href="b/report.pdf">PDF</a> · <a href="b/3d_rendering.html">3D</a>') == 1
    assert text.count("report.pdf") == 1


def test_a_rerun_gives_the_same_bytes_and_forgets_tasks_that_are_gone(cohort):
    def content():
        paths = [p for p in cohort.root.rglob("*") if p.is_file() and "zarr" not in str(p)]
        return {path: path.read_bytes() for path in paths}

    summarize_it(cohort)
    first = content()
    (cohort.root / "cohort" / "froc" / "gone").mkdir()
    summarize_it(cohort)
    assert content() == first
    assert [p.name for p in (cohort.root / "cohort" / "froc").iterdir()] == ["lungs"]


def test_without_any_nodule_there_is_no_curve(cohort):
    cohort.samples = {name: cohort.samples[name] for name in "cd"}
    text = summarize_it(cohort)
    assert "FROC" not in text
    assert list((cohort.root / "cohort" / "froc").iterdir()) == []


def test_a_missing_table_names_the_sample(cohort):
    (cohort.root / "b" / "detections.json").unlink()
    with pytest.raises(StoreError, match=r"detections\.json is missing") as caught:
        summarize_it(cohort)
    assert caught.value.__notes__ == ["in sample 'b'"]
