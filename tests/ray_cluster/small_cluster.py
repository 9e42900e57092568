"""Small clusters on this machine, and runs of small jobs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster as RayCluster

from parafovea.drivers.ray.cluster import Cluster
from parafovea.drivers.ray.schedule import Schedule
from parafovea.drivers.ray.staff import staff_of
from parafovea.drivers.ray.work import Finished, RunProgress, WorkItem
from parafovea.drivers.ray.worker import Workplace
from parafovea.drivers.stage_call import StageCall

#: What each node has. Devices are pretended: Ray counts them, and shows their numbers.
NODE = {"num_cpus": 2, "num_gpus": 1, "memory": 8e9, "object_store_memory": 100e6}

#: A node that has left, or has no memory left, is noticed soon.
CONFIG = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
    "memory_monitor_refresh_ms": 100,
}


def new_cluster(*, config: Mapping[str, Any] = {}, **head: Any) -> RayCluster:
    """Start a cluster of one node, on ports that are free."""
    values = {
        **NODE,
        "include_dashboard": False,
        **head,
        "_system_config": {**CONFIG, **config},
    }
    return RayCluster(initialize_head=True, head_node_args=values)


@dataclass
class SmallRun:
    """A run of small jobs in a folder.

    Parameters
    ----------
    folder : Path
        Where each job writes a file of its own name.
    """

    folder: Path
    items: list[WorkItem] = field(default_factory=list)
    ends: dict[str, Finished] = field(default_factory=dict)
    steps: list[RunProgress] = field(default_factory=list)
    watch: Callable[[RunProgress], None] = lambda progress: None

    def add(
        self,
        name: str,
        function: str,
        *,
        owner: str = "",
        on_gpu: bool = False,
        needs: tuple[int, ...] = (),
        memory: float = 500e6,
        **arguments: Any,
    ) -> int:
        """Add a job of `cluster_jobs`, and return its position."""
        output = self.folder / name
        call = StageCall(
            module="cluster_jobs",
            function=function,
            arguments={"output": output, **arguments},
            outputs=(output,),
        )
        self.items.append(
            WorkItem(
                name=name,
                owner=owner or name,
                stage=function,
                on_gpu=on_gpu,
                needs=frozenset(needs),
                memory=lambda attempt: memory * 2 ** (attempt - 1),
                call=lambda: call,
            )
        )
        return len(self.items) - 1

    def run(self, cluster: Cluster, *, num_gpus: int | None = None) -> dict[str, str | None]:
        """Run the jobs; return why each owner failed, None for those that did not."""

        def look(progress: RunProgress) -> None:
            self.steps.append(progress)
            self.watch(progress)

        def end(done: Finished) -> None:
            self.ends[done.owner] = done

        staff = staff_of(
            cluster.nodes(),
            num_gpus=num_gpus,
            gpu_jobs=sum(item.on_gpu for item in self.items),
            memory=500e6,
        )
        Schedule(
            cluster,
            staff,
            self.items,
            workplace=Workplace(folder=str(self.folder)),
            threads=1,
            finished=end,
            progress=look,
        ).run()
        return {owner: done.error for owner, done in self.ends.items()}

    def text(self, name: str) -> str:
        """Return what a job wrote."""
        return (self.folder / name).read_text()
