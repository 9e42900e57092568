"""Stage train_model: trains a model on cached features."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from parafovea import __version__
from parafovea.kinds.reference import resolve
from parafovea.models.folder import save_model
from parafovea.models.model_json import read_spec
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.devices import choose_device, computes_bfloat16, keep_buffers
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec
from parafovea.settings.training import TrainingSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.storage.store import open_stored, replacing
from parafovea.training.first_weights import take_weights
from parafovea.training.module import FusionTask
from parafovea.training.monitoring import StepProgress, draw_curve
from parafovea.training.objectives.objective import Objective
from parafovea.training.samples import OpenSample, training_samples
from parafovea.training.training_windows import TrainingWindows, VolumeWindows

logger = logging.getLogger(__name__)

#: Overlap of windows, as a share of a window, for the prediction of whole validation volumes.
OVERLAP = 0.5

#: Settings that are elsewhere in `model.json`.
STATED_ELSEWHERE = frozenset({"recipe", "samples", "validation", "start"})


class TrainingData(L.LightningDataModule):
    """Batches of epochs of `validate_every` steps; a resumed run gets the windows of its epoch.

    Parameters
    ----------
    training : TrainingWindows
        Windows of the whole training, in order.
    validation : VolumeWindows
        Windows to score.
    settings : TrainingSettings
        Batch size and steps.
    """

    def __init__(
        self, training: TrainingWindows, validation: VolumeWindows, settings: TrainingSettings
    ) -> None:
        super().__init__()
        self.training = training
        self.validation = validation
        self.settings = settings

    def train_dataloader(self) -> Any:
        """Return the batches of the current epoch."""
        per_epoch = self.settings.validate_every * self.settings.batch_size
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        first = epoch * per_epoch
        part = range(first, min(first + per_epoch, len(self.training)))
        return _loader(torch.utils.data.Subset(self.training, part), self.settings.batch_size)

    def val_dataloader(self) -> Any:
        """Return all validation windows."""
        return _loader(self.validation, self.settings.batch_size)


def _loader(dataset: Any, batch_size: int) -> Any:
    return torch.utils.data.DataLoader(dataset, batch_size=batch_size, collate_fn=list)


def _new_spec(name: str, samples: Sequence[OpenSample], settings: TrainingSettings) -> ModelSpec:
    first = samples[0].inputs
    return ModelSpec(
        **settings.recipe.model_dump(),
        name=name,
        input_channels=first.input_channels,
        context_channels=first.context_channels,
        weights_sha256="0" * 64,
    )


def _data(
    learn: Sequence[OpenSample],
    check: Sequence[OpenSample],
    settings: TrainingSettings,
    objective: type[Objective],
) -> TrainingData:
    """Return the windows to learn from and those to score."""
    windows = TrainingWindows(
        learn,
        settings.recipe,
        count=settings.steps * settings.batch_size,
        foreground=settings.foreground,
        body=0.0 if "body" in objective.unused_settings else settings.body,
        seed=settings.seed,
        augmentation=settings.augmentation,
    )
    return TrainingData(windows, VolumeWindows(check, settings.recipe.window, overlap=0), settings)


def _trainer(folder: Path, settings: TrainingSettings, *, score: str) -> L.Trainer:
    device = choose_device()
    half = computes_bfloat16(device)
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if half else "32-true",
        max_steps=settings.steps,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic="warn",
        default_root_dir=folder,
        # One process, also in a Slurm job, where Lightning would start distributed training.
        plugins=[LightningEnvironment()],
        callbacks=[
            ModelCheckpoint(
                folder,
                filename="best",
                monitor=score,
                mode="max",
                save_last=True,
                # Overwrite the file of a killed run instead of writing a "best-v1".
                enable_version_counter=False,
            ),
            StepProgress(settings.steps),
        ],
    )


def _fingerprint(
    spec: ModelSpec,
    settings: TrainingSettings,
    samples: Sequence[OpenSample],
    first: ModelSpec | None,
) -> str:
    """Return the identity of a training; only checkpoints of the same training are resumed."""
    facts = {
        "spec": spec.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "start": None if first is None else first.weights_sha256,
        "sources": [s.inputs.volume.attributes.get("source", {}).get("sha256") for s in samples],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def train_model(
    volumes: Sequence[Path],
    features: Sequence[Path],
    contexts: Sequence[Path] = (),
    *,
    model: Path,
    name: str,
    samples: Sequence[Mapping[str, str]],
    settings: TrainingSettings | Mapping[str, Any],
    checkpoints: str | Path,
    objective: str,
) -> None:
    """Train a FusedUNet and write a model folder with the best weights and the loss curve.

    Parameters
    ----------
    volumes, features, contexts : sequence of Path
        Volumes, features and, if the model uses context, context features of the samples.
    model : Path
        Model folder to write: `model.safetensors`, `model.json`, `history.tsv`, `loss.png`.
    name : str
        Name of the model.
    samples : sequence of mapping
        `name`, `truth` and `metadata` of the training samples, in the order of `settings.samples`,
        then of the validation samples, in the order of `settings.validation`.
    settings : mapping
        Recipe, steps, rates and seed: the fields of `TrainingSettings`.
    checkpoints : str or Path
        Folder for checkpoints. Interrupted training resumes from the last one; the folder is
        removed once the model is written.
    objective : str
        Training objective: "package.module:name" of an `Objective`.

    Raises
    ------
    SourceError
        If a truth cannot be read or does not fit its volume.
    ModelError
        If the features do not fit the recipe, or the model to start from cannot be read or does not
        fit it.
    """
    settings = TrainingSettings.model_validate(settings)
    L.seed_everything(settings.seed, verbose=False)
    _quiet()
    keep_buffers()
    learned: type[Objective] = resolve(objective)
    opened = [
        OpenSample(sample, settings.recipe, learned)
        for sample in training_samples(samples, volumes, features, contexts)
    ]
    learn, check = opened[: len(settings.samples)], opened[len(settings.samples) :]
    spec = _new_spec(name, learn, settings)
    first = None if settings.start is None else read_spec(Path(settings.start))
    folder = Path(checkpoints) / _fingerprint(spec, settings, [*learn, *check], first)
    aim = learned(spec, {sample.name: sample.truth for sample in check}, settings)
    network = FusedUNet.from_spec(spec)
    if settings.start is None or not take_weights(network, spec, Path(settings.start)):
        aim.start(network)
    task = FusionTask(network, spec, settings, aim)
    trainer = _trainer(folder, settings, score=task.objective.score)
    last = folder / "last.ckpt"
    if last.is_file():
        logger.info("resuming from %s", last)
    with _failing_if_terminated():
        trainer.fit(
            task,
            _data(learn, check, settings, learned),
            ckpt_path=last if last.is_file() else None,
            weights_only=True,
        )
    best = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
    task.load_state_dict(best["state_dict"])
    scores = _volume_scores(trainer, task, check)
    for metric, value in scores.items():
        logger.info("validation, whole volumes: %s %s", metric, value)
    facts = {
        "version": __version__,
        **({} if first is None else {"start": _identity(first)}),
        "samples": list(settings.samples),
        "validation": list(settings.validation),
        "settings": settings.model_dump(
            mode="json", exclude={*STATED_ELSEWHERE, *learned.unused_settings}
        ),
        "best_step": int(best["global_step"]),
        "validation_scores": scores,
    }
    _write(model, spec.model_copy(update={"training": facts}), task)
    shutil.rmtree(checkpoints, ignore_errors=True)


@contextlib.contextmanager
def _failing_if_terminated() -> Iterator[None]:
    """Exit as a terminated process does; Lightning would end it with the status of a success."""
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None


def _write(model: Path, spec: ModelSpec, task: FusionTask) -> None:
    """Write the model folder, with the history and its curve."""
    with replacing(model) as partial:
        save_model(partial, spec, task.result)
        table = pd.DataFrame(task.history)
        table.to_csv(partial / "history.tsv", sep="\t", index=False, float_format="%.6g")
        draw_curve(
            table,
            partial / "loss.png",
            title=spec.name,
            loss=task.objective.loss_name,
            score=task.objective.score_name,
        )


def _identity(model: ModelSpec) -> dict[str, str]:
    return {"name": model.name, "weights_sha256": model.weights_sha256}


def _volume_scores(
    trainer: L.Trainer, task: FusionTask, samples: Sequence[OpenSample]
) -> dict[str, float | None]:
    """Predict the validation volumes with the workflow's blending and score them together."""
    spec = task.spec
    inference = InferenceSettings(window=spec.window, overlap=OVERLAP)
    with tempfile.TemporaryDirectory(prefix="parafovea-") as folder:
        outputs = [Path(folder) / f"{number}.zarr" for number in range(len(samples))]
        task.rebuild(samples, outputs, inference)
        windows = VolumeWindows(samples, spec.window, overlap=OVERLAP)
        with _failing_if_terminated():
            trainer.test(task, _loader(windows, task.settings.batch_size), verbose=False)
        predictions = [output.with_suffix(".prediction.zarr") for output in outputs]
        for output, prediction in zip(outputs, predictions, strict=True):
            blend_shards([output], prediction)
        scores = task.objective.volume_scores([open_stored(path) for path in predictions])
    return {
        name: None if value is None else round(float(value), 4) for name, value in scores.items()
    }


def _quiet() -> None:
    """Silence Lightning's warnings about deliberate choices."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*have overridden `transfer_batch_to_device`.*",
        ".*could not find the monitored key.*",
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*log_every_n_steps.*",
        ".*exists and is not",
        ".*`srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)
