"""Measurement of a model's rates on this machine, by running its stages on noise."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from parafovea.chain.cost import Rates
from parafovea.geometry.grid import Grid, Shape
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.model_json import read_spec
from parafovea.runtime.devices import choose_device, cpu_name
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec, Overrides
from parafovea.stages.extract_features import extract_features
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.blocks import CHUNK
from parafovea.storage.store import create

#: Windows along an axis of the larger of the two volumes that are compared.
WINDOWS = 3

#: Lower bound of a rate in seconds per voxel, since clocks are not exact.
LEAST = 1e-12


def device_name() -> str:
    """Return a description of the device that is measured."""
    device = choose_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of {cpu_name()}"


def measure_rates(
    model: Path, settings: InferenceSettings, *, overrides: Overrides | None = None
) -> Rates:
    """Return the rates of features, context and network on this machine.

    The stages run on noise of one window and of several windows. The difference of their times
    excludes the start of libraries and the loading of weights.

    Parameters
    ----------
    model : Path
        Model folder.
    settings : InferenceSettings
        Window, batch and precision.
    overrides : Overrides, optional
        Properties of the model that the task overrides.

    Raises
    ------
    ModelError
        If the model folder is incomplete.
    """
    spec = read_spec(model)
    given = overrides or Overrides()
    seen = spec.model_copy(update=given.given)
    window = settings.stated_window or spec.window
    plain = InferenceSettings(
        window=window,
        overlap=0,
        shards=1,
        batch_size=settings.batch_size,
        precision=settings.precision,
        engine=settings.engine,
        compile=settings.compile,
        do_eval=settings.do_eval,
        # noise has no body
        skip_empty=False,
    )
    flat = spec.network.dimensions == 2
    depth = CHUNK[0] if flat else window[0]
    small: Shape = (depth, *window[1:])
    large: Shape = (
        depth if flat else WINDOWS * depth,
        WINDOWS * window[1],
        WINDOWS * window[2],
    )
    with tempfile.TemporaryDirectory(prefix="parafovea-rates-") as scratch:
        folder = Path(scratch)
        _seconds(folder / "first", small, model, seen, plain, given)
        few = _seconds(folder / "small", small, model, seen, plain, given)
        many = _seconds(folder / "large", large, model, seen, plain, given)
    local = Grid(large, seen.spacing).size - Grid(small, seen.spacing).size
    wide = local
    if seen.context is not None:
        sizes = [Grid(s, seen.spacing).resampled(seen.context.spacing).size for s in (small, large)]
        wide = sizes[1] - sizes[0]
    features, context, network = (
        max(LEAST, (b - a) / voxels)
        for a, b, voxels in zip(few, many, (local, wide, local), strict=True)
    )
    return Rates(features, context, network)


def _seconds(
    folder: Path,
    shape: Shape,
    model: Path,
    spec: ModelSpec,
    settings: InferenceSettings,
    overrides: Overrides,
) -> tuple[float, float, float]:
    """Return the seconds of features, context and inference for a volume of noise."""
    inputs = ModelInputs(
        folder / "volume.ome.zarr",
        folder / "features.zarr" if spec.uses_features else None,
        None if spec.context is None else folder / "context.zarr",
    )
    folder.mkdir()
    grid = Grid(shape, spec.spacing, unit=spec.unit)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    source = {"source": {"path": "noise", "sha256": "", "grid": grid.to_dict()}}
    with create(inputs.volume, grid, dtype=np.float16, attributes=dict(source)) as array:
        array[...] = noise.astype(np.float16)
    dimensions = spec.network.dimensions
    window = None if spec.context_ratio is None else spec.window
    context = spec.context
    seconds = []
    if inputs.features is not None:
        features = inputs.features
        seconds.append(
            _timed(
                lambda: extract_features(
                    inputs.volume,
                    features,
                    spacing=spec.spacing,
                    backbone=spec.backbone,
                    dimensions=dimensions,
                )
            )
        )
    else:
        seconds.append(0.0)
    if inputs.context is not None and context is not None:
        output = inputs.context
        seconds.append(
            _timed(
                lambda: extract_features(
                    inputs.volume,
                    output,
                    spacing=context.spacing,
                    backbone=context.backbone,
                    dimensions=dimensions,
                    concentric_window=window,
                )
            )
        )
    else:
        seconds.append(0.0)
    seconds.append(
        _timed(
            lambda: infer_shard(
                inputs.volume,
                inputs.features,
                inputs.context,
                sums=folder / "1.zarr",
                model=model,
                shard=1,
                settings=settings,
                overrides=overrides,
            )
        )
    )
    local, wide, network = seconds
    return local, wide, network


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
