"""Rows `rate`: how close inference and features come to the best convolutions of the machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Ratio, in_turns, whole
from benchmarks.samples import Bench, Sized, make_sample, read_fused_spec, times
from benchmarks.stages import blend, extract_local, infer
from benchmarks.table import Limit, Row
from parafovea.geometry.grid import Shape
from parafovea.runtime.devices import choose_dtype
from parafovea.settings.inference import InferenceSettings

logger = logging.getLogger(__name__)

NAME = "rate"

#: Voxels of the volume.
SIZE = Sized[Shape](full=(128, 160, 160), quick=(64, 64, 96))

#: Channels in and out of the convolutions that show what the machine can do, over `SIDE`³ voxels.
CHANNELS = (16, 32, 64, 128)
SIDE = Sized[int](full=64, quick=16)


def convolution(channels: int, side: int, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Return a convolution of 3 x 3 x 3 over resident voxels, channels last."""
    voxels = torch.randn(1, channels, side, side, side).to(dtype)
    weights = torch.randn(channels, channels, 3, 3, 3).to(dtype)
    order = torch.channels_last_3d
    voxels, weights = voxels.to(memory_format=order), weights.to(memory_format=order)  # type: ignore[call-overload]

    def convolve() -> Tensor:
        with torch.inference_mode():
            return F.conv3d(voxels, weights, padding=1)

    return convolve


def operations(function: Callable[[], object]) -> float:
    """Return the additions and multiplications of the convolutions and products of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def run(bench: Bench) -> list[Row]:
    """Measure whole inference, disk to disk, and features against the fastest convolution."""
    spec = read_fused_spec(bench.model)
    shape = bench.of(SIZE)
    inputs = make_sample(bench.scratch, spec, shape=shape)
    settings = InferenceSettings()
    dtype = choose_dtype(settings.precision, torch.device("cpu"))
    sums = bench.scratch / "sums.zarr"

    def predict() -> None:
        infer(inputs, bench.model, sums, settings)
        blend(sums, bench.scratch / "prediction.ome.zarr")

    side = bench.of(SIDE)
    works: dict[str, Callable[[], object]] = {
        "inference": predict,
        "features": lambda: extract_local(inputs, spec),
        **{f"{n} channels": convolution(n, side, dtype) for n in CHANNELS},
        **{f"{n} channels, float32": convolution(n, side, torch.float32) for n in CHANNELS},
    }
    counts = {name: operations(work) for name, work in works.items()}
    seconds = in_turns({name: whole(work) for name, work in works.items()}, repeats=bench.rounds(3))
    rates = {name: tuple(counts[name] / taken for taken in each) for name, each in seconds.items()}
    precision = str(dtype).removeprefix("torch.")
    return [
        _share(
            f"rate of whole inference, disk to disk, over the best convolution, {precision}",
            rates,
            "inference",
            [f"{n} channels" for n in CHANNELS],
            note=f"{times(shape)} voxels, automatic windows",
            limit=Limit("at least", 0.7),
        ),
        _share(
            "rate of features, disk to disk, over the best convolution, float32",
            rates,
            "features",
            [f"{n} channels, float32" for n in CHANNELS],
            note=f"{spec.backbone.name}, products with banded matrices, zeros included",
        ),
    ]


def _share(
    what: str,
    rates: Mapping[str, tuple[float, ...]],
    name: str,
    others: list[str],
    *,
    note: str,
    limit: Limit | None = None,
) -> Row:
    """Return a row of one rate over the best of others, round by round."""
    best = max(others, key=lambda other: max(rates[other]))
    ratio = Ratio.of(rates[name], rates[best])
    return Row(
        NAME,
        what,
        ratio.value,
        unit="",
        spread=ratio.spread,
        limit=limit,
        note=f"{note}; {max(rates[name]) / 1e9:.0f} of {max(rates[best]) / 1e9:.0f} GFLOP/s, the "
        f"latter by {best}",
    )
