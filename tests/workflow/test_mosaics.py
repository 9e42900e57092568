"""A mosaic from the sheet to its page, planned by snakemake and run in one process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from mosaic_sample import reflectance, still_model, write_mosaic
from tiny_sample import tiny_refinement

from parafovea.config import read_project
from parafovea.drivers.one_process import run_sample
from parafovea.planning.forecast import forecasts
from parafovea.planning.requests import JobRequests

pytestmark = pytest.mark.workflow

STAGES = (
    "resample_volume",
    "extract_features",
    "extract_context",
    "infer_shard",
    "blend_shards",
    "export_mosaic",
    "measure_tiles",
    "render_tiles",
)


@pytest.fixture(scope="module")
def place(make_project_folder, tmp_path_factory):
    """Return the folder of a project whose only sample is a mosaic of 20 m pixels with truth."""
    folder = make_project_folder(tmp_path_factory.mktemp("mosaics"))
    values = reflectance(70, 80)
    values[:, :10, :20] = np.nan
    write_mosaic(folder.path / "data/truth", values + 0.03, place="20 m", nodata=np.nan)
    write_mosaic(folder.path / "data", values, place="20 m", nodata=np.nan)
    still_model(folder.path / "models/optical", tiny_refinement(), bias=0.02)
    folder.config["tasks"] = {
        "optical": {
            "kind": "refinement",
            "model": "models/optical",
            "inference": {"precision": "float32", "batch_size": 4},
        }
    }
    truth = "data/truth/mosaic.tif"
    folder.rows[:] = [["iowa", "optical", "data/mosaic.tif", truth, "month=7"]]
    folder.write()
    return folder.path


def test_a_mosaic_is_planned_as_a_volume_that_ends_in_an_image(place, planned):
    assert planned(place) == dict.fromkeys((*STAGES, "summarize_cohort", "all"), 1)


def test_the_size_of_a_mosaic_is_known_before_its_jobs(place, monkeypatch):
    monkeypatch.chdir(place)
    project = read_project(Path("config/config.yaml"))
    assert project.grid("iowa").shape == (1, 70, 80)
    assert project.grid("iowa").spacing[1:] == (20, 20)
    (found,) = forecasts(project, project.predicted, {})
    assert [each.stage.name for each in found.stages] == list(STAGES)
    stored = {each.stage.name: each.disk for each in found.stages}
    # with two levels, each of half the side
    assert stored["resample_volume"] == 4 * 4 * (140 * 160 + 70 * 80 + 35 * 40)
    requests = JobRequests(project, planning=True)
    for stage in ("export_mosaic", "measure_tiles", "render_tiles"):
        assert requests.of(stage, {"sample": "iowa"}, 1).mem_mb < 3000


def test_a_mosaic_runs_in_one_process_from_its_source_to_its_page(place, monkeypatch):
    monkeypatch.chdir(place)
    told = []
    project = read_project(Path("config/config.yaml"))
    page = run_sample(project, "iowa", announce=told.append)
    assert told == list(STAGES)
    with rasterio.open("results/iowa/refined.tif") as dataset:
        found = dataset.read()
    values = reflectance(70, 80)
    np.testing.assert_allclose(found[:, 10:], values[:, 10:] + 0.02, atol=1e-5)
    assert np.isnan(found[:, :10, :20]).all()
    table = pd.read_csv("results/iowa/quality.tsv", sep="\t", index_col="metric")["value"]
    assert table["accuracy.rmse"] == pytest.approx(0.01, abs=1e-5)
    assert table["preservation.rmse"] == pytest.approx(0.02, abs=1e-5)
    assert table["tiles.in"] == table["tiles.with_truth"] == 1
    text = page.read_text(encoding="utf-8")
    assert "r0000_c0000" in text
    assert "export_mosaic" in text
