"""How many actors a run gets on a cluster, and how much memory they and the tasks may ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parafovea.drivers.ray.cluster import START, Node
from parafovea.errors import ClusterError

#: Share of a node's memory that actors may take, so that there is always some for tasks.
MOST_OF_A_NODE = 0.75


@dataclass(frozen=True, kw_only=True)
class Staff:
    """What a run takes of a cluster.

    Parameters
    ----------
    actors : int
        Number of actors, which run the jobs of GPU stages.
    on_gpus : bool
        Whether each has a GPU; otherwise they compute on CPUs.
    actor_memory : float
        Memory in bytes that each asks for.
    slots : int
        CPUs of the cluster: the number of tasks at a time. Without GPUs, busy actors count.
    room : float
        Most memory in bytes that a task can ask for without waiting for ever.
    """

    actors: int
    on_gpus: bool
    actor_memory: float
    slots: int
    room: float


def require_gpus(nodes: Sequence[Node], num_gpus: int | None) -> None:
    """Raise `ClusterError` if nodes have fewer GPUs than are asked for."""
    there = sum(node.gpus for node in nodes)
    if num_gpus is not None and num_gpus < 0:
        raise ClusterError(f"num_gpus is {num_gpus}: it must be 0, for the CPUs, or more")
    if num_gpus is not None and num_gpus > there:
        have = f"has {there}" if there else "has none"
        raise ClusterError(
            f"{num_gpus} GPUs are asked for, but the Ray cluster {have}: ask for at most {there}, "
            "or add nodes with GPUs"
        )


def staff_of(nodes: Sequence[Node], *, num_gpus: int | None, gpu_jobs: int, memory: float) -> Staff:
    """Return what a run takes of a cluster.

    Parameters
    ----------
    nodes : sequence of Node
        Nodes of the cluster.
    num_gpus : int or None
        GPUs to use; None for all, and for the CPUs where there are none. 0 for the CPUs.
    gpu_jobs : int
        Jobs of GPU stages; more actors would be idle.
    memory : float
        Largest request of these jobs in bytes.

    Raises
    ------
    ClusterError
        If the cluster has fewer GPUs, or no CPU.
    """
    require_gpus(nodes, num_gpus)
    there, slots = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    if slots < 1:
        raise ClusterError(f"the Ray cluster has no CPU for tasks: add a node ({START})")
    count = there if num_gpus is None else num_gpus
    on_gpus = count > 0
    hosts = [node for node in nodes if (node.gpus if on_gpus else node.cpus)]
    places = [node.gpus if on_gpus else node.cpus for node in hosts]
    if on_gpus:
        # each GPU of a node gets an actor, so that they share its memory
        shares = [MOST_OF_A_NODE * node.memory / n for node, n in zip(hosts, places, strict=True)]
        each = min(memory, *shares)
    else:
        each = min(memory, max(MOST_OF_A_NODE * node.memory for node in hosts))
        places = [
            min(n, math.floor(MOST_OF_A_NODE * node.memory / max(each, 1)))
            for node, n in zip(hosts, places, strict=True)
        ]
        count = sum(places)
    actors = min(count, gpu_jobs)
    room = 0.0
    for node in nodes:
        if node.cpus:
            own = places[hosts.index(node)] if node in hosts else 0
            spread = math.ceil(actors * own / max(1, sum(places)))
            room = max(room, node.memory - each * min(own, spread))
    return Staff(actors=actors, on_gpus=on_gpus, actor_memory=each, slots=slots, room=room)
