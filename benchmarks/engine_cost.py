"""Rows `engine`: what reading, projecting, weighing and summing add to the bare network."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import in_turns
from benchmarks.network_calls import Call, recorded, replayed
from benchmarks.peer import full_resolution
from benchmarks.samples import Bench, Sized, make_sample, read_fused_spec, times
from benchmarks.table import Limit, Row, ratio_row
from parafovea.geometry.grid import Shape
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.inference.shard import Shard, open_sums
from parafovea.inference.window_loop import predicted
from parafovea.models.folder import load_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.runtime.devices import choose_dtype
from parafovea.settings.inference import InferenceSettings

logger = logging.getLogger(__name__)

NAME = "engine"

#: Voxels of the volume.
SIZE = Sized[Shape](full=(128, 160, 160), quick=(64, 64, 96))

#: Windows at full resolution that the bare network goes through again and again.
RESIDENT = 4

Batches = list[tuple[Tensor, Tensor]]


def _engine(shard: Shard, predictor: Predictor, output: Path) -> float:
    """Predict and sum all windows, from cached features to sums on disk; return the seconds."""
    with open_sums(output, shard, dtype=predictor.dtype) as sums:
        start = time.perf_counter()
        for box, probabilities in predicted(shard.inputs, predictor, shard.layout, shard.part):
            sums.add(box, probabilities)
        return time.perf_counter() - start


def _bare(network: FusedUNet, batches: Batches, *, calls: int, autocast: bool) -> float:
    """Run a network alone over resident batches; return the seconds."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        start = time.perf_counter()
        for local, context in itertools.islice(itertools.cycle(batches), calls):
            network(local, context)
        return time.perf_counter() - start


def _resident(shard: Shard, *, batch_size: int, dtype: torch.dtype) -> Batches:
    """Return batches (local, context) of real windows, channels last, in the network's dtype."""
    boxes = itertools.cycle(shard.layout.windows())
    sizes = [shard.spec.input_channels, shard.spec.context_channels]
    batches = []
    for _ in range(RESIDENT):
        windows = [full_resolution(shard.inputs, next(boxes)) for _ in range(batch_size)]
        stacked = torch.cat(windows).to(dtype)
        local, context = (
            part.contiguous(memory_format=torch.channels_last_3d)
            for part in torch.split_with_sizes(stacked, sizes, dim=1)
        )
        batches.append((local, context))
    return batches


def resident_calls(shard: Shard, predictor: Predictor) -> list[Call]:
    """Return what the engine's own network takes for the first batches of windows."""
    windows = predicted(shard.inputs, predictor, shard.layout, shard.part)
    first = itertools.islice(windows, RESIDENT * predictor.batch_size)
    return recorded(predictor, lambda: list(first))


def run(bench: Bench) -> list[Row]:
    """Measure the whole loop over windows, from disk to disk, against the network alone."""
    spec = read_fused_spec(bench.model)
    logger.info("  preparing a phantom and its features")
    inputs = SampleInputs(make_sample(bench.scratch, spec, shape=bench.of(SIZE)), spec)
    settings = InferenceSettings(window=spec.window, overlap=0.5)
    shard = Shard.of(inputs, spec, settings)
    device = torch.device("cpu")
    dtype = choose_dtype(settings.precision, device)
    size = settings.batch_size
    predictor = Predictor(load_model(bench.model)[1], device=device, dtype=dtype, batch_size=size)
    # What a user of the network would run: as it was trained, channels last, under autocast.
    trained = load_model(bench.model)[1].to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    batches = _resident(shard, batch_size=size, dtype=dtype)
    ready = resident_calls(shard, predictor)
    calls, autocast = -(-shard.part.size // size), dtype != torch.float32
    seconds = in_turns(
        {
            "engine": lambda: _engine(shard, predictor, bench.scratch / "sums.zarr"),
            "bare": lambda: _bare(trained, batches, calls=calls, autocast=autocast),
            "prepared": lambda: replayed(predictor.engine, ready, count=calls),
        },
        repeats=bench.rounds(5),
    )
    precision = str(dtype).removeprefix("torch.")
    return [
        ratio_row(
            NAME,
            "engine, from cached features to sums on disk, over the bare network",
            seconds,
            ("engine", "bare"),
            limit=Limit("at most", 1.05),
            note=f"{shard.part.size} windows of {times(spec.window)}, {precision}, channels last, "
            f"batch {size}; bare: the trained network under autocast, tensors in memory",
        ),
        ratio_row(
            NAME,
            "engine over the network as the engine prepares it",
            seconds,
            ("engine", "prepared"),
            note=f"normalizations and context path folded, weights in {precision}: less to do",
        ),
    ]
