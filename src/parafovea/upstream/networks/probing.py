"""What a network does, found by running it on noise: its output, its window, memory and time."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parafovea.errors import ModelError, describe, shown
from parafovea.geometry.grid import Shape, shape3
from parafovea.models.networks.image_network import ImageNetwork, chosen_entry

#: Steps by which windows are enlarged to find what their sides are multiples of.
STEPS = (1, 2, 4, 8, 16, 32, 64)

#: How far from 0, 1 and a sum of 1 probabilities are by rounding.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Probe:
    """What a network did with windows of noise.

    Parameters
    ----------
    channels : int
        Channels of the output.
    margin, stride : tuple of int
        Voxels at each border that the output lacks, and voxels per voxel of the output.
    multiple_of : tuple of int
        What the sides of a window are multiples of.
    fixed_window, fixed_batch : bool
        Whether it took windows of one size only, and one window at a time.
    bounded, complete : bool
        Whether the output lies in [0, 1], and whether its channels add up to 1.
    window_bytes, window_seconds : int, float
        Memory and time of a window.
    """

    channels: int
    margin: Shape
    stride: Shape
    multiple_of: Shape
    fixed_window: bool
    fixed_batch: bool
    bounded: bool
    complete: bool
    window_bytes: int
    window_seconds: float


class Prober:
    """Runs a network on noise.

    Parameters
    ----------
    network : ImageNetwork
        The network.
    input_channels : int
        Channels of its input.
    entry : int or str
        Which of its outputs.
    source : str
        Its file, for messages.
    fixed_batch : int or None
        The number of windows that it takes at a time, if that is known.
    """

    def __init__(
        self,
        network: ImageNetwork,
        *,
        input_channels: int,
        entry: int | str,
        source: str,
        fixed_batch: int | None = None,
    ) -> None:
        cpu = torch.device("cpu")
        engine = network.choose_engine("auto", cpu)
        self._run = network.runner(cpu, network.precision(torch.float32, engine), engine)
        self._ordered = network.ordered
        self._flat = network.spec.dimensions == 2
        self._channels, self._entry, self._source = input_channels, entry, source
        self._fixed_batch = fixed_batch

    def output(self, window: Shape, *, count: int | None = None) -> Tensor:
        """Return the output for noise, (window, channel, [z,] y, x).

        Raises
        ------
        ModelError
            If the network does not run, or its output has another number of axes, or is not of
            finite numbers.
        """
        count = count or self._fixed_batch or 1
        sides = window[1:] if self._flat else window
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand((count, self._channels, *sides), generator=generator)
        with torch.inference_mode():
            taken = self._ordered(noise).contiguous()
            returned = self._called(lambda: self._run(taken), tuple(taken.shape))
        found = chosen_entry(returned, self._entry, self._source)
        axes = "(window, channel, y, x)" if self._flat else "(window, channel, z, y, x)"
        if found.ndim != noise.ndim or found.shape[0] != count:
            raise ModelError(
                f"{self._source} gives an output of the shape {tuple(found.shape)} for an input of "
                f"{tuple(noise.shape)}, but scores of voxels are {axes}: choose another output "
                "with --entry"
            )
        values = self._ordered(found).float()
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise ModelError(
                f"{self._source} gives {wrong} of {values.numel()} values that are NaN or infinite "
                "for noise from 0 to 1: export another checkpoint of the training"
            )
        return values

    def probe(
        self,
        window: Shape,
        *,
        margin: Shape | None = None,
        stride: Shape | None = None,
        multiple_of: Shape | None = None,
        fixed_window: bool | None = None,
    ) -> Probe:
        """Return what a network does with windows.

        Parameters
        ----------
        window : tuple of int
            Voxels of a window along z, y, x.
        margin, stride, multiple_of, fixed_window
            As of `ImageNetworkSpec`; found by windows of other sizes where they are not given.

        Raises
        ------
        ModelError
            If the network does not run on the window, or its output does not fit it.
        """
        before = _peak(reset=True)
        started = time.perf_counter()
        output = self.output(window)
        seconds = time.perf_counter() - started
        memory = max(_peak() - before, 4 * (output.numel() + self._channels * output[0, 0].numel()))
        sides = self._sides(output)
        step = None
        if fixed_window is None or (not fixed_window and (multiple_of is None or margin is None)):
            step = self._step(window, sides, multiple_of)
        fixed = step is None if fixed_window is None else fixed_window
        if margin is None or stride is None:
            margin, stride = self._relation(window, sides, step)
        if multiple_of is None:
            multiple_of = (1, 1, 1) if step is None else step[0]
        self._require_relation(window, sides, margin, stride)
        low, high = float(output.min()), float(output.max())
        bounded = low >= -ROUNDING and high <= 1 + ROUNDING
        whole = bool(((output.sum(dim=1) - 1).abs() < ROUNDING).all())
        return Probe(
            channels=output.shape[1],
            margin=margin,
            stride=stride,
            multiple_of=multiple_of,
            fixed_window=fixed,
            fixed_batch=self._fixed_batch is None and not self._takes(window, count=2),
            bounded=bounded,
            complete=whole and output.shape[1] > 1,
            window_bytes=_rounded(memory),
            window_seconds=max(1e-6, float(f"{seconds:.1g}")),
        )

    def _sides(self, output: Tensor) -> Shape:
        found = tuple(output.shape[2:])
        return shape3((1, *found)) if self._flat else shape3(found)

    def _takes(self, window: Shape, *, count: int) -> bool:
        try:
            self.output(window, count=count)
        except ModelError:
            return False
        return True

    def _step(
        self, window: Shape, sides: Shape, multiple_of: Shape | None
    ) -> tuple[Shape, Shape] | None:
        """Return the smallest step by which a window may grow, and the output's sides then."""
        flat = int(self._flat)
        steps = [(n, n, n) for n in STEPS] if multiple_of is None else [multiple_of]
        for step in steps:
            step = shape3((1, *step[1:])) if self._flat else step
            grown = shape3([n + s for n, s in zip(window, step, strict=True)])
            grown = shape3((1, *grown[1:])) if self._flat else grown
            try:
                found = self._sides(self.output(grown))
            except ModelError:
                continue
            grows = zip(step, sides, found, window, strict=True)
            if all(b > a and s % (b - a) == 0 == n % s for s, a, b, n in list(grows)[flat:]):
                return step, found
        return None

    def _relation(
        self, window: Shape, sides: Shape, step: tuple[Shape, Shape] | None
    ) -> tuple[Shape, Shape]:
        """Return margin and stride from the output's sides for one window or two."""
        margins, strides = [], []
        for axis, (taken, given) in enumerate(zip(window, sides, strict=True)):
            if self._flat and axis == 0:
                margins.append(0)
                strides.append(1)
                continue
            if step is not None:
                more, grown = step[0][axis], step[1][axis] - given
                stride = more // grown if grown and more % grown == 0 else 1
            else:
                stride = taken // given if given and taken % given == 0 else 1
            margins.append((taken - given * stride) // 2)
            strides.append(stride)
        return shape3(margins), shape3(strides)

    def _require_relation(self, window: Shape, sides: Shape, margin: Shape, stride: Shape) -> None:
        fits = zip(window, sides, margin, stride, strict=True)
        if any(n - 2 * m != s * k or m < 0 for n, s, m, k in fits):
            raise ModelError(
                f"{self._source} gives an output of {sides} voxels along z, y, x for a window of "
                f"{window}, which is not the window without a margin {margin} at each border, with "
                f"{stride} voxels per voxel of the output: state them with --margin and --stride, "
                "or use another --window"
            )

    def _called(self, run: Callable[[], Any], shape: Sequence[int]) -> Any:
        try:
            return run()
        # each engine has exceptions of its own for a size that the graph does not take
        except Exception as error:
            text = " ".join(describe(error).split())
            raise ModelError(
                f"{self._source} does not take an input of the shape {tuple(shape)}: "
                f"{shown(text, longest=500)}"
            ) from error


def _rounded(number: float) -> int:
    """Return a number of bytes rounded up to two digits."""
    digits: int = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, -(-int(number) // digits) * digits)


def _peak(*, reset: bool = False) -> int:
    """Return the peak memory of this process in bytes; where it can be, since a reset to now."""
    if reset and sys.platform == "linux":
        # memory that is freed already, or is garbage, would be used without being counted
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
