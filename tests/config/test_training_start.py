"""Trainings that start from the weights of another model, and learn from the same samples."""

from copy import deepcopy

import pytest

from parafovea.kinds.stages import stages
from parafovea.planning.staleness import Staleness


@pytest.fixture(autouse=True)
def _inside(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)


@pytest.fixture
def tasks(project_folder, recipe):
    """Return the config's tasks: `cell` trains models/new from the samples a and b."""
    found = project_folder.config["tasks"]
    training = {"recipe": deepcopy(recipe), "samples": ["a"], "validation": ["b"]}
    found["cell"] |= {"model": "models/new", "training": training}
    return found


@pytest.fixture
def two(tasks):
    """Let `cell` start from models/first, which another task trains from the same samples."""
    tasks["first"] = {"model": "models/first", "training": deepcopy(tasks["cell"]["training"])}
    tasks["cell"]["training"]["start"] = "models/first/"
    return tasks


def waits(project, model):
    return stages()["train_model"].waits(project, {"model": model})


def test_a_training_waits_for_both_files_of_the_model_that_it_starts_from(project_folder, tasks):
    tasks["cell"]["training"]["start"] = "models/cell"
    project = project_folder.read()
    files = waits(project, "models/new")
    assert files[:2] == ["models/cell/model.json", "models/cell/model.safetensors"]
    assert set(files[2:]) == {"data/a_truth.tif", "data/b_truth.tif"}


def test_a_model_that_is_trained_here_is_trained_first_without_samples_of_its_own(
    project_folder, two
):
    project = project_folder.read()
    assert project.trained == {"models/new": "cell", "models/first": "first"}
    assert waits(project, "models/new")[0] == "models/first"
    assert waits(project, "models/first")[0] == "data/a_truth.tif"
    jobs = [(job.stage.name, dict(job.wildcards)) for job in Staleness(project).jobs()]
    order = [wildcards["model"] for stage, wildcards in jobs if stage == "train_model"]
    assert order == ["models/first", "models/new"]
    # the samples' features are computed once
    assert len([stage for stage, _ in jobs if stage == "extract_features"]) == 2


def test_a_first_model_that_cannot_learn_keeps_the_second_from_it(project_folder, two):
    project_folder.add("c")
    two["first"]["training"]["samples"] = ["c"]
    path = project_folder.path / "data/c.tif"
    path.write_bytes(path.read_bytes()[:100])
    project_folder.add("d")
    project = project_folder.read()
    assert project.trainable == ()
    assert project.failed["d"] == "it needs models/new, which learns from 'c'"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"network": {"base_channels": 8, "max_channels": 8}}, "has network.base_channels: 4, but"),
        ({"raw_input": False}, "it has raw_input: true, but the recipe raw_input: false"),
        (
            {"context": {"spacing": [64, 64, 64], "backbone": {"name": "raw"}}},
            "it has context.backbone: {name: filterbank}, but the recipe context.backbone: {name: ",
        ),
    ],
)
def test_a_model_with_another_network_or_other_features_is_no_start(
    project_folder, tasks, change, expected
):
    training = tasks["cell"]["training"]
    training["recipe"] = {**training["recipe"], **change}
    training["start"] = "models/cell"
    message = project_folder.refusal()
    assert "tasks.cell.training.start: models/cell does not fit: it has" in message
    assert expected in message
    assert "change the recipe, or start from another model" in message


def test_other_classes_voxels_and_dropout_are_no_hindrance(project_folder, tasks):
    training = tasks["cell"]["training"]
    network = {**training["recipe"]["network"], "dropout": 0.3}
    training["recipe"] |= {"classes": ["nothing", "one"], "spacing": [8, 8, 8], "network": network}
    training["start"] = "models/cell"
    assert project_folder.read().training("models/new").start == "models/cell"


def test_a_start_that_is_not_there_is_named_with_its_key(project_folder, tasks):
    tasks["cell"]["training"]["start"] = "models/cel"
    message = project_folder.refusal()
    assert "config.yaml:" in message
    assert "tasks.cell.training.start: model folder models/cel does not exist" in message


def test_a_model_cannot_start_from_itself(project_folder, tasks):
    tasks["cell"]["training"]["start"] = "models/new"
    message = project_folder.refusal()
    assert "tasks.cell.training.start: models/new starts from models/new: start from" in message


def test_models_that_start_from_each_other_are_named(project_folder, two):
    two["first"]["training"]["start"] = "models/new"
    message = project_folder.refusal()
    assert "models/new starts from models/first starts from models/new" in message


def test_samples_of_another_task_need_the_same_inputs(project_folder, two):
    two["first"]["training"]["recipe"]["spacing"] = [8, 8, 8]
    message = project_folder.refusal()
    assert (
        "tasks.first.training.samples.0: sample 'a' belongs to task 'cell', whose recipe has"
        in (message)
    )
    assert "spacing: [16.0, 16.0, 16.0] instead of [8.0, 8.0, 8.0]: assign it to task" in message


def test_samples_of_a_task_that_trains_nothing_are_not_shared(project_folder, tasks):
    tasks["other"] = {"model": "models/cell"}
    project_folder.add("c", task="other")
    tasks["cell"]["training"]["samples"] = ["c"]
    assert (
        "sample 'c' belongs to task 'other': assign it to task 'cell'" in project_folder.refusal()
    )
