"""Row `engine`: what reading, projecting, weighing and summing add to the bare network."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import in_turns
from benchmarks.peer import full_resolution
from benchmarks.samples import Bench, make_sample, read_fused_spec
from benchmarks.table import Limit, Row, ratio_row
from parafovea.devices import choose_dtype
from parafovea.inference.engine import predicted
from parafovea.inference.inputs import SampleInputs
from parafovea.inference.predictor import Predictor
from parafovea.inference.settings import InferenceSettings
from parafovea.inference.shard import Shard, open_sums
from parafovea.models.folder import load_model

logger = logging.getLogger(__name__)

NAME = "engine"

#: Windows at full resolution that the bare network goes through again and again.
RESIDENT = 4


@dataclass(frozen=True)
class _Sides:
    """The engine and the bare network, over the same windows.

    Parameters
    ----------
    bench : Bench
        Gives the scratch folder.
    shard : Shard
        All windows of the sample.
    predictor : Predictor
        Its network is the one that runs bare, too.
    """

    bench: Bench
    shard: Shard
    predictor: Predictor

    def engine(self) -> float:
        """Predict and sum all windows, from cached features to sums on disk; return seconds."""
        shard = self.shard
        with open_sums(self.bench.scratch / "sums.zarr", shard, dtype=self.predictor.dtype) as sums:
            start = time.perf_counter()
            windows = predicted(shard.inputs, self.predictor, shard.layout, shard.part)
            for box, probabilities in windows:
                sums.add(box, probabilities)
            return time.perf_counter() - start

    def resident(self) -> list[tuple[Tensor, Tensor]]:
        """Return batches (local, context) in the network's dtype and memory format."""
        form, dtype = self.predictor.memory_format, self.predictor.dtype
        boxes = itertools.cycle(self.shard.layout.windows())
        batches = []
        for _ in range(RESIDENT):
            windows = [full_resolution(self.shard.inputs, next(boxes)) for _ in self._batch]
            stacked = torch.cat(windows).to(dtype)
            local, context = stacked.split(
                [self.shard.spec.input_channels, self.shard.spec.context_channels], dim=1
            )
            batches.append((local.contiguous(memory_format=form), _in(form, context)))
        return batches

    @property
    def _batch(self) -> range:
        return range(self.predictor.batch_size)

    def bare(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """Run the network alone for as many windows; return seconds."""
        dtype = self.predictor.dtype
        calls = -(-self.shard.part.size // self.predictor.batch_size)
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32),
        ):
            start = time.perf_counter()
            for local, context in itertools.islice(itertools.cycle(batches), calls):
                self.predictor.network(local, context)
            return time.perf_counter() - start


def _in(memory_format: torch.memory_format, tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=memory_format)


def run(bench: Bench) -> list[Row]:
    """Measure the whole loop over windows, from disk to disk, against the network alone."""
    spec = read_fused_spec(bench.model)
    logger.info("  preparing a phantom and its features")
    shape = (64, 96, 96) if bench.quick else (128, 160, 160)
    inputs = SampleInputs(make_sample(bench.scratch, spec, shape=shape), spec)
    settings = InferenceSettings()
    device = torch.device("cpu")
    dtype = choose_dtype(settings.precision, device)
    _, network = load_model(bench.model)
    predictor = Predictor(network, device=device, dtype=dtype, batch_size=settings.batch_size)
    sides = _Sides(bench, Shard.of(inputs, spec, settings), predictor)
    batches = sides.resident()
    seconds = in_turns(
        {"engine": sides.engine, "bare network": lambda: sides.bare(batches)},
        repeats=bench.repeats,
    )
    precision = str(dtype).removeprefix("torch.")
    note = f"{sides.shard.part.size} windows of {spec.window}, {precision}, channels last, batch 1"
    return [
        ratio_row(
            NAME,
            "engine, from cached features to sums on disk, over the bare network",
            seconds,
            ("engine", "bare network"),
            limit=Limit("at most", 1.05),
            note=note,
        )
    ]
