"""Samples whose sources are other samples' results, planned by snakemake and run in one process."""

import pytest

from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.errors import SourceError, describe
from parafovea.planning.staleness import Staleness
from parafovea.storage.store import open_stored

pytestmark = pytest.mark.workflow


def in_a_row(folder):
    """Let `b` be made of `a` and `c` of `b`, on lines of another order."""
    rows = {row[0]: row for row in folder.rows}
    rows["b"][2:] = ["@a", "", ""]
    rows["c"] = ["c", "cell", "@b", "@a", ""]
    folder.rows[:] = [rows[name] for name in "cba"]
    folder.write()


def test_three_chained_volumes_are_one_plan_whatever_the_order_of_lines(project_folder, planned):
    in_a_row(project_folder)
    jobs = planned(project_folder.path)
    assert jobs["resample_volume"] == jobs["segment_objects"] == jobs["render_report"] == 3
    # a volume at the end of the chain needs the labels of those before it, and no report
    target = "results/c/volume.ome.zarr"
    assert planned(project_folder.path, target) == {
        "resample_volume": 3,
        "extract_features": 2,
        "extract_context": 2,
        "infer_shard": 2,
        "blend_shards": 2,
        "segment_objects": 2,
    }


def test_a_shared_cache_takes_what_is_made_of_results(
    make_runnable, snakemake, tmp_path, monkeypatch
):
    folder = make_runnable(tmp_path)
    folder.rows.insert(0, ["b", "cell", "@a", "", ""])
    folder.write()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    # planning looks for the features of `b` by a hash of all that `a`'s classes are made of
    status, text = snakemake(tmp_path, "--cache", "--dry-run", "results/b/features.zarr")
    assert status == 0, text
    assert "extract_features" in text


def test_a_chain_runs_in_one_process_from_its_first_sample(make_runnable, tmp_path, monkeypatch):
    folder = make_runnable(tmp_path)
    folder.rows[0][3] = ""
    folder.rows.insert(0, ["b", "cell", "@a", "", ""])
    folder.write()
    monkeypatch.chdir(tmp_path)
    project = read_project(tmp_path / "config/config.yaml")
    stages = []
    page = run_chain(project, "b", Staleness(project), announce=stages.append)
    assert page == tmp_path.relative_to(tmp_path) / "results/b/report.html"
    assert page.is_file()
    # of `a`, what `b` is made of
    assert stages.count("resample_volume") == 2
    assert stages.count("render_report") == 1
    # the volume of `b` lies where the plan says before anything is there
    volume = open_stored(tmp_path / "results/b/volume.ome.zarr")
    assert volume.grid.shape == project.grid("b").resampled(project.recipe("b").spacing).shape
    stages.clear()
    run_chain(project, "b", Staleness(project), announce=stages.append)
    assert stages == []
    (tmp_path / "data/a.tif").write_bytes(b"II")
    with pytest.raises(SourceError) as caught:
        run_chain(project, "b", Staleness(project))
    assert "in sample 'a', whose result 'b' needs" in describe(caught.value)
