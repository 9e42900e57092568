"""Rows `engines`: what else can run the prepared network, beside torch."""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
import time

import torch

from benchmarks.engine_cost import RESIDENT, Assembled, assembled
from benchmarks.measure import in_turns
from benchmarks.samples import Bench, make_sample, read_fused_spec, times
from benchmarks.table import Row, ratio_row
from parafovea.errors import ConfigError
from parafovea.inference.engines import Engine
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import SampleInputs
from parafovea.inference.shard import Shard
from parafovea.models.folder import load_model
from parafovea.runtime.devices import choose_dtype
from parafovea.runtime.optional_packages import is_installed
from parafovea.settings.inference import InferenceSettings

logger = logging.getLogger(__name__)

NAME = "engines"

#: Rounds over the resident windows in one measurement.
ROUNDS = 4


def _seconds(engine: Engine, batches: Assembled) -> float:
    """Run an engine alone over resident batches; return the seconds."""
    with torch.inference_mode():
        start = time.perf_counter()
        for features, guides in itertools.chain.from_iterable([batches] * ROUNDS):
            engine.logits(features, guides)
        return time.perf_counter() - start


def run(bench: Bench) -> list[Row]:
    """Measure every engine against torch, in the precision of this machine and in float32."""
    spec = read_fused_spec(bench.model)
    logger.info("  preparing a phantom and its features")
    shape = (64, 96, 96) if bench.quick else (128, 160, 160)
    inputs = SampleInputs(make_sample(bench.scratch, spec, shape=shape), spec)
    shard = Shard.of(inputs, spec, InferenceSettings())
    rows = []
    for dtype in sorted({choose_dtype("auto", torch.device("cpu")), torch.float32}, key=str):
        rows += _rows(bench, shard, dtype)
    return rows


def _rows(bench: Bench, shard: Shard, dtype: torch.dtype) -> list[Row]:
    def predictor(**choice: object) -> Predictor:
        network = load_model(bench.model)[1]
        return Predictor(network, device=torch.device("cpu"), dtype=dtype, **choice)  # type: ignore[arg-type]

    torch_alone = predictor()
    batches = assembled(shard, torch_alone)
    precision = str(dtype).removeprefix("torch.")
    note = (
        f"{RESIDENT} windows of {times(shard.spec.window)} in memory, batch 1; conversion and "
        "compilation do not count"
    )
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
        _seconds(compiled, batches[:1])
        found["torch.compile"] = compiled
    except ConfigError as error:
        missing["torch.compile"] = str(error)
    seconds = in_turns(
        {
            f"{name}, {precision}": lambda engine=engine: _seconds(engine, batches)  # type: ignore[misc]
            for name, engine in found.items()
        },
        repeats=bench.repeats,
    )
    base, *others = seconds
    rows = [
        ratio_row(NAME, f"time of {name} over torch", seconds, (name, base), note=note)
        for name in others
    ]
    return rows + [
        Row(NAME, f"time of {name}, {precision} over torch", None, note=f"not run: {reason}")
        for name, reason in missing.items()
    ]
