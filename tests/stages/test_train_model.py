"""Training ends with a model folder, the same whether it was interrupted or not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_training
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_sample import infer, tiny_recipe
from tiny_training import training_sample

from parafovea.errors import ModelError, TrainingError
from parafovea.models.folder import load_model
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages import train_model as stage
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored
from parafovea.training.module import FusionTask
from parafovea.training.samples import TrainingSample

# Lightning itself calls what torch has deprecated; nothing of this package does.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`"),
    # A resumed epoch that had ended already ends once more, without scores.
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class KilledError(RuntimeError):
    """Stands for a job that ends before its work does."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let a training within end at a step, before its time."""
    plain = FusionTask.training_step

    def killed(self: FusionTask, windows: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == step:
            raise KilledError
        return plain(self, windows, batch_index)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(FusionTask, "training_step", killed)
        yield


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the recipe of the 3D samples here."""
    return tiny_recipe(window=(16, 16, 16))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> TrainingSample:
    """Return a sample of (20, 24, 40) voxels with context."""
    return training_sample(tmp_path_factory.mktemp("training") / "train", recipe, (20, 24, 40))


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "computes_bfloat16", lambda device: False)


def train(folder: Path, sample: TrainingSample, recipe: Recipe, **changes: Any) -> Path:
    values = {"steps": 6, "validate_every": 2, "batch_size": 2, "seed": 1, **changes}
    names = {"samples": (sample.name,), "validation": (sample.name,)}
    settings = TrainingSettings(recipe=recipe, **names, **values)  # type: ignore[arg-type]
    return tiny_training.train(folder, [sample], [sample], settings)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, sample: TrainingSample, recipe: Recipe
) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "computes_bfloat16", lambda device: False)
        return train(tmp_path_factory.mktemp("undisturbed"), sample, recipe)


def test_training_writes_a_model_folder_that_predicts(
    tmp_path: Path, undisturbed: Path, sample: TrainingSample
) -> None:
    assert set(content(undisturbed)) == {
        "model.safetensors",
        "model.json",
        "history.tsv",
        "loss.png",
    }
    spec, _ = load_model(undisturbed)
    assert (spec.input_channels, spec.context_channels) == (3, 2)
    assert spec.training["samples"] == ["train"]
    assert spec.training["settings"]["seed"] == 1
    assert 0 <= spec.training["validation_scores"]["iou.dark"] <= 1
    settings = InferenceSettings(precision="float32")
    infer(sample.inputs, undisturbed, tmp_path / "s.zarr", shard=1, settings=settings)
    blend_shards([tmp_path / "s.zarr"], tmp_path / "p.zarr")
    prediction = open_stored(tmp_path / "p.zarr").read()
    np.testing.assert_allclose(prediction.sum(axis=0), 1, atol=1e-4)


def test_the_history_has_a_row_for_each_validation_and_no_folder_is_left(undisturbed: Path) -> None:
    history = pd.read_csv(undisturbed / "history.tsv", sep="\t")
    assert history["step"].tolist() == [2, 4, 6]
    assert list(history.columns) == ["step", "loss", "validation_iou", "iou.dark", "iou.bright"]
    assert [path.name for path in undisturbed.parent.iterdir()] == ["model"]
    assert str(undisturbed.parent) not in (undisturbed / "model.json").read_text()


def test_a_training_that_diverges_ends_with_an_error_and_no_model(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FusionTask._scores

    def overflowing(self: FusionTask, inputs: Any, conditions: Any) -> torch.Tensor:
        return plain(self, inputs, conditions) * (torch.inf if self.global_step == 3 else 1)

    monkeypatch.setattr(FusionTask, "_scores", overflowing)
    with pytest.raises(TrainingError, match=r"loss is nan at step 4 of 6.*learning_rate"):
        train(tmp_path, sample, recipe)
    assert not (tmp_path / "model").exists()


def test_scores_of_validation_that_are_not_finite_end_the_training(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FusionTask._scores

    def overflowing(self: FusionTask, inputs: Any, conditions: Any) -> torch.Tensor:
        return plain(self, inputs, conditions) * (1 if self.training else torch.nan)

    monkeypatch.setattr(FusionTask, "_scores", overflowing)
    with pytest.raises(TrainingError, match=r"scores of the window .* are not finite.*diverged"):
        train(tmp_path, sample, recipe)
    assert not (tmp_path / "model").exists()


def test_a_slurm_job_of_several_tasks_trains_one_model(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"NTASKS": "2", "JOB_NAME": "train", "JOB_ID": "7", "PROCID": "1", "LOCALID": "1"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert (train(tmp_path, sample, recipe, steps=2) / "model.safetensors").exists()


@pytest.mark.parametrize("step", [3, 4])
def test_interrupted_and_run_again_ends_with_the_same_bytes(
    tmp_path: Path,
    undisturbed: Path,
    sample: TrainingSample,
    recipe: Recipe,
    step: int,
) -> None:
    with killed_at(step):
        train(tmp_path, sample, recipe)
    assert not (tmp_path / "model").exists()
    resumed = content(train(tmp_path, sample, recipe))
    wanted = content(undisturbed)
    assert resumed["history.tsv"].decode() == wanted["history.tsv"].decode()
    assert resumed == wanted


def test_neighbours_and_averaged_weights_are_trained_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = {"name": "raw", "arguments": {"neighbours": 1}}
    recipe = tiny_recipe(dimensions=2, context=False, raw_input=False, backbone=backbone)
    sample = training_sample(tmp_path / "train", recipe, (4, 40, 48))
    augmentation = {
        "rotate": True,
        "elastic": 1,
        "gamma": 0.2,
        "noise": 0.05,
        "blur": 1,
        "missing_planes": 0.5,
    }
    changes = {"averaging": 0.9, "augmentation": augmentation}
    plain = FusionTask.training_step
    ends: list[dict[str, torch.Tensor]] = []

    def watched(self: FusionTask, windows: Any, batch_index: int) -> torch.Tensor:
        ends.append({name: v.clone() for name, v in self.network.state_dict().items()})
        return plain(self, windows, batch_index)

    monkeypatch.setattr(FusionTask, "training_step", watched)
    whole = train(tmp_path / "whole", sample, recipe, **changes)
    spec, network = load_model(whole)
    assert spec.input_channels == 3
    seen = [weights["final_conv.weight"] for weights in ends]
    assert not any(torch.equal(network.final_conv.weight, weight) for weight in seen)

    monkeypatch.setattr(FusionTask, "training_step", plain)
    with killed_at(3):
        train(tmp_path / "parts", sample, recipe, **changes)
    assert content(train(tmp_path / "parts", sample, recipe, **changes)) == content(whole)


def test_killed_between_its_two_checkpoints_it_still_ends_with_the_best_weights(
    tmp_path: Path,
    sample: TrainingSample,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = ModelCheckpoint._save_last_checkpoint

    def killed(self: ModelCheckpoint, *args: Any) -> None:
        raise KilledError

    monkeypatch.setattr(ModelCheckpoint, "_save_last_checkpoint", killed)
    with pytest.raises(KilledError):
        train(tmp_path, sample, recipe, steps=20, validate_every=4)
    monkeypatch.setattr(ModelCheckpoint, "_save_last_checkpoint", plain)
    model = train(tmp_path, sample, recipe, steps=20, validate_every=4)
    history = pd.read_csv(model / "history.tsv", sep="\t")
    best = int(history["step"][history["validation_iou"].idxmax()])
    assert best > 4, "the first checkpoint is the best: this tells nothing"
    assert load_model(model)[0].training["best_step"] == best


def test_terminated_it_fails_and_goes_on_later(
    tmp_path: Path,
    undisturbed: Path,
    sample: TrainingSample,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = FusionTask.training_step

    def terminated(self: FusionTask, windows: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, windows, batch_index)

    monkeypatch.setattr(FusionTask, "training_step", terminated)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, sample, recipe)
    assert ended.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "model").exists()
    monkeypatch.setattr(FusionTask, "training_step", plain)
    assert content(train(tmp_path, sample, recipe)) == content(undisturbed)


def test_a_checkpoint_of_another_training_is_not_resumed(
    tmp_path: Path,
    sample: TrainingSample,
    recipe: Recipe,
    undisturbed: Path,
) -> None:
    with killed_at(3):
        train(tmp_path, sample, recipe, learning_rate=0.5)
    assert content(train(tmp_path, sample, recipe)) == content(undisturbed)


def test_a_flat_network_learns_an_easy_problem(
    tmp_path: Path,
) -> None:
    recipe = tiny_recipe(dimensions=2)
    sample = training_sample(tmp_path / "sample", recipe, (4, 40, 48))
    model = train(
        tmp_path, sample, recipe, steps=60, validate_every=20, learning_rate=2e-2, batch_size=4
    )
    history = pd.read_csv(model / "history.tsv", sep="\t")
    assert history["loss"].iloc[-1] < 0.75 * history["loss"].iloc[0]
    assert history["validation_iou"].iloc[-1] > 0.5
    scores = json.loads((model / "model.json").read_text())["training"]["validation_scores"]
    assert scores["iou.overall"] > 0.5
    assert load_model(model)[1].dimensions == 2


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder)[1].state_dict()


def test_a_training_starts_from_the_weights_of_another_model(
    tmp_path: Path, undisturbed: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    # one step, so small that the weights remain those of the first model
    short = {"start": str(undisturbed), "steps": 1, "validate_every": 1, "learning_rate": 1e-9}
    folder = train(tmp_path, sample, recipe, **short)
    first, found = weights(undisturbed), weights(folder)
    for name in (n for n in first if n.endswith("weight")):
        torch.testing.assert_close(found[name], first[name], rtol=1e-3, atol=1e-4)
    spec, before = load_model(folder)[0], load_model(undisturbed)[0]
    assert spec.training["start"] == {
        "name": "tiny",
        "weights_sha256": before.weights_sha256,
    }


def test_for_other_classes_the_last_layer_is_new(
    tmp_path: Path,
    undisturbed: Path,
    sample: TrainingSample,
    recipe: Recipe,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = recipe.model_copy(update={"classes": ("nothing", "low", "high")})
    short = {"start": str(undisturbed), "steps": 1, "validate_every": 1, "learning_rate": 1e-9}
    short["seed"] = 2  # the same would draw the last layer that the first model began with
    with caplog.at_level("INFO"):
        folder = train(tmp_path, sample, other, **short)
    first, found = weights(undisturbed), weights(folder)
    torch.testing.assert_close(found["enc1.0.weight"], first["enc1.0.weight"], rtol=1e-3, atol=1e-4)
    assert (found["final_conv.weight"] - first["final_conv.weight"]).abs().max() > 0.01
    assert "the last layer is new, for nothing, low, high" in caplog.text


def test_a_start_with_another_network_is_refused(
    tmp_path: Path, undisturbed: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    network = recipe.network.model_copy(update={"base_channels": 8})
    other = recipe.model_copy(update={"network": network})
    with pytest.raises(ModelError, match=r"cannot start from .*: it has network.base_channels: "):
        train(tmp_path, sample, other, start=str(undisturbed))
    assert not (tmp_path / "model").exists()


def test_checkpoints_of_another_start_are_not_resumed(
    tmp_path: Path, undisturbed: Path, sample: TrainingSample, recipe: Recipe
) -> None:
    with killed_at(4):
        train(tmp_path, sample, recipe, start=str(undisturbed))
    (left,) = (tmp_path / "checkpoints").iterdir()
    again = train(tmp_path / "first", sample, recipe, seed=5)
    with killed_at(4):
        train(tmp_path, sample, recipe, start=str(again))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert left.is_dir()
