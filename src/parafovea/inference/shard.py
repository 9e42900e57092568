"""A shard of a sample: its windows, and the array on disk for their sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.errors import GridError
from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference.blending import window_weights
from parafovea.inference.execution import Execution
from parafovea.inference.sample_inputs import SampleInputs, check_channels
from parafovea.inference.sums import TILE, TileSums, aligned
from parafovea.inference.window_loop import columns, weighed
from parafovea.inference.window_plan import (
    Wanted,
    planned_layout,
    shard_count,
    wanted_count,
)
from parafovea.settings.inference import EngineName, InferenceSettings
from parafovea.settings.networks import POOLED
from parafovea.settings.recipe import ModelSpec, Overrides
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import create

_NONE = Overrides()


def unrecorded(spec: ModelSpec) -> set[str]:
    """Return the settings that do not affect the sums of a model."""
    never = {"shards", "windows_per_shard", "output_scale"}
    return never if spec.skips_empty else never | {"skip_empty"}


@dataclass(frozen=True)
class Shard:
    """A share of a sample's windows.

    Parameters
    ----------
    inputs : SampleInputs
        The sample's volume and features.
    spec : ModelSpec
        The model that predicts.
    settings : InferenceSettings
        Windows and blending.
    layout : Layout
        All windows of the sample.
    part : Box
        The shard's windows, as a box of the lattice; may be empty.
    wanted : ndarray or None
        (lattice z, y, x) bool: windows to compute; the prediction of others is 0. None for all.
    number : int
        Number of the shard, from 1.
    """

    inputs: SampleInputs
    spec: ModelSpec
    settings: InferenceSettings
    layout: Layout
    part: Box
    wanted: Wanted = None
    number: int = 1

    @property
    def count(self) -> int:
        """Number of windows to compute in each view."""
        return wanted_count(self.part, self.wanted)

    @classmethod
    def of(
        cls, inputs: SampleInputs, spec: ModelSpec, settings: InferenceSettings, *, number: int = 1
    ) -> Shard:
        """Return shard `number`, from 1 to the number of shards.

        Raises
        ------
        GridError
            If the window does not fit the network, or the shard does not exist.
        ModelError
            If the channels of the inputs do not match the model.
        """
        channels = inputs.feature_channels
        check_channels(spec, features=channels, context=inputs.context_channels, source=spec.name)
        layout = planned_layout(inputs.grid.shape, spec, settings)
        count = shard_count(layout, settings)
        if not 1 <= number <= count:
            raise GridError(f"shard {number} is not one of 1 to {count}")
        if spec.context_ratio is not None and any(
            n > most for n, most in zip(layout.window, spec.window, strict=True)
        ):
            raise GridError(
                f"inference.window {layout.window} is larger than the model's {spec.window}, which "
                "its concentric context was computed for: use at most that, or remove it"
            )
        if not settings.do_eval and all(n <= POOLED for n in layout.window):
            raise GridError(
                f"window {layout.window} is one voxel at the network's coarsest level, which has "
                "no statistics: with do_eval: false, use a larger inference.window"
            )
        part = layout.shards(count)[number - 1]
        return cls(inputs, spec, settings, layout, part, number=number)

    @property
    def region(self) -> Box:
        """Voxels of the array of sums: whole tiles around the windows."""
        return aligned(self.layout.covered(self.part)) if self.part.size else Box((0, 0, 0), TILE)


class WindowSums:
    """Accumulates the probabilities of windows as weighted fixed-point sums.

    Parameters
    ----------
    shard : Shard
        Shard of the windows.
    sums : TileSums
        Sums to add to.
    """

    def __init__(self, shard: Shard, sums: TileSums) -> None:
        self._weights = window_weights(shard.settings, shard.layout.window)
        self._volume = shard.inputs.grid.box
        self._sums = sums

    def add(self, box: Box, probabilities: NDArray[np.float32]) -> None:
        """Add a window, (class, z, y, x) float32; voxels outside the volume are dropped."""
        self._sums.add(*weighed(box, probabilities, self._weights, self._volume))


@contextlib.contextmanager
def open_sums(
    output: Path,
    shard: Shard,
    *,
    dtype: torch.dtype,
    engine: EngineName = "torch",
    overrides: Overrides = _NONE,
    execution: Execution | None = None,
) -> Iterator[WindowSums]:
    """Create a shard's array of sums, which appears when the block ends.

    Windows must be added in the order of `window_loop.columns`, once for every view.

    Parameters
    ----------
    output : Path
        Zarr to write: (class, z, y, x) int64, weight times probability in fixed point.
    shard : Shard
        Shard of the windows.
    dtype : torch.dtype
        Precision of the prediction.
    engine : {"torch", "openvino"}
        Engine of the prediction.
    overrides : Overrides
        Properties of the model that were overridden for the inputs; recorded.
    execution : Execution, optional
        Device and batch size; recorded.

    Yields
    ------
    WindowSums
        Accumulator for the windows.
    """
    inputs, part, region = shard.inputs, shard.part, shard.region
    context = None
    if inputs.context is not None:
        ratio = shard.spec.context_ratio
        context = {
            **inputs.context.attributes["features"],
            "zoom": None if ratio is None else list(ratio),
        }
    carried = {
        **lineage(inputs.volume.attributes),
        "features": None if inputs.features is None else inputs.features.attributes["features"],
        "context": context,
        "model": {
            "name": shard.spec.name,
            "sha256": shard.spec.weights_sha256,
            "kind": shard.spec.kind,
            "activation": shard.spec.activation,
            "overrides": overrides.model_dump(mode="json", exclude_none=True),
        },
        "inference": shard.settings.model_dump(mode="json", exclude=unrecorded(shard.spec)),
    }
    if shard.spec.output_bands:
        # finer steps than half precision
        carried["stored"] = "float32"
    if shard.wanted is not None:
        carried["skipped_windows"] = part.size - shard.count
    attributes = record(
        "infer_shard",
        **carried,
        precision=str(dtype).removeprefix("torch."),
        execution=None if execution is None else execution.to_dict(),
        engine=engine,
        layout=shard.layout.to_dict(),
        number=shard.number,
        part=[list(part.start), list(part.stop)],
        region=[list(region.start), list(region.stop)],
        volume=inputs.grid.to_dict(),
    )
    with create(
        output,
        inputs.grid.crop(region),
        dtype=np.int64,
        channels=shard.spec.classes,
        chunk=TILE,
        shard=None,
        codec="lz4",
        attributes=attributes,
    ) as array:
        # Each view covers all columns; previous sums are read back from disk.
        parts = list(columns(part)) * shard.settings.views
        sums = TileSums(array, region, shard.layout, parts, shard.wanted)
        yield WindowSums(shard, sums)
