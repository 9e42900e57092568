"""Folders of tiles among all samples."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from report_results import render_sample, write_results
from test_render_tiles import measured, render
from tile_results import SEGMENTED

from parafovea.report.cohort import MOST_PANELS, headline_metrics
from parafovea.report.sample_results import Metric
from parafovea.settings.quality import Limit
from parafovea.stages.summarize_cohort import summarize_cohort

REPORT = "parafovea.report"

#: By sample: its task, kind, what gathers its part of the page, and which table it has.
SAMPLES = {
    "iowa": ("optical", "refinement", f"{REPORT}.tiles.refined_report:cohort_view", "tiles"),
    "cell": ("em", "segmentation", f"{REPORT}.segmentation.sample_view:cohort_view", "objects"),
    "amazon": ("cover", "segmentation", f"{REPORT}.tiles.segmented_report:cohort_view", "tiles"),
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Return a refined and a segmented folder of tiles and a volume, and where to write."""
    root = tmp_path_factory.mktemp("cohort")
    limits = {"preservation.ndvi_rmse": Limit(max=0.001)}
    iowa = measured(root / "iowa", count=3, limits=limits)
    render(iowa)
    amazon = measured(root / "amazon", how=SEGMENTED, count=3)
    render(amazon, SEGMENTED)
    cell = write_results(root / "cell", shape=(4, 24, 24))
    render_sample(cell, sample="cell", settings={"slices": 1})
    folders = {"iowa": iowa.ledger.parent, "cell": cell.folder, "amazon": amazon.ledger.parent}
    samples = {
        name: {
            "task": task,
            "kind": kind,
            "folder": str(folders[name]),
            "page": page,
            table: True,
        }
        for name, (task, kind, page, table) in SAMPLES.items()
    }
    return samples, root


def summarize(cohort, folder):
    samples, _ = cohort
    outputs = {
        "quality": folder / "quality.tsv",
        "objects": folder / "objects.tsv",
        "figure": folder / "quality.png",
        "html": folder / "report.html",
        "tiles": folder / "tiles.tsv",
    }
    summarize_cohort(**outputs, samples=samples)
    return outputs, outputs["html"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summarized(cohort):
    return summarize(cohort, cohort[1] / "all")


def test_tiles_of_all_folders_are_one_table_and_folders_have_no_objects(summarized):
    outputs, text = summarized
    tiles = pd.read_csv(outputs["tiles"], sep="\t")
    assert tiles["sample"].tolist() == ["iowa"] * 3 + ["amazon"] * 3
    assert tiles["accuracy.psnr"].notna().tolist() == [True] * 2 + [False] * 4
    assert tiles["iou"].notna().tolist() == [False] * 3 + [True] * 2 + [False]
    objects = pd.read_csv(outputs["objects"], sep="\t")
    assert set(objects["sample"]) == {"cell"}
    quality = pd.read_csv(outputs["quality"], sep="\t", index_col="sample", dtype=str)
    assert quality["objects"].isna().tolist() == [True, False, True]
    assert float(quality.loc["iowa", "tiles.quarantined"]) == 1
    assert "objects or tiles</th>" in text


def test_each_kind_has_its_own_table(summarized):
    _, text = summarized
    groups = text.split('<section class="group">')[1:]
    assert [group.partition("</h2>")[0].partition("<h2>")[2] for group in groups] == [
        'Refinement · 1 sample <span class="chip">optical</span>',
        "Segmentation · 2 samples",
    ]
    assert [group.count("<tr data-kind=") for group in groups] == [1, 2]
    assert "NDVI" in groups[0]
    assert "NDVI" not in groups[1].partition("</table>")[0]
    assert "PSNR gain (dB)" in groups[0].replace("<wbr>", "")


def test_a_rerun_elsewhere_gives_the_same_bytes(cohort, summarized, tmp_path):
    def content(outputs):
        return [path.read_bytes() for path in outputs.values()]

    first = content(summarized[0])
    samples, root = cohort
    shutil.copytree(root, tmp_path / "moved")
    moved = {
        name: {**each, "folder": each["folder"].replace(str(root), str(tmp_path / "moved"))}
        for name, each in samples.items()
    }
    assert content(summarize((moved, root), tmp_path / "moved" / "all")[0]) == first


class View:
    """A sample as far as headlines look at it."""

    counted, classes = "Tiles", ()

    def __init__(self, names, limited=()):
        self.metrics = tuple(
            Metric(name, 1.0, 0.0 if name in limited else None, None, None) for name in names
        )


def test_tiles_have_their_panels_beside_many_limits():
    many = [f"limit.{i}" for i in range(20)]
    wanted = ("preservation.ndvi_rmse", "preservation.edge_correlation", "gain.psnr")
    found = headline_metrics([View(many, many), View([*wanted, "accuracy.psnr"])])
    assert len(found) == MOST_PANELS
    assert set(wanted) < set(found)
    assert found[:3] == tuple(many[:3])


def test_metrics_of_the_computation_come_last_and_limited_ones_are_never_crowded_out():
    names = ["coverage.uncovered_voxels", *(f"iou.{i}" for i in range(9))]
    view = View(names, ["coverage.uncovered_voxels"])
    view.counted = "Objects"
    view.classes = tuple(SimpleNamespace(name=str(i)) for i in range(9))
    found = headline_metrics([view])
    assert found == (*(f"iou.{i}" for i in range(5)), "coverage.uncovered_voxels")
