"""Folders of tiles among all samples."""

import shutil

import pandas as pd
import pytest
from report_results import render_sample, write_results
from test_render_tiles import measured, render
from tile_results import SEGMENTED

from parafovea.report.cohort import MOST_PANELS, headline_metrics, other_metrics
from parafovea.report.sample_results import Metric
from parafovea.settings.quality import Limit
from parafovea.stages.summarize_cohort import summarize_cohort

#: By sample: its task, what gathers its part of the page, and which table it has.
SAMPLES = {
    "iowa": ("optical", "parafovea.report.tiles.refined_report:cohort_view", "tiles"),
    "cell": ("em", "parafovea.report.segmentation.sample_view:cohort_view", "objects"),
    "amazon": ("cover", "parafovea.report.tiles.segmented_report:cohort_view", "tiles"),
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
        name: {"task": task, "folder": str(folders[name]), "page": page, table: True}
        for name, (task, page, table) in SAMPLES.items()
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
def summarized(cohort, tmp_path_factory):
    return summarize(cohort, tmp_path_factory.mktemp("summarized"))


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
    assert "tiles or objects</th>" in text


def test_each_kind_has_its_own_section_with_its_figures(summarized):
    _, text = summarized
    sections = text.split('<details class="sample"')[1:]
    assert [part.count("data:image/png;base64,") for part in sections] == [3, 3, 3]
    assert "3 of 4 tiles refined, 1 quarantined" in sections[0]
    assert "Largest objects" in sections[1]
    assert "3 of 4 tiles segmented, 1 quarantined" in sections[2]
    assert [part.count("Worst tiles") for part in sections] == [1, 0, 1]


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
    assert content(summarize((moved, root), tmp_path / "b")[0]) == first


class View:
    """A sample as far as headlines look at it."""

    counted, classes = "Tiles", ()

    def __init__(self, names, limited=()):
        self.metrics = tuple(
            Metric(name, 1.0, 0.0 if name in limited else None, None, None) for name in names
        )


def test_tiles_have_their_panels_beside_many_limits_of_other_kinds():
    many = [f"limit.{i}" for i in range(20)]
    wanted = ("preservation.ndvi_rmse", "preservation.edge_correlation", "gain.psnr")
    found = headline_metrics([View(many, many), View([*wanted, "accuracy.psnr"])])
    assert len(found) == MOST_PANELS
    assert set(wanted) < set(found)
    assert found[:6] == tuple(many[:6])


def test_metrics_that_are_not_shown_stand_in_tables_of_a_few_samples_each():
    views = [View(["a", "b"])] * 6 + [View(["b", "c"])]
    groups = other_metrics(views, ["b"])
    assert [(len(group), names) for group, names in groups] == [(6, ("a",)), (1, ("c",))]
    assert other_metrics(views, ["a", "b", "c"]) == ()


def test_no_metric_is_lost_from_the_page(summarized):
    outputs, text = summarized
    table = text.partition('id="table"')[2].partition("</section>")[0].replace("<wbr>", "")
    names = pd.read_csv(outputs["quality"], sep="\t").columns[6:]
    assert [name for name in names if f">{name}</th>" not in table] == []
