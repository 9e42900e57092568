"""Samples that fail while a run is planned: which, why, and which others with them."""

import gzip

import nibabel
import numpy as np
import pytest

from parafovea.chain.cohort_stages import READ
from parafovea.config.source_headers import header_problems
from parafovea.errors import SourceError
from parafovea.kinds.stages import stages
from parafovea.stages.report_failures import report_failures

FINISHED = [*READ]


@pytest.fixture
def project(project_folder, monkeypatch):
    """Return a function that reads the project, with changes."""
    monkeypatch.chdir(project_folder.path)
    return project_folder.read


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def test_a_header_that_cannot_be_read_fails_its_sample_alone(project, project_folder):
    cut(project_folder.path / "data/a.tif")
    found = project()
    assert list(found.failed) == ["a"]
    assert "data/a.tif is truncated" in found.failed["a"]
    assert found.planned == ("b",)
    assert found.predicted == ("a", "b")


def test_what_is_not_there_fails_its_sample_alone(project, project_folder):
    (project_folder.path / "data/a.tif").unlink()
    (project_folder.path / "data/b_truth.tif").unlink()
    project_folder.add("c")
    project_folder.add("d")
    project_folder.rows[3][4] = "about.json"
    found = project()
    assert list(found.failed) == ["a", "b", "d"]
    assert found.failed["a"].startswith("source: data/a.tif does not exist")
    assert found.failed["b"].startswith("truth: data/b_truth.tif does not exist")
    assert found.failed["d"].startswith("metadata: metadata file about.json does not exist")
    assert found.planned == ("c",)


def test_a_source_of_another_scale_or_without_one_fails(project, project_folder):
    image = nibabel.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.diag([1, 1, 2, 1]))
    nibabel.save(image, project_folder.path / "data/mm.nii.gz")
    project_folder.rows[0][2:] = ["data/mm.nii.gz", "", ""]
    project_folder.rows[1][4] = ""
    found = project()
    assert "too coarse" in found.failed["a"]
    assert "data/b.tif" in found.failed["b"]
    assert "spacing=" in found.failed["b"]


def test_a_sample_fails_with_the_one_whose_result_it_needs(project, project_folder):
    project_folder.rows += [["c", "cell", "@a", "", ""], ["d", "cell", "@c", "", ""]]
    cut(project_folder.path / "data/a.tif")
    found = project()
    assert list(found.failed) == ["a", "c", "d"]
    assert found.failed["d"] == "it needs the result of 'c', which cannot be run"


def test_a_sample_fails_with_the_training_of_its_model(project, project_folder, recipe):
    training = {"recipe": recipe, "samples": ["c"], "validation": ["d"]}
    project_folder.config["tasks"]["learned"] = {"model": "models/new", "training": training}
    for name in "cde":
        project_folder.add(name, task="learned")
    found = project()
    assert (found.trainable, found.planned) == (("models/new",), ("a", "b", "e"))
    cut(project_folder.path / "data/d.tif")
    found = project()
    assert found.trainable == ()
    assert found.failed["e"] == "it needs models/new, which learns from 'd'"
    assert found.planned == ("a", "b")


def test_a_source_that_is_gone_fails_no_sample_whose_results_are_finished(project, project_folder):
    resample, job = stages()["resample_volume"], {"sample": "a"}
    before = project()
    waits, arguments = resample.waits(before, job), resample.arguments(before, job)
    for name in FINISHED:
        (project_folder.path / "results/a" / name).mkdir(parents=True)
    for name in ("a", "b"):
        (project_folder.path / f"data/{name}.tif").unlink()
    found = project()
    assert list(found.failed) == ["b"]
    assert found.archived("a")
    # what would be made again is still known by its source
    assert resample.waits(found, job) == waits == ["data/a.tif"]
    assert resample.arguments(found, job) == arguments


def test_check_opens_truths_objects_and_tables_besides_sources(project, project_folder):
    data = project_folder.path / "data"
    cut(data / "a_truth.tif")
    (data / "objects.nii.gz").write_bytes(gzip.compress(bytes(400))[:-9])
    project_folder.rows[1][4] += " objects=data/objects.nii.gz"
    found = project()
    assert found.failed == {}
    wrong = header_problems(found, tuple(found.samples))
    assert "data/a_truth.tif" in wrong["a"]
    assert "data/objects.nii.gz" in wrong["b"]


def test_the_last_stage_of_a_run_with_failed_samples_always_fails(tmp_path):
    with pytest.raises(SourceError, match=r"2 samples could not be run:\n  a: x\n  b: y"):
        report_failures(tmp_path / "failures", failed=["a: x", "b: y"])
    assert not (tmp_path / "failures").exists()
