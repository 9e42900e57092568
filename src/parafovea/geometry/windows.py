"""The layout of sliding windows in a volume, and its division into shards.

Windows form a lattice, the product of the start positions along each axis. A shard is a box of
that lattice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Shape, shape3


def axis_starts(count: int, window: int, step: int) -> tuple[int, ...]:
    """Return the first voxels of the windows that cover an axis.

    Parameters
    ----------
    count : int
        Voxels along the axis.
    window : int
        Voxels of a window. A window longer than the axis is centred on it; its start is negative.
    step : int
        Voxels from the start of a window to the start of the next.

    Returns
    -------
    tuple of int
        Ascending; the last window ends at the end of the axis, so the last step may be shorter.
    """
    if window >= count:
        return (-((window - count) // 2),)
    return (*range(0, count - window, step), count - window)


def stride_of(window: Sequence[int], overlap: float) -> Shape:
    """Return the voxels from one window to the next along z, y, x.

    Parameters
    ----------
    window : sequence of int
        Voxels of a window along z, y, x.
    overlap : float
        Share of a window that overlaps with the next.
    """
    return shape3([max(1, round(side * (1 - overlap))) for side in window])


@dataclass(frozen=True)
class Layout:
    """The windows of a volume.

    Parameters
    ----------
    shape : tuple of int
        Shape of the volume along z, y, x.
    window : tuple of int
        Shape of a window along z, y, x.
    starts : tuple of tuple of int
        First voxels of the windows along z, y, x.
    """

    shape: Shape
    window: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def regular(cls, shape: Sequence[int], window: Sequence[int], *, overlap: float) -> Layout:
        """Return the layout that covers a volume with windows of one size and overlap.

        Raises
        ------
        GridError
            If the overlap is none.
        """
        if not 0 <= overlap < 1:
            raise GridError(f"overlap {overlap} must be at least 0 and less than 1")
        return cls.strided(shape, window, stride=stride_of(window, overlap))

    @classmethod
    def strided(
        cls, shape: Sequence[int], window: Sequence[int], *, stride: Sequence[int]
    ) -> Layout:
        """Return the layout that covers a volume with windows of one size, `stride` apart."""
        if any(not 1 <= s <= w for s, w in zip(stride, window, strict=True)):
            raise GridError(
                f"stride {tuple(stride)} must be at least 1 and at most the window "
                f"{tuple(window)}, so that windows cover every voxel"
            )
        z, y, x = (axis_starts(n, w, s) for n, w, s in zip(shape, window, stride, strict=True))
        return cls(shape3(shape), shape3(window, "window"), (z, y, x))

    @property
    def lattice(self) -> Box:
        """The box of all windows: their numbers along z, y, x."""
        z, y, x = self.starts
        return Box.whole((len(z), len(y), len(x)))

    def windows(self, part: Box | None = None) -> Iterator[Box]:
        """Yield the voxel boxes of a part of the lattice, in z, y, x order.

        A window longer than its axis extends beyond the volume.
        """
        within = part or self.lattice
        chosen = [s[span] for s, span in zip(self.starts, within.slices, strict=True)]
        for start in itertools.product(*chosen):
            yield Box.sized(start, self.window)

    def covered(self, part: Box) -> Box:
        """Return the voxels of the volume that a non-empty part of the lattice covers."""
        first = [s[a] for s, a in zip(self.starts, part.start, strict=True)]
        last = [s[b - 1] + w for s, b, w in zip(self.starts, part.stop, self.window, strict=True)]
        return Box(shape3(first), shape3(last)).intersection(Box.whole(self.shape))

    def touching(self, box: Box) -> Box:
        """Return the part of the lattice whose windows overlap a box of voxels."""
        first, last = [], []
        for starts, window, a, b in zip(self.starts, self.window, box.start, box.stop, strict=True):
            hits = [i for i, s in enumerate(starts) if s < b and s + window > a]
            first.append(hits[0] if hits else 0)
            last.append(hits[-1] + 1 if hits else 0)
        return Box(shape3(first), shape3(last))

    def shards(self, count: int) -> list[Box]:
        """Return `count` boxes that partition the lattice; some are empty if windows are few."""
        return divided_box(self.lattice, count)

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as plain lists, for JSON."""
        return {
            "shape": list(self.shape),
            "window": list(self.window),
            "starts": [list(s) for s in self.starts],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Layout:
        """Return the layout stored by `to_dict`."""
        z, y, x = (tuple(int(v) for v in s) for s in values["starts"])
        return cls(shape3(values["shape"]), shape3(values["window"]), (z, y, x))


def divided_box(box: Box, count: int) -> list[Box]:
    """Return `count` boxes that partition a box, cut recursively along its longest axis.

    Some are empty if the box has fewer places.
    """
    if count == 1:
        return [box]
    share = count // 2
    axis = max(range(3), key=lambda a: box.shape[a])
    cut = box.start[axis] + round(box.shape[axis] * share / count)
    middle_stop, middle_start = list(box.stop), list(box.start)
    middle_stop[axis] = middle_start[axis] = cut
    left, right = Box(box.start, shape3(middle_stop)), Box(shape3(middle_start), box.stop)
    return [*divided_box(left, share), *divided_box(right, count - share)]
