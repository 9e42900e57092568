"""The task that learns: its rebuilt volumes are the workflow's."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from tiny_sample import infer, random_network, tiny_recipe, tiny_spec
from tiny_training import opened

from parafovea.inference import sums
from parafovea.inference import window_loop as engine
from parafovea.models.folder import load_model, save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.quality.truth_on_grid import IGNORED
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored
from parafovea.training.module import FusionTask
from parafovea.training.objectives.segmentation import SegmentationObjective
from parafovea.training.samples import TrainingSample
from parafovea.training.training_windows import VolumeWindows


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
    inference = InferenceSettings(overlap=0.5, precision="float32")
    infer(sample.inputs, tmp_path / "model", tmp_path / "s.zarr", shard=1, settings=inference)
    blend_shards([tmp_path / "s.zarr"], tmp_path / "workflow.zarr")

    settings = TrainingSettings(recipe=recipe, samples=("a",), validation=("a",), steps=1)
    task = FusionTask(network, spec, settings, SegmentationObjective(spec, {}))
    loaded = opened(sample, recipe)
    task.rebuild([loaded], [tmp_path / "t.zarr"], inference)
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
    dataset = VolumeWindows([loaded], spec.window, overlap=inference.overlap)
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, collate_fn=list)
    trainer.test(task, loader, verbose=False)
    blend_shards([tmp_path / "t.zarr"], tmp_path / "training.zarr")

    workflow = open_stored(tmp_path / "workflow.zarr")
    training = open_stored(tmp_path / "training.zarr")
    assert training.grid == workflow.grid
    np.testing.assert_allclose(training.read(), workflow.read(), atol=1e-6 + 2.0**-18)
    assert workflow.read().std() > 0.01


def test_voxels_that_nobody_has_labelled_teach_nothing():
    spec = tiny_spec(tiny_recipe())
    objective = SegmentationObjective(spec, {})
    rng = torch.Generator().manual_seed(0)
    classes = len(spec.classes)
    logits = torch.randn((1, classes, 4, 5, 6), generator=rng, requires_grad=True)
    targets = torch.randint(0, classes, (1, 1, 4, 5, 6), generator=rng)
    targets[:, :, :2] = IGNORED
    loss = objective.loss(logits, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert float(logits.grad[:, :, :2].abs().max()) == 0
    assert float(logits.grad[:, :, 2:].abs().min()) > 0
    other = torch.where(targets == IGNORED, 3 * logits.detach() - 1, logits.detach())
    assert torch.equal(objective.loss(other, targets), loss.detach())
