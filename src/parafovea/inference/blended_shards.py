"""What the shards of a sample say of themselves, which the record of their prediction states."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference.blending import WEIGHT_BITS
from parafovea.inference.execution import summary
from parafovea.storage.store import Stored

logger = logging.getLogger(__name__)

#: Smallest sum of weights of no voxel.
NO_WEIGHT = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class ShardFacts:
    """Facts of a shard.

    Parameters
    ----------
    number : int
        Its number, from 1.
    part : Box
        Its windows, as a box of the lattice; may be empty.
    skipped : int or None
        Number of windows without body that were skipped; None if it is not recorded.
    execution : mapping or None
        How it was computed; None if it is not recorded.
    """

    number: int
    part: Box
    skipped: int | None
    execution: Mapping[str, Any] | None

    @classmethod
    def of(cls, shard: Stored) -> ShardFacts:
        """Return the facts of a shard."""
        start, stop = (tuple(corner) for corner in shard.attributes["part"])
        skipped = shard.attributes.get("skipped_windows")
        execution = shard.attributes.get("execution")
        number = int(shard.attributes["number"])
        return cls(number, Box(start, stop), None if skipped is None else int(skipped), execution)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values, for JSON."""
        part = [list(self.part.start), list(self.part.stop)]
        known = {"skipped": self.skipped, "execution": self.execution}
        return {"number": self.number, "part": part, **known}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardFacts:
        """Return the facts that `to_dict` gave."""
        start, stop = (tuple(corner) for corner in values["part"])
        return cls(values["number"], Box(start, stop), values["skipped"], values["execution"])


def blended(
    blending: Mapping[str, Any], shards: Sequence[ShardFacts], least: int
) -> dict[str, Any]:
    """Return the entries of a prediction's record that all of its shards decide.

    Parameters
    ----------
    blending : mapping
        What is known of the windows and their blending.
    shards : sequence of ShardFacts
        All shards of the sample, each once.
    least : int
        Smallest sum of weights over all voxels, in fixed point.

    Raises
    ------
    StoreError
        If windows are missing or repeated.
    """
    layout = Layout.from_dict(dict(blending))
    _require_all_windows(layout, shards)
    ordered = sorted(shards, key=lambda each: each.number)
    made = [each.execution for each in ordered if each.execution is not None]
    return {
        "execution": summary(made) if len(made) == len(shards) else None,
        "blending": {
            **blending,
            "minimum_weight": least / 2.0**WEIGHT_BITS,
            **_skipped(shards, layout),
        },
    }


def once(shards: Iterable[ShardFacts]) -> list[ShardFacts]:
    """Return shards without repetitions: several blocks may have read the same one."""
    return list({shard.number: shard for shard in shards}.values())


def _require_all_windows(layout: Layout, shards: Sequence[ShardFacts]) -> None:
    held = np.zeros(layout.lattice.shape, dtype=np.int64)
    for shard in shards:
        held[shard.part.slices] += 1
    if (held != 1).any():
        missing, repeated = np.count_nonzero(held == 0), np.count_nonzero(held > 1)
        raise StoreError(
            f"of {held.size} windows, {missing} are missing and {repeated} repeated: delete the "
            "shards of the sample and run infer_shard again"
        )


def _skipped(shards: Sequence[ShardFacts], layout: Layout) -> dict[str, int]:
    """Return and log the number of skipped windows, if the shards record it."""
    if any(shard.skipped is None for shard in shards):
        return {}
    skipped = sum(shard.skipped or 0 for shard in shards)
    windows = layout.lattice.size
    logger.info("%d of %d windows without body were skipped", skipped, windows)
    return {"skipped_windows": skipped, "windows": windows}
