"""LightningModule that trains a FusedUNet, and predicts whole volumes in its test loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.errors import TrainingError
from parafovea.geometry.grid import Box
from parafovea.inference.finite_scores import all_finite
from parafovea.inference.sample_inputs import RegionInputs, TokenBlock
from parafovea.inference.shard import Shard, WindowSums, open_sums
from parafovea.models.activation import activated
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.token_sampling import (
    interpolate_at,
    project_at,
    project_context,
    project_local,
)
from parafovea.settings.backbones.raw import neighbour_steps
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, ModelSpec
from parafovea.settings.training import TrainingSettings
from parafovea.training.augmentation import (
    jittered,
    random_turns,
    redeveloped,
    turned,
    with_missing_planes,
)
from parafovea.training.averaging import averaged_network
from parafovea.training.objectives.objective import Objective
from parafovea.training.samples import OpenSample
from parafovea.training.training_truth import TrainingWindow


class FusionTask(L.LightningModule):
    """Training of a FusedUNet on windows of cached features.

    The objective defines targets, loss and scores. Validation scores are computed over all
    validation windows together, not as a mean over windows. `test_step` accumulates weighted
    windows with the code of the workflow, so that `on_test_epoch_end` leaves sums of whole
    volumes.

    Parameters
    ----------
    network : FusedUNet
        Network to train.
    spec : ModelSpec
        Description of the model to train.
    settings : TrainingSettings
        Steps, rates, averaging and seed.
    objective : Objective
        Training objective, with the truths of the validation samples.
    """

    def __init__(
        self,
        network: FusedUNet,
        spec: ModelSpec,
        settings: TrainingSettings,
        objective: Objective,
    ) -> None:
        super().__init__()
        self.network = network
        self.averaged = (
            averaged_network(network, settings.averaging) if settings.averaging else None
        )
        self.spec = spec
        self.settings = settings
        # Channels-last is the faster memory format for convolutions on both kinds of device.
        flat = spec.network.dimensions == 2
        self._format = torch.channels_last if flat else torch.channels_last_3d
        self.objective = objective
        self.history: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._test: Sequence[OpenSample] = ()
        self._sums: list[WindowSums] = []
        self._open = ExitStack()
        self._outputs: list[Path] = []
        self._inference = InferenceSettings()

    @property
    def result(self) -> FusedUNet:
        """The network of the model: the averaged one, if there is one."""
        if self.averaged is None:
            return self.network
        return cast(FusedUNet, self.averaged.module)

    @property
    def _current(self) -> FusedUNet:
        """The network that takes the windows: in training the one that learns."""
        return self.network if self.training else self.result

    def forward(self, windows: list[TrainingWindow]) -> Tensor:
        """Return the logits of a batch of windows, (N, classes, [z,] y, x)."""
        return self._scores([self._inputs(w) for w in windows], self._conditions(windows))

    def _inputs(
        self, window: TrainingWindow, draw: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return a window's projected local and context input, (channel, z, y, x).

        In float32, as in inference, regardless of the precision of training. Channels are
        jittered if a generator is given.
        """
        region = window.region
        with torch.autocast(self.device.type, enabled=False):
            if window.places is not None:
                return self._warped_inputs(region, window.places, draw)
            network = self._current
            tokens, weights = region.tokens.window(window.box)
            raw = region.raw_window(window.box)
            voxels = None if raw is None else self._voxels(raw, draw)
            values = self._features(tokens, self.spec.backbone, draw)
            local = project_local(network, values, weights, voxels)
            if region.context is None or self.spec.context is None:
                return local, None
            tokens, weights = region.context.window(window.box)
            values = self._features(tokens, self.spec.context.backbone, draw)
            return local, project_context(network, values, weights)

    def _warped_inputs(
        self,
        region: RegionInputs,
        places: NDArray[np.float64],
        draw: np.random.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the inputs of a warped window."""
        network = self._current
        parts = []
        if region.raw is not None:
            voxels = self._voxels(region.raw, draw)
            parts.append(interpolate_at(voxels, places - np.asarray(region.box.start)))
        parts.append(self._tokens_at(region.tokens, self.spec.backbone, places, draw))
        local = project_at(network.input_conv, torch.cat(parts))
        if region.context is None or self.spec.context is None:
            return local, None
        wide = self._tokens_at(region.context, self.spec.context.backbone, places, draw)
        return local, project_at(network.context_input_conv, wide)

    def _tokens_at(
        self,
        tokens: TokenBlock,
        backbone: BackboneSpec,
        places: NDArray[np.float64],
        draw: np.random.Generator | None,
    ) -> Tensor:
        values = self._features(tokens.values, backbone, draw)
        return interpolate_at(values, tokens.positions(places))

    def _features(
        self, tokens: NDArray[Any], backbone: BackboneSpec, draw: np.random.Generator | None
    ) -> Tensor:
        """Return (channel, z, y, x) features; those that are voxels are augmented as such."""
        if backbone.name != "raw":
            return self._channels(tokens, draw)
        values = self._voxels(tokens, draw)
        planes = neighbour_steps(backbone)
        if draw is None or len(planes) == 1:
            return values
        augmentation = self.settings.augmentation
        return with_missing_planes(
            values, planes, augmentation.missing_planes, draw, reverse=augmentation.mirror
        )

    def _voxels(self, values: NDArray[Any], draw: np.random.Generator | None) -> Tensor:
        """Return voxels (channel, z, y, x), augmented if a generator is given."""
        channels = self._channels(_with_bands(values), draw)
        if draw is None:
            return channels
        flat = self.spec.network.dimensions == 2
        return redeveloped(channels, self.settings.augmentation, draw, flat=flat)

    def _channels(self, values: NDArray[Any], draw: np.random.Generator | None) -> Tensor:
        """Return (channel, z, y, x) values, jittered if a generator is given."""
        channels = self._moved(values).float()
        if draw is None:
            return channels
        return jittered(channels, self.settings.augmentation.jitter, draw)

    def _moved(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _scores(
        self, inputs: list[tuple[Tensor, Tensor | None]], conditions: Tensor | None
    ) -> Tensor:
        local = self._batch([x for x, _ in inputs])
        wide = [c for _, c in inputs if c is not None]
        return self._current.forward_projected(
            local, self._batch(wide) if wide else None, conditions=conditions
        )

    def _conditions(self, windows: Sequence[TrainingWindow]) -> Tensor | None:
        """Return the conditions of each window's plane, (N, channel), if the network takes them."""
        if not self.spec.conditions:
            return None
        return self._moved(np.stack([w.region.condition(w.box) for w in windows]))

    def _batch(self, windows: list[Tensor]) -> Tensor:
        batch = self._flattened(torch.stack(windows))
        return batch.contiguous(memory_format=self._format)

    def _flattened(self, batch: Tensor) -> Tensor:
        """Return a batch (N, channel, z, y, x), without z for a network of 2 dimensions."""
        return batch.squeeze(2) if self.spec.network.dimensions == 2 else batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch unchanged: windows are moved to the device when they are assembled."""
        return batch

    def training_step(self, windows: list[TrainingWindow], batch_index: int) -> Tensor:
        """Return the loss of a batch with random jitter, flips and axis swaps."""
        # Dropout is seeded by the step, so that a resumed run equals an uninterrupted one.
        torch.manual_seed(1_000_003 * self.settings.seed + self.global_step)
        inputs, targets = [], []
        for window in windows:
            draw = self._generator(window, batch_index)
            local, wide = self._inputs(window, draw)
            target = self.objective.target(window).to(self.device)
            turns = self._turns(draw)
            inputs.append((turned(local, turns), None if wide is None else turned(wide, turns)))
            targets.append(turned(target, turns))
        target = self._flattened(torch.stack(targets))
        scores = self._scores(inputs, self._conditions(windows))
        loss = self.objective.loss(scores.float(), target)
        self._losses.append(self._finite(float(loss.detach())))
        self.log("loss", loss, prog_bar=True, batch_size=len(windows))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the averaged network."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise TrainingError(
            f"the loss is {loss} at step {self.global_step + 1} of {self.settings.steps}: the "
            f"training diverged: use a learning_rate below {self.settings.learning_rate:g}"
        )

    def _generator(self, window: TrainingWindow, batch_index: int) -> np.random.Generator:
        """Return the generator of a window's augmentation, seeded by its place and the step."""
        seed = [self.settings.seed, 2, self.global_step, batch_index, *np.abs(window.box.start)]
        return np.random.default_rng(seed)

    def _turns(self, rng: np.random.Generator) -> list[str]:
        """Return the flips and axis swaps of a window."""
        if not self.settings.augmentation.mirror:
            return []
        _, y, x = self.spec.window
        square = y == x and self.spec.spacing[1] == self.spec.spacing[2]
        axes = "yx" if self.spec.network.dimensions == 2 else "zyx"
        return random_turns(axes, square=square, rng=rng)

    def validation_step(self, windows: list[TrainingWindow], batch_index: int) -> None:
        """Pass the predictions of a batch to the objective."""
        self.objective.observe(windows, self._checked(windows))

    def _checked(self, windows: list[TrainingWindow]) -> Tensor:
        """Return the scores of windows, or raise `TrainingError` if one is not finite."""
        scores = cast(Tensor, self(windows)).float()
        for window, own in zip(windows, scores, strict=True):
            if not all_finite(own):
                raise TrainingError(
                    f"scores of the window {window.box} of sample {window.sample + 1} are not "
                    f"finite at step {self.global_step} of {self.settings.steps}: the training "
                    f"diverged: use a learning_rate below {self.settings.learning_rate:g}"
                )
        return scores

    def on_validation_epoch_end(self) -> None:
        """Score all validation windows together; the objective's score selects the checkpoint."""
        if self.trainer.sanity_checking:
            return
        scores = self.objective.scores()
        self.log(self.objective.score, scores[self.objective.score], prog_bar=True)
        row = {"step": float(self.global_step), "loss": float(np.mean(self._losses or [np.nan]))}
        self.history.append(row | scores)
        self._losses.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the loss curve, so that a resumed run draws all of it."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the loss curve."""
        self.history = list(checkpoint["history"])

    def rebuild(
        self, samples: Sequence[OpenSample], outputs: Sequence[Path], settings: InferenceSettings
    ) -> None:
        """Set the volumes that `trainer.test` predicts, each with an array of sums."""
        self._test, self._outputs, self._inference = samples, list(outputs), settings

    def on_test_start(self) -> None:
        """Open an array of weighted sums for each volume."""
        self._sums = []
        for sample, output in zip(self._test, self._outputs, strict=True):
            shard = Shard.of(sample.inputs, self.spec, self._inference)
            sums = open_sums(output, shard, dtype=torch.float32)
            self._sums.append(self._open.enter_context(sums))

    def test_step(self, windows: list[TrainingWindow], batch_index: int) -> None:
        """Weight a batch of windows and add them to the sums."""
        scores = self._checked(windows)
        base = None
        if self.spec.base:
            bands = [self.objective.target(w)[len(self.spec.base) :] for w in windows]
            base = self._flattened(torch.stack(bands)).to(scores.device)
        caution = self._inference.caution
        found = activated(scores, self.spec.activation, base, caution=caution).cpu().numpy()
        for window, values in zip(windows, found, strict=True):
            box: Box = window.box
            self._sums[window.sample].add(box, values.reshape(len(values), *box.shape))

    def on_test_epoch_end(self) -> None:
        """Close the completed sums, which `blend_shards` turns into predictions."""
        self._open.close()

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW with a one-cycle schedule over all steps."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.settings.learning_rate,
            total_steps=self.settings.steps + 1,
            pct_start=0.1,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _with_bands(raw: NDArray[Any]) -> NDArray[Any]:
    """Return voxels (z, y, x) or (band, z, y, x) as the latter."""
    return raw[None] if raw.ndim == 3 else raw
