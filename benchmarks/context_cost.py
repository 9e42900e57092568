"""Row `context`: what the wide view costs, at context voxels four times as long as local ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import in_turns, whole
from benchmarks.samples import Bench, Sized, make_volume, random_model, read_fused_spec, times
from benchmarks.stages import extract_context, extract_local, infer
from benchmarks.table import Limit, Row, ratio_row
from parafovea.geometry.grid import Shape
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ContextSpec, ModelSpec

logger = logging.getLogger(__name__)

NAME = "context"

#: Voxels of the volume.
SIZE = Sized[Shape](full=(128, 128, 128), quick=(64, 64, 96))

#: Context voxels over local voxels, along each axis.
RATIO = 4


def _predict(inputs: ModelInputs, spec: ModelSpec, model: Path, sums: Path) -> None:
    """Run the stages that depend on the context, from the volume to the sums."""
    extract_local(inputs, spec)
    extract_context(inputs, spec)
    infer(inputs, model, sums, InferenceSettings())


def _wider(spec: ModelSpec) -> ModelSpec:
    """Return the same description with context voxels `RATIO` times as long as local ones."""
    z, y, x = spec.spacing
    backbone = spec.backbone if spec.context is None else spec.context.backbone
    context = ContextSpec(spacing=(z * RATIO, y * RATIO, x * RATIO), backbone=backbone)
    return spec.model_copy(update={"context": context})


def run(bench: Bench) -> list[Row]:
    """Measure features, context and inference against features and inference without context."""
    wide = _wider(read_fused_spec(bench.model))
    shape = bench.of(SIZE)
    logger.info("  preparing a phantom and two random networks")
    inputs = make_volume(bench.scratch, wide, shape=shape)
    fused, plain = bench.scratch / "fused", bench.scratch / "plain"
    with_context = random_model(fused, wide, fusion="attention")
    without = random_model(plain, wide, fusion="none")
    alone = replace(inputs, features=bench.scratch / "alone.zarr", context=None)
    sums = bench.scratch / "sums.zarr"
    seconds = in_turns(
        {
            "with context": whole(lambda: _predict(inputs, with_context, fused, sums)),
            "without": whole(lambda: _predict(alone, without, plain, sums)),
        },
        repeats=bench.rounds(5),
    )
    place = f"{times(shape)} voxels, context voxels {RATIO} times as long, random weights"
    return [
        ratio_row(
            NAME,
            "features, context and inference with attention over the same without context",
            seconds,
            ("with context", "without"),
            limit=Limit("at most", 1.25),
            note=place,
        )
    ]
