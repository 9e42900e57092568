"""The actors of a run: started, given one job at a time, replaced when they die, and ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parafovea.drivers.ray.cluster import Cluster
from parafovea.drivers.ray.staff import Staff
from parafovea.drivers.ray.worker import ModelWorker, Station, Workplace
from parafovea.drivers.stage_call import StageCall
from parafovea.errors import ClusterError

logger = logging.getLogger(__name__)

#: Actors that may die in a row before they have done any job.
MOST_DEAD_STARTS = 5


@dataclass(eq=False)
class Member:
    """An actor.

    Parameters
    ----------
    handle : ActorHandle
        Ray's handle.
    station : Station or None
        Where it is; None until it has started.
    busy : bool
        Whether it runs a job.
    """

    handle: Any
    station: Station | None = None
    busy: bool = False


class Actors:
    """The actors of a run; `started` says whether any has been at work.

    Parameters
    ----------
    cluster : Cluster
        Where they run.
    staff : Staff
        How many, and what each asks for.
    workplace : Workplace
        Folder of the run.
    environment : mapping of str to str
        Their environment variables.
    """

    def __init__(
        self,
        cluster: Cluster,
        staff: Staff,
        workplace: Workplace,
        environment: Mapping[str, str],
    ) -> None:
        self._cluster = cluster
        self._workplace = workplace
        self._class = cluster.ray.remote(ModelWorker).options(
            # a job takes its cores from those of its node, of which tasks count theirs
            num_cpus=0,
            num_gpus=int(staff.on_gpus),
            memory=int(staff.actor_memory),
            max_restarts=0,
            # a second thread, to cancel the job of the first
            max_concurrency=2,
            runtime_env={"env_vars": dict(environment)},
            scheduling_strategy="SPREAD",
        )
        self.members: list[Member] = []
        self.started = False
        self._dead_starts = 0

    def start(self) -> tuple[Any, Member]:
        """Start an actor, and return the reference of its station, and the actor."""
        member = Member(self._class.remote(self._workplace))
        self.members.append(member)
        return member.handle.station.remote(), member

    def begin(self, member: Member, station: Station) -> None:
        """Note that an actor has started."""
        member.station, self.started = station, True
        gpu = f"GPU {station.visible}" if station.visible else "the CPU"
        logger.info("an actor on %s of %s, process %d", gpu, station.node, station.process)

    def idle(self) -> Member | None:
        """Return an actor without a job, None if there is none."""
        free = (m for m in self.members if m.station is not None and not m.busy)
        return next(free, None)

    def busy(self) -> int:
        """Return how many actors run a job."""
        return sum(member.busy for member in self.members)

    def give(self, member: Member, call: StageCall, *, returns: bool) -> Any:
        """Let an actor run a job, and return the reference of its outcome."""
        member.busy = True
        return member.handle.run.remote(call, returns=returns)

    def take_back(self, member: Member) -> None:
        """Note that an actor has done its job."""
        member.busy = False
        self._dead_starts = 0

    def lose(self, member: Member, error: BaseException) -> None:
        """Forget a dead actor.

        Raises
        ------
        ClusterError
            If actors keep dying before they have done anything.
        """
        if member in self.members:
            self.members.remove(member)
        if member.station is None:
            self._dead_starts += 1
        if self._dead_starts >= MOST_DEAD_STARTS:
            raise ClusterError(
                f"{self._dead_starts} actors died while they started: see the logs of Ray on the "
                f"nodes ({' '.join(str(error).split())[:500]})"
            )

    def cancel(self) -> list[Any]:
        """Ask all actors to end their jobs, and return the references of their answers."""
        return [member.handle.cancel.remote() for member in self.members if member.busy]

    def end(self) -> None:
        """End all actors; without a head they end by themselves, and Ray would wait for it."""
        if self._cluster.has_head():
            for member in self.members:
                self._cluster.ray.kill(member.handle)
        self.members.clear()
