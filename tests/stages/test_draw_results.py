"""Stage draw_results: figures of samples with a truth, each with the table that it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parafovea.errors import StoreError
from parafovea.quality.detections.detector_score import evaluate_detections
from parafovea.quality.detections.tables import read_candidates, read_findings
from parafovea.report.detections.froc_plot import found_by_diameter
from parafovea.report.measured_figures import draw_tables
from parafovea.runtime.shipped_files import PUBLICATION, shipped
from parafovea.stages.draw_results import draw_results

STYLE = shipped(PUBLICATION)
SUFFIXES = ("pdf", "png", "svg", "tsv")

#: Metrics of a tile that figures by month show.
METRICS = ("rmse", "psnr", "ndvi_rmse", "edge_correlation")


def segmented(folder: Path, mitochondrion: float | None) -> None:
    folder.mkdir()
    overlaps = {"overall": 0.7, "background": 0.9, "mitochondrion": mitochondrion, "nucleus": 0.8}
    (folder / "quality.json").write_text(json.dumps({"metrics": {"iou": overlaps}}))


def detected(folder: Path, seed: int) -> None:
    """Write a scan with nodules 40 mm apart: hits on some of them, and marks elsewhere."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    nodules, marks = [], []
    for place in range(8):
        centre = [40.0 * place, 0.0, 10.0 * seed]
        nodules.append({"coordinates": centre, "diameter_mm": 4.5 + 2.7 * place})
        marks.append(centre if random.random() < 0.7 else [40.0 * place, 300.0, 0.0])
    detections = [
        {
            "coordinates": centre,
            "coordinates_voxel": [0, 0, 0],
            "diameter_mm": 6.0,
            "confidence": round(float(random.uniform(0.2, 0.95)), 6),
            "properties": {
                "volume_mm3": 1.0,
                "mean_intensity": 0.0,
                "std_intensity": 0.0,
                "sphericity": 1.0,
                "longest_axial_diameter_mm": 6.0,
                "lung_border_distance_mm": 5.0,
            },
        }
        for centre in marks
    ]
    detections.sort(key=lambda each: -each["confidence"])
    detections = [{**each, "id": number} for number, each in enumerate(detections)]
    document = {
        "scan_id": folder.name,
        "model": "m",
        "timestamp": "1970-01-01T00:00:00Z",
        "metadata": {"spacing": [1, 1, 1], "shape": [9, 9, 9]},
        "detections": detections,
        "summary": {"num_detections": len(detections)},
    }
    (folder / "detections.json").write_text(json.dumps(document))
    (folder / "quality.json").write_text(json.dumps({"metrics": {}, "nodules": nodules}))


def refined(folder: Path, shift: float, *, truth: bool = True) -> None:
    folder.mkdir()
    months = [1, 1, 4, 12]
    columns: dict[str, Any] = {"name": [f"t{n}" for n in range(4)], "month": months}
    for place, metric in enumerate(METRICS):
        for part, more in (("accuracy_input", 0.0), ("accuracy", shift)):
            values = [round(0.1 * (place + 1) + 0.01 * n + more, 6) for n in range(4)]
            columns[f"{part}.{metric}"] = values if truth else [""] * 4
    pd.DataFrame(columns).to_csv(folder / "tile_quality.tsv", sep="\t", index=False)


def sample(folder: Path, task: str, tiles: list[str] | None = None) -> dict[str, Any]:
    return {"task": task, "folder": str(folder), "tiles": tiles}


def drawn(tmp_path: Path, samples: dict[str, dict[str, Any]], name: str = "out") -> Path:
    draw_results(tmp_path / name, STYLE, samples=samples)
    return tmp_path / name


