"""Records of a computation: its device, its batch size, and the fallbacks that led to them.

Blending shards reads these records without computing, so torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Execution:
    """Device and batch size of a computation, with the fallbacks that led to them.

    Parameters
    ----------
    device : torch.device
        Device of the network.
    batch_size : int
        Windows per forward pass.
    fallbacks : tuple of str
        A sentence for each earlier attempt that did not fit, in order.
    """

    device: torch.device
    batch_size: int
    fallbacks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the entries for a provenance record."""
        return {
            "device": self.device.type,
            "batch_size": self.batch_size,
            "fallbacks": list(self.fallbacks),
        }


def summary(executions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a record of how all shards of a sample were computed.

    Parameters
    ----------
    executions : iterable of mapping
        Records from `Execution.to_dict`, one per shard in order.

    Returns
    -------
    dict
        `devices`; `smallest_batch`; `fallbacks`, each with the number of its shard; `cpu_shards`,
        the number of shards that fell back to the CPU.
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
