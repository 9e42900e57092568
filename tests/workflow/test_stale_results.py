"""Nothing old is taken for current, whoever made it, wherever it lies and whatever was killed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

import parafovea
from parafovea.config import read_project
from parafovea.drivers.one_process import run_chain
from parafovea.planning.staleness import Staleness

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
RESAMPLE = {"resample_volume", "extract_features", "extract_context"}
INFER = {"infer_shard", "blend_shards", "segment_objects"}
QUALITY = {"measure_quality", "render_report", "summarize_cohort"}


@pytest.fixture(scope="module")
def finished(make_runnable, snakemake, tmp_path_factory):
    """Finish a project whose source and truth are Zarr arrays; return its folder."""
    folder = make_runnable(tmp_path_factory.mktemp("project"))
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (20, 40, 36), np.uint8)
    for name, voxels in (("a", image), ("a_truth", (image > 200).astype(np.uint8))):
        array = zarr.create_array(
            folder.path / f"data/{name}.zarr", shape=image.shape, chunks=(20, 20, 18), dtype="u1"
        )
        array[:] = voxels
    folder.rows[0][2:4] = ["data/a.zarr", "data/a_truth.zarr"]
    folder.config["keep_features"] = True
    folder.write()
    status, text = snakemake(folder.path)
    assert status == 0, text
    return folder.path


@pytest.fixture
def copy(finished, tmp_path):
    """Return a copy of the project, times included, which a test may change."""
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


@pytest.fixture
def runs(planned):
    """Return a function that tells which rules a run in a folder would execute."""

    def ask(folder, *arguments):
        return {*planned(folder, *arguments)} - {"all"}

    return ask


def set_overlap(folder, overlap):
    file = folder / "config" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["tasks"]["cell"]["inference"] = {"window": None, "overlap": overlap}
    file.write_text(yaml.safe_dump(config))


def rewritten(array, value):
    """Change a voxel of a Zarr array so that no time of its folder and its files tells."""
    times = {path: path.stat() for path in (array, *array.rglob("*"))}
    zarr.open_array(array, mode="r+")[3, 3, 3] = value
    for path, status in times.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_results_without_snakemakes_notes_are_current_until_something_changes(copy, runs):
    shutil.rmtree(copy / ".snakemake")
    assert runs(copy) == set()
    set_overlap(copy, 0.25)
    assert runs(copy) == INFER | QUALITY


def test_a_copied_project_has_nothing_to_run(finished, tmp_path, runs):
    folder = shutil.copytree(finished, tmp_path / "copy", copy_function=shutil.copyfile)
    # in another order, so that results are older than what they were made from
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    assert runs(folder) == set()


def test_a_setting_and_back_again_leaves_nothing_to_run(copy, runs):
    set_overlap(copy, 0.25)
    assert runs(copy) != set()
    set_overlap(copy, "auto")
    assert runs(copy) == set()


@pytest.mark.parametrize("gone", ["prediction.ome.zarr", "volume.ome.zarr", "objects.tsv"])
def test_a_job_that_died_after_a_change_is_not_forgotten(copy, runs, gone):
    """Snakemake removes what a failed job would have made, and notes its new settings."""
    set_overlap(copy, 0.25)
    result = copy / "results" / "a" / gone
    if result.is_dir():
        shutil.rmtree(result)
    else:
        result.unlink()
    assert runs(copy) >= INFER | QUALITY
    set_overlap(copy, "auto")
    assert runs(copy) != set()


def test_a_killed_job_is_not_current_under_its_old_settings(copy, runs):
    """A result that appeared before its record was written is none of either settings."""
    (copy / "results/a/prediction.ome.zarr/.made.json").unlink()
    assert "blend_shards" in runs(copy)


def test_what_was_predicted_without_a_sheet_is_never_taken_for_a_samples_own(copy, monkeypatch):
    """Once the report of another scan was current, by the record of the file that it replaced."""
    monkeypatch.chdir(copy)
    shutil.copytree("data/a.zarr", "data/other.zarr")
    zarr.open_array("data/other.zarr", mode="r+")[:10] = 0
    said = "spacing=16,16,16 unit=nanometer"
    parafovea.predict("data/other.zarr", task="cell", output="results/a", metadata=said)
    staleness = Staleness(read_project(copy / "config/config.yaml"), scripts=ROOT / "scripts")
    found = staleness.statuses(staleness.jobs("a"))
    assert set(found.values()) <= {"missing", "stale"}


def test_what_one_process_made_is_what_the_workflow_would_make(copy, runs, monkeypatch):
    monkeypatch.chdir(copy)
    shutil.rmtree(copy / "results")
    shutil.rmtree(copy / ".snakemake")
    project = read_project(copy / "config/config.yaml")
    begun = []
    run_chain(project, "a", Staleness(project, scripts=ROOT / "scripts"), announce=begun.append)
    assert len(begun) == 8
    assert runs(copy) == {"summarize_cohort"}
    set_overlap(copy, 0.25)
    assert runs(copy) == INFER | QUALITY
    set_overlap(copy, "auto")
    begun.clear()
    run_chain(project, "a", Staleness(project, scripts=ROOT / "scripts"), announce=begun.append)
    assert begun == []


def test_what_the_workflow_made_is_left_by_one_process(copy, monkeypatch):
    monkeypatch.chdir(copy)
    (copy / "results/a/report.html").unlink()
    project = read_project(copy / "config/config.yaml")
    begun = []
    run_chain(project, "a", Staleness(project, scripts=ROOT / "scripts"), announce=begun.append)
    assert begun == ["render_report"]


def test_a_source_or_a_truth_that_is_edited_in_place_is_seen(copy, runs):
    rewritten(copy / "data" / "a_truth.zarr", 1)
    assert runs(copy) == QUALITY
    rewritten(copy / "data" / "a.zarr", 7)
    assert runs(copy) == RESAMPLE | INFER | QUALITY
    attributes = copy / "data" / "a.zarr" / "zarr.json"
    attributes.write_text(attributes.read_text().replace("}", " }", 1))
    assert runs(copy) == RESAMPLE | INFER | QUALITY


def test_every_result_that_is_deleted_is_made_again(copy, runs):
    kept = {"features.zarr", "context.zarr", "shards", "views", ".made"}
    results = [path for path in (copy / "results/a").iterdir() if path.name not in kept]
    results += [copy / "results/cohort/quality.tsv", copy / "results/cohort/quality.png"]
    assert len(results) > 9
    for path in results:
        aside = path.rename(copy / "aside")
        assert runs(copy) != set(), path
        aside.rename(path)
    assert runs(copy) == set()


def test_only_what_is_asked_for_runs(copy, runs):
    set_overlap(copy, 0.25)
    assert runs(copy, "results/a/volume.ome.zarr") == set()
    assert runs(copy, "results/a/prediction.ome.zarr") == {"infer_shard", "blend_shards"}


def test_another_clone_sees_whose_results_they_are(copy, tmp_path, runs):
    """Two clones with different settings share a folder of results."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config", "data", "models"):
        shutil.copytree(copy / name, other / name)
    (other / "results").symlink_to(copy / "results")
    assert runs(other) == set()
    set_overlap(other, 0.25)
    assert runs(other) == INFER | QUALITY