def test_iou_is_drawn_by_sample_without_the_background_and_undefined_values(tmp_path: Path) -> None:
    segmented(tmp_path / "a", 0.6)
    segmented(tmp_path / "b", None)
    samples = {name: sample(tmp_path / name, "cell") for name in "ab"}
    out = drawn(tmp_path, samples)
    assert sorted(path.name for path in out.iterdir()) == [f"iou_cell.{each}" for each in SUFFIXES]
    table = pd.read_csv(out / "iou_cell.tsv", sep="\t")
    assert table.values.tolist() == [
        ["a", "mitochondrion", 0.6],
        ["a", "nucleus", 0.8],
        ["b", "nucleus", 0.8],
    ]
    # the table has all of the figure
    again = tmp_path / "again.png"
    draw_tables("overlaps", [out / "iou_cell.tsv"], {again: ".png"}, style=STYLE, options={})
    assert again.read_bytes() == (out / "iou_cell.png").read_bytes()


def test_froc_and_its_tables_are_those_of_the_scans(tmp_path: Path) -> None:
    for seed in range(3):
        detected(tmp_path / f"scan{seed}", seed)
    samples = {f"scan{n}": sample(tmp_path / f"scan{n}", "nodules") for n in range(3)}
    out = drawn(tmp_path, samples)
    tables = [out / "froc_nodules_candidates.tsv", out / "froc_nodules_nodules.tsv"]
    again = tmp_path / "again.png"
    draw_tables("froc", tables, {again: ".png"}, style=STYLE, options={})
    assert again.read_bytes() == (out / "froc_nodules.png").read_bytes()
    score = evaluate_detections(read_candidates(tables[0]), read_findings(tables[1]))
    found = found_by_diameter(score)
    assert found["nodules"].sum() == 24
    # at the threshold of one false positive per scan
    nodules = pd.read_csv(tables[1], sep="\t")
    threshold = score.points.set_index("false_positives_per_scan").loc[1.0, "threshold"]
    seen = (nodules["hit"] & (nodules["probability"] >= threshold)).astype(int)
    assert found["found"].sum() == seen.sum()
    largest = nodules["diameter_mm"] >= 20
    assert found.iloc[-1].tolist() == ["≥ 20", int(largest.sum()), int(seen[largest].sum())]


def test_samples_that_refine_the_same_tiles_are_in_one_figure(tmp_path: Path) -> None:
    place = ["data/tiles", "data/truth"]
    for name, shift in (("one", 0.02), ("two", 0.05)):
        refined(tmp_path / name, shift)
    refined(tmp_path / "other", 0.01)
    refined(tmp_path / "blind", 0.01, truth=False)
    samples = {
        "one": sample(tmp_path / "one", "dates", place),
        "two": sample(tmp_path / "two", "optical", place),
        "other": sample(tmp_path / "other", "optical", ["data/more", "data/truth"]),
        "blind": sample(tmp_path / "blind", "optical", ["data/blind", "data/truth"]),
    }
    out = drawn(tmp_path, samples)
    names = {f"months_{name}.{each}" for name in ("one", "other") for each in SUFFIXES}
    assert {path.name for path in out.iterdir()} == names
    table = pd.read_csv(out / "months_one.tsv", sep="\t")
    gain = table["psnr.two"] - table["psnr.degraded"]
    assert gain.round(6).tolist() == [0.05] * 4
    assert list(table.columns)[2:5] == ["rmse.degraded", "rmse.one", "rmse.two"]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    segmented(tmp_path / "a", 0.6)
    detected(tmp_path / "scan", 1)
    refined(tmp_path / "tiles", 0.02)
    samples = {
        "a": sample(tmp_path / "a", "cell"),
        "scan": sample(tmp_path / "scan", "nodules"),
        "tiles": sample(tmp_path / "tiles", "optical", ["s", "t"]),
    }
    one, two = (drawn(tmp_path, samples, name) for name in ("one", "two"))
    assert len(list(one.iterdir())) == 13
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_a_damaged_result_leaves_nothing_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/quality.json").write_text("{")
    with pytest.raises(StoreError, match=r"a/quality\.json"):
        drawn(tmp_path, {"a": sample(tmp_path / "a", "cell")})
    assert not (tmp_path / "out").exists()
