"""How a shard was computed: on what, how many windows at once, and what did not fit before.

The stage that blends shards reads these records and computes nothing with torch, so that it is not
imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Execution:
    """How a shard was computed.

    Parameters
    ----------
    device : torch.device
        Where the network ran.
    batch_size : int
        Windows in one call of the network.
    fallbacks : tuple of str
        What did not fit before, in order: a sentence each.
    """

    device: torch.device
    batch_size: int
    fallbacks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the facts for a result's record."""
        return {
            "device": self.device.type,
            "batch_size": self.batch_size,
            "fallbacks": list(self.fallbacks),
        }


def summary(executions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how all shards of a sample were computed, as one record.

    Parameters
    ----------
    executions : iterable of mapping
        As of `Execution.to_dict`, one a shard in the order of shards.

    Returns
    -------
    dict
        `devices` and `smallest_batch`; `fallbacks`, every step with the number of its shard;
        `cpu_shards`, how many shards went to the CPU because of memory.
    """
    known = list(executions)
    steps = [
        f"shard {number}: {step}"
        for number, each in enumerate(known, start=1)
        for step in each["fallbacks"]
    ]
    return {
        "devices": sorted({each["device"] for each in known}),
        "smallest_batch": min(each["batch_size"] for each in known),
        "fallbacks": steps,
        "cpu_shards": sum(step.endswith("CPU") for step in steps),
    }
