"""The task that learns: its rebuilt volumes are the workflow's, its mirrorings undo themselves."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from tiny_sample import random_network, tiny_spec

from parafovea.inference import engine, sums
from parafovea.inference.settings import InferenceSettings
from parafovea.models.folder import load_model, save_model
from parafovea.models.network import FusedUNet
from parafovea.models.spec import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.store import open_stored
from parafovea.training.module import FusionTask, _turned
from parafovea.training.samples import OpenSample, TrainingSample, VolumeWindows
from parafovea.training.settings import TrainingSettings


# Lightning itself calls what torch has deprecated, and advises worker processes.
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_a_rebuilt_volume_is_what_the_workflow_predicts(
    tmp_path: Path, sample: TrainingSample, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many columns and tiles, as large volumes have: windows have to come in the order of the sums.
    monkeypatch.setattr(sums, "TILE", (4, 8, 8))
    monkeypatch.setattr(engine, "COLUMN", (1, 1))
    fresh = tiny_spec(recipe)
    save_model(tmp_path / "model", fresh, random_network(FusedUNet.from_spec(fresh)))
    spec, network = load_model(tmp_path / "model")
    inference = InferenceSettings(precision="float32")
    infer_shard(sample.inputs, tmp_path / "model", tmp_path / "s.zarr", shard=1, settings=inference)
    blend_shards([tmp_path / "s.zarr"], tmp_path / "workflow.zarr")

    settings = TrainingSettings(recipe=recipe, samples=("a",), validation=("a",), steps=1)
    task = FusionTask(network, spec, settings)
    opened = OpenSample(sample, recipe)
    task.rebuild([opened], [tmp_path / "t.zarr"], inference)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        precision="32-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    dataset = VolumeWindows([opened], spec.window, overlap=inference.overlap)
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, collate_fn=list)
    trainer.test(task, loader, verbose=False)
    blend_shards([tmp_path / "t.zarr"], tmp_path / "training.zarr")

    workflow = open_stored(tmp_path / "workflow.zarr")
    training = open_stored(tmp_path / "training.zarr")
    assert training.grid == workflow.grid
    np.testing.assert_allclose(training.read(), workflow.read(), atol=1e-6 + 2.0**-18)
    assert workflow.read().std() > 0.01


@pytest.mark.parametrize("turns", [["z"], ["y"], ["x"], ["yx"], ["z", "y", "x"]])
def test_mirroring_twice_changes_nothing_and_once_what_it_names(turns: list[str]) -> None:
    values = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    assert torch.equal(_turned(_turned(values, turns), turns), values)
    wanted = values.numpy()
    for turn in turns:
        axis = 1 + "zyx".find(turn)
        wanted = wanted.swapaxes(2, 3) if turn == "yx" else np.flip(wanted, axis)
    np.testing.assert_array_equal(_turned(values, turns).numpy(), wanted)


def test_jitter_changes_channels_by_its_share_and_only_where_it_is_drawn(recipe: Recipe) -> None:
    settings = TrainingSettings(recipe=recipe, samples=("a",), validation=("b",), jitter=0.1)
    task = FusionTask(FusedUNet.from_spec(tiny_spec(recipe)), tiny_spec(recipe), settings)
    values = np.random.default_rng(0).normal(3, 2, (200, 4, 5, 6)).astype(np.float32)
    plain = task._channels(values, None)
    torch.testing.assert_close(plain, torch.from_numpy(values))
    moved = task._channels(values, np.random.default_rng(1))
    again = task._channels(values, np.random.default_rng(1))
    assert torch.equal(moved, again)
    gains = moved.std(dim=(1, 2, 3)) / plain.std(dim=(1, 2, 3))
    assert abs(gains.mean() - 1) < 0.03
    assert 0.07 < gains.std() < 0.13
