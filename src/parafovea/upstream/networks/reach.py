"""How the tokens of a network lie over its input, found by running it on noise.

Half of an image is replaced by other noise: the first token that changes tells how far it sees. The
same noise is shifted: the smallest shift that shifts the tokens, and changes nothing else, is the
period. A mean over the whole image, as in squeeze-and-excite, makes all tokens change: they have no
reach then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape, shape3

#: Change of a token, in deviations of its feature, that counts: in single and half precision.
TOLERANCE, HALF_TOLERANCE = 1e-5, 5e-3

#: Growth of a window in voxels by which the stride is found, the first one that the network takes.
GROWTH = (64, 128, 32, 96, 256)

#: Largest side of a window on which reach is looked for, by dimensions.
LARGEST = {2: 512, 3: 128}

#: Most places along an axis at which the image is replaced.
PLACES = 16


@dataclass(frozen=True)
class Layout:
    """How tokens lie over the input, along z, y, x; see `BackboneDescription`."""

    window: Shape
    tokens: Shape
    stride: Shape
    period: Shape
    offset: tuple[int, int, int]
    before: Shape | None
    after: Shape | None
    fixed_window: bool
    features: int
    deviation: float


class LayoutFinder:
    """Finds the layout of a tensor.

    Parameters
    ----------
    run : callable
        Images (image, channel, [z,] y, x) to the tensor (image, feature, [z,] y, x).
    channels : int
        Channels of the images.
    name : str
        The tensor, for messages.
    count : int
        Images at a time that it takes.
    half : bool
        Whether the tensor has half precision.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        *,
        channels: int,
        name: str,
        count: int = 1,
        half: bool = False,
    ) -> None:
        self._tolerance = HALF_TOLERANCE if half else TOLERANCE
        self._run, self._channels, self._name, self._count = run, channels, name, count

    def layout(
        self,
        sides: Sequence[int],
        *,
        fixed: bool,
        stride: Sequence[int] | None = None,
        bounded: bool = True,
    ) -> Layout:
        """Return the layout of the tokens.

        Parameters
        ----------
        sides : sequence of int
            Voxels of a window, (y, x) or (z, y, x).
        fixed : bool
            Whether the network takes no other; otherwise this is tried.
        stride : sequence of int, optional
            Voxels per token along these axes, if known.
        bounded : bool
            Whether to look for a reach.

        Raises
        ------
        ModelError
            If the network does not run, or its tensor does not lie over the input.
        """
        window = list(sides)
        found = self._output(self._noise(window))
        features = found.shape[1]
        tokens = list(found.shape[2:])
        deviation = float(_deviation(found).max())
        if not deviation:
            raise ModelError(
                f"{self._name} is the same everywhere for noise: it is no feature of places"
            )
        steps, fixed = self._strides(window, tokens, fixed, stride)
        reached: list[tuple[int, int, int]] | None = None
        while bounded:
            reached = self._reached(window, steps)
            larger = [2 * side for side in window]
            if reached is not None or fixed or max(larger) > LARGEST[len(sides)]:
                break
            window = larger
        if reached is None:
            window = list(sides)
        tokens = list(self._output(self._noise(window)).shape[2:])
        befores, afters, periods = [], [], list(steps)
        offsets = [0] * len(sides)
        if reached is not None:
            for axis, (before, after, period) in enumerate(reached):
                offsets[axis] = int((after - before) / 2)
                befores.append(max(0, before + offsets[axis]))
                afters.append(max(0, after - offsets[axis]))
                growth = None if fixed else self._growth(window, tokens, axis, steps[axis], period)
                fixed = fixed or growth is None
                periods[axis] = growth or period
        z, y, x = _whole(offsets, 0)
        return Layout(
            window=shape3(_whole(window, 1)),
            tokens=shape3(_whole(tokens, 1)),
            stride=shape3(_whole(steps, 1)),
            period=shape3(_whole(periods, 1)),
            offset=(z, y, x),
            before=None if reached is None else shape3(_whole(befores, 0)),
            after=None if reached is None else shape3(_whole(afters, 0)),
            fixed_window=fixed,
            features=features,
            deviation=deviation,
        )

    def _noise(self, sides: Sequence[int], seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        one = torch.randn((1, self._channels, *sides), generator=generator)
        return one.expand(self._count, *one.shape[1:])

    def _output(self, images: Tensor) -> Tensor:
        found = self._run(images.contiguous())
        if found.ndim != images.ndim:
            axes = "(window, channel, y, x)" if images.ndim == 4 else "(window, channel, z, y, x)"
            raise ModelError(
                f"{self._name} has the shape {tuple(found.shape)}, {found.ndim} axes, but features "
                f"of places have {images.ndim}, {axes}: choose another tensor"
            )
        wrong = int((~torch.isfinite(found)).sum())
        if wrong:
            raise ModelError(
                f"{self._name} has {wrong} of {found.numel()} values that are NaN or infinite for "
                "noise: the weights or the normalization are damaged; export the network again"
            )
        return found[:1]

    def _tokens(self, sides: list[int]) -> list[int] | None:
        """Return the tokens of a window along each axis, None for one that is refused."""
        try:
            return list(self._output(self._noise(sides)).shape[2:])
        except ModelError:
            return None

    def _growth(
        self, window: list[int], tokens: list[int], axis: int, step: int, period: int
    ) -> int | None:
        """Return the multiple of a period by which windows may grow, None if there is none."""
        doubled = [period << n for n in range(9) if period << n <= max(256, window[axis])]
        whole = [window[axis]] if window[axis] % period == 0 else []
        for growth in (*doubled, *whole):
            wider = [n + growth * (axis == place) for place, n in enumerate(window)]
            wanted = [n + growth // step * (axis == place) for place, n in enumerate(tokens)]
            if self._tokens(wider) == wanted:
                return growth
        return None

    def _strides(
        self, window: list[int], tokens: list[int], fixed: bool, stated: Sequence[int] | None
    ) -> tuple[list[int], bool]:
        """Return the voxels per token along each axis, and whether other windows are refused."""
        grown: list[int] | None = None
        growth = window
        for growth in () if fixed else (*([n] * len(window) for n in GROWTH), window):
            grown = self._tokens([side + n for side, n in zip(window, growth, strict=True)])
            if grown is not None:
                break
        found = []
        for axis, (side, count) in enumerate(zip(window, tokens, strict=True)):
            more, over = (side, count) if grown is None else (growth[axis], grown[axis] - count)
            if stated is not None:
                found.append(stated[axis])
                right = grown is None or over * stated[axis] == more
            else:
                found.append(more // over if over > 0 else 0)
                right = over > 0 and more % over == 0
            if not right:
                larger = "" if grown is None else f", and {grown} for {growth} more"
                raise ModelError(
                    f"{self._name} has {tokens} tokens for a window of {window} voxels{larger}: "
                    "that is no whole number of voxels per token; choose another tensor"
                    + (", or state --stride" if stated is None and grown is None else "")
                )
        return found, grown is None

    def _reached(self, window: list[int], steps: list[int]) -> list[tuple[int, int, int]] | None:
        """Return voxels before and after, and period, along each axis; None if there are none."""
        base = self._output(self._noise(window))
        found = []
        for axis, step in enumerate(steps):
            if self._sees_far(base, window, axis):
                return None
            period = self._period(window, axis, step)
            if period is None:
                return None
            reach = self._reach(base, window, axis, step, period)
            if reach is None:
                return None
            found.append((*reach, period))
        return found

    def _sees_far(self, base: Tensor, window: list[int], axis: int) -> bool:
        """Return whether the first tokens change with the last voxels."""
        changed = self._changed(base, window, axis, slice(window[axis] * 3 // 4, None))
        return bool(changed[: max(1, len(changed) // 8)].any())

    def _period(self, window: list[int], axis: int, step: int) -> int | None:
        """Return the smallest shift in voxels that shifts the tokens; None if none does."""
        period = step
        while period <= min(64 * step, window[axis] // 2):
            wide = list(window)
            wide[axis] += period
            noise = self._noise(wide)
            first = self._output(noise.narrow(2 + axis, 0, window[axis]))
            second = self._output(noise.narrow(2 + axis, period, window[axis]))
            count = first.shape[2 + axis]
            shift = period // step
            low, high = count * 3 // 8, max(count * 3 // 8 + 1, count * 5 // 8)
            low, high = max(low, shift), max(high, shift + 1)
            same = first.narrow(2 + axis, low, high - low)
            moved = second.narrow(2 + axis, low - shift, high - low)
            inner = [n for n in range(len(window)) if n != axis]
            for other in inner:
                width = same.shape[2 + other]
                same = same.narrow(2 + other, width // 4, max(1, width // 2))
                moved = moved.narrow(2 + other, width // 4, max(1, width // 2))
            if bool(((same - moved).abs() <= self._tolerance * _deviation(first)).all()):
                return period
            period *= 2
        return None

    def _reach(
        self, base: Tensor, window: list[int], axis: int, step: int, period: int
    ) -> tuple[int, int] | None:
        """Return how many voxels before and after its own a token sees; None if all."""
        skip = -(-period // PLACES)
        befores, afters = [], []
        for place in range(window[axis] // 2, window[axis] // 2 + period, skip):
            later = self._changed(base, window, axis, slice(place, None)).nonzero()
            sooner = self._changed(base, window, axis, slice(None, place + 1)).nonzero()
            if not len(later) or not len(sooner):
                return None
            first, last = int(later[0]), int(sooner[-1])
            if first == 0 or last == base.shape[2 + axis] - 1:
                return None
            afters.append(place - (first * step + step - 1))
            befores.append(last * step - place)
        # places between those that were looked at may be seen from further away
        return max(befores) + skip - 1, max(afters) + skip - 1

    def _changed(self, base: Tensor, window: list[int], axis: int, where: slice) -> Tensor:
        """Return which tokens along an axis change with the voxels of a slice of it."""
        images = self._noise(window).clone()
        index = [slice(None)] * (2 + axis) + [where]
        images[tuple(index)] = 3 * self._noise(window, seed=1)[tuple(index)] + 1
        difference = (self._output(images) - base).abs() > self._tolerance * _deviation(base)
        others = [n for n in range(difference.ndim) if n != 2 + axis]
        return difference.amax(dim=others)


def _deviation(tokens: Tensor) -> Tensor:
    """Return the deviation of each feature, (1, feature, 1, ...), never far below the largest."""
    axes = tuple(range(2, tokens.ndim))
    found = tokens.std(dim=axes, keepdim=True, unbiased=False)
    return found.clamp_min(1e-3 * float(found.max()))


def _whole(values: Sequence[int], first: int) -> tuple[int, int, int]:
    """Return numbers along z, y, x of numbers along (y, x) or (z, y, x)."""
    z, y, x = (*[first] * (3 - len(values)), *values)
    return z, y, x
