"""Rows `engines`: what else can run the prepared network, beside torch."""

from __future__ import annotations

import importlib.metadata
import logging
import math
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.engine_cost import RESIDENT, resident_calls
from benchmarks.measure import in_turns
from benchmarks.network_calls import replayed
from benchmarks.samples import Bench, Sized, make_sample, read_fused_spec, times
from benchmarks.table import Row, ratio_row
from parafovea.errors import ConfigError
from parafovea.geometry.grid import Shape
from parafovea.inference.engines import Engine
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.inference.shard import Shard
from parafovea.models.folder import load_model
from parafovea.runtime.devices import choose_dtype
from parafovea.runtime.optional_packages import is_installed
from parafovea.settings.inference import InferenceSettings, Precision

logger = logging.getLogger(__name__)

NAME = "engines"


class Size(NamedTuple):
    """Voxels of the volume, rounds over the resident windows in one measurement, precisions."""

    shape: Shape
    rounds: int
    precisions: tuple[Precision, ...]


SIZE = Sized(
    full=Size((128, 160, 160), 4, ("auto", "float32")), quick=Size((64, 64, 96), 1, ("auto",))
)


def run(bench: Bench) -> list[Row]:
    """Measure every engine against torch, in the precision of this machine and in float32."""
    spec = read_fused_spec(bench.model)
    size = bench.of(SIZE)
    logger.info("  preparing a phantom and its features")
    inputs = SampleInputs(make_sample(bench.scratch, spec, shape=size.shape), spec)
    small = Shard.of(inputs, spec, InferenceSettings(window=spec.window, overlap=0.5))
    chosen = Shard.of(inputs, spec, InferenceSettings())
    rows = []
    cpu = torch.device("cpu")
    for dtype in sorted({choose_dtype(name, cpu) for name in size.precisions}, key=str):
        for shard in (small, chosen):
            rows += _rows(bench, shard, dtype)
    return rows


def _rows(bench: Bench, shard: Shard, dtype: torch.dtype) -> list[Row]:
    def predictor(**choice: object) -> Predictor:
        network = load_model(bench.model)[1]
        return Predictor(network, device=torch.device("cpu"), dtype=dtype, **choice)  # type: ignore[arg-type]

    torch_alone = predictor()
    calls = resident_calls(shard, torch_alone)
    # As many voxels as in the model's own windows.
    window = shard.layout.window
    share = math.prod(shard.spec.window) / math.prod(window)
    count = max(1, round(bench.of(SIZE).rounds * RESIDENT * share))
    what = f"{times(window)}, {str(dtype).removeprefix('torch.')}"
    note = f"{count} windows in memory, batch 1; conversion and compilation do not count"
    found: dict[str, Engine] = {"torch": torch_alone.engine}
    missing: dict[str, str] = {}
    if is_installed("openvino"):
        found[f"OpenVINO {importlib.metadata.version('openvino')}"] = predictor(
            engine="openvino"
        ).engine
    else:
        missing["OpenVINO"] = "openvino is not installed: parafovea[openvino]"
    compiled = predictor(compiled=True).engine
    try:
        replayed(compiled, calls, count=1)
        found["torch.compile"] = compiled
    except ConfigError as error:
        missing["torch.compile"] = str(error)
    seconds = in_turns(
        {
            f"{name}, {what}": partial(replayed, engine, calls, count=count)
            for name, engine in found.items()
        },
        repeats=bench.rounds(5),
    )
    base, *others = seconds
    rows = [
        ratio_row(NAME, f"time of {name} over torch", seconds, (name, base), note=note)
        for name in others
    ]
    return rows + [
        Row(NAME, f"time of {name}, {what} over torch", None, note=f"not run: {reason}")
        for name, reason in missing.items()
    ]
