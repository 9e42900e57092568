"""Row `context`: what the wide view costs, at context voxels four times as long as local ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import in_turns, whole
from benchmarks.samples import (
    Bench,
    extract_context,
    extract_local,
    make_volume,
    random_model,
    read_fused_spec,
    times,
)
from benchmarks.table import Limit, Row, ratio_row
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ContextSpec, ModelSpec
from parafovea.stages.infer_shard import infer_shard

logger = logging.getLogger(__name__)

NAME = "context"

#: Context voxels over local voxels, along each axis.
RATIO = 4


def _predict(inputs: ModelInputs, spec: ModelSpec, model: Path, sums: Path) -> None:
    """Run the stages that depend on the context, from the volume to the sums."""
    extract_local(inputs, spec)
    extract_context(inputs, spec)
    settings = InferenceSettings()
    infer_shard(
        inputs.volume,
        inputs.features,
        inputs.context,
        sums=sums,
        model=model,
        shard=1,
        settings=settings,
    )


def _wider(spec: ModelSpec) -> ModelSpec:
    """Return the same description with context voxels `RATIO` times as long as local ones."""
    z, y, x = spec.spacing
    backbone = spec.backbone if spec.context is None else spec.context.backbone
    context = ContextSpec(spacing=(z * RATIO, y * RATIO, x * RATIO), backbone=backbone)
    return spec.model_copy(update={"context": context})


def run(bench: Bench) -> list[Row]:
    """Measure features, context and inference against features and inference without context."""
    wide = _wider(read_fused_spec(bench.model))
    shape = (64, 96, 96) if bench.quick else (128, 128, 128)
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
        repeats=bench.repeats,
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
