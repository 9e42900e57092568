import os

import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import StoreError
from parafovea.kinds.stages import steps
from parafovea.runtime.runs import Run
from parafovea.storage.layout import bytes_text, disk_use, matching, remove


@pytest.fixture
def results(project_folder, monkeypatch):
    """Return the results of the samples `a` and `b`, and work in the project's folder."""
    monkeypatch.chdir(project_folder.path)
    for sample in "ab":
        folder = project_folder.path / "results" / sample
        for name in ("features.zarr", "context.zarr", "views/flip_x/features.zarr", "figures"):
            (folder / name).mkdir(parents=True)
            (folder / name / "data").write_bytes(bytes(50_000))
        (folder / "report.html").write_text("<p>")
    return project_folder.path / "results"


def parafovea(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_a_stage_is_removed_for_all_samples_with_its_views_and_nothing_else(results):
    done = parafovea("clean", "--stage", "features")
    assert done.exit_code == 0, done.stderr
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        f"results/{sample}/{name}"
        for sample in "ab"
        for name in ("features.zarr", "views/flip_x/features.zarr")
    ]
    assert lines[-1].startswith("4 results removed, ")
    assert lines[-1].endswith(" kB freed.")
    left = {path.name for path in (results / "a").iterdir()}
    assert left == {"context.zarr", "views", "figures", "report.html"}


def test_one_sample_is_cleaned_and_the_others_stay(results):
    assert parafovea("clean", "--stage", "report", "--sample", "b").exit_code == 0
    assert (results / "a" / "figures" / "data").is_file()
    assert not (results / "b" / "figures").exists()
    assert not (results / "b" / "report.html").exists()


def test_a_dry_run_removes_nothing(results):
    done = parafovea("clean", "--stage", "context", "--dry-run")
    assert "2 results would be removed, " in done.output
    assert (results / "a" / "context.zarr" / "data").is_file()


def test_freed_bytes_are_those_on_the_disk(results):
    path = results / "a" / "context.zarr"
    before = disk_use(results)
    (removal,) = remove([path])
    assert removal.freed >= 50_000
    assert before - disk_use(results) == removal.freed


def test_what_a_killed_run_left_of_a_stage_goes_too(results):
    partial = results / "a" / ".features.zarr.partial-12"
    partial.mkdir()
    parafovea("clean", "--stage", "features")
    assert not partial.exists()


def test_links_are_removed_and_not_followed(results, tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    (shared / "data").write_bytes(bytes(50_000))
    linked = results / "a" / "features.zarr"
    (linked / "data").unlink()
    (linked / "data").symlink_to(shared / "data")
    whole = results / "b" / "features.zarr"
    (whole / "data").unlink()
    whole.rmdir()
    whole.symlink_to(shared)
    views = results / "b" / "views"
    views.rename(shared / "views")
    views.symlink_to(shared / "views")
    done = parafovea("clean", "--stage", "features")
    assert done.exit_code == 0
    assert not linked.exists()
    assert not os.path.lexists(whole)
    assert (shared / "data").is_file()
    assert (shared / "views" / "flip_x" / "features.zarr" / "data").is_file()


def test_a_sample_that_is_a_link_is_left_alone(results, tmp_path_factory):
    away = tmp_path_factory.mktemp("away") / "a"
    (results / "a").rename(away)
    (results / "a").symlink_to(away)
    with pytest.raises(StoreError, match="is a link, and linked folders are not modified"):
        matching(results / "a", steps()["features"])
    done = parafovea("clean", "--stage", "features")
    assert done.exit_code == 1
    assert (away / "features.zarr" / "data").is_file()


def test_an_unknown_stage_or_sample_is_an_error(results):
    assert "did you mean 'features'" in parafovea("clean", "--stage", "feature").stderr
    done = parafovea("clean", "--stage", "features", "--sample", "../a")
    assert done.exit_code == 1
    assert "sample '../a' is not in config/samples.tsv" in done.stderr


def test_nothing_is_cleaned_while_a_run_is_at_work(results):
    run = Run()
    try:
        done = parafovea("clean", "--stage", "features")
        assert parafovea("clean", "--stage", "features", "--dry-run").exit_code == 0
    finally:
        run.close()
    assert done.exit_code == 1
    assert "the workflow is running in this folder" in done.stderr
    assert (results / "a" / "features.zarr").is_dir()


def test_bytes_are_told_in_words():
    assert [bytes_text(n) for n in (0, 999, 1400, 2_500_000, 10**9, 3 * 10**12)] == [
        *("0 B", "999 B", "1.4 kB", "2.5 MB", "1 GB", "3 TB"),
    ]
