"""Runs work items on a cluster: what is ready goes to a task or an actor, what is lost goes again.

Ray is asked to retry nothing. A job that is killed for lack of memory has to ask for more the next
time, which Ray cannot; stages write their results whole or not at all, so that any job can be run
again.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parafovea.drivers.ray.actors import Actors, Member
from parafovea.drivers.ray.cluster import Cluster, job_environment
from parafovea.drivers.ray.staff import Staff
from parafovea.drivers.ray.work import Finished, ProgressCallback, RunProgress, WorkItem
from parafovea.drivers.ray.worker import Outcome, Workplace, run_call
from parafovea.errors import ClusterError, ParafoveaError, describe

logger = logging.getLogger(__name__)

#: Times that a job is tried whose process was ended.
ATTEMPTS = 3

#: Seconds between two looks at the cluster, until jobs that are cancelled are killed, and until a
#: cluster without GPUs or CPUs for the rest of the work is given up.
LOOK, GRACE, STALLED = 1.0, 30.0, 120.0

#: Seconds between two counts of the nodes, and until a run says that it waits for its actors.
COUNT, WAITS = 5.0, 60.0

#: What an actor's death says if it was killed for lack of memory.
LOW_MEMORY = "low on memory"

Lost = tuple[type[BaseException], ...]


@dataclass(frozen=True, kw_only=True)
class _Flight:
    """A job, or the start of an actor, of which the cluster has not said yet what became of it."""

    item: int = -1
    member: Member | None = None
    memory: float = 0.0


def ignored(progress: RunProgress) -> None:
    """Show no progress."""


class Schedule:
    """A run of work items.

    Parameters
    ----------
    cluster : Cluster
        Where they run.
    staff : Staff
        What the run takes of it.
    items : sequence of WorkItem
        In execution order, those that are to be finished first at the front.
    workplace : Workplace
        Folder of the run.
    threads : int
        Threads of torch in each job.
    finished : callable
        Called with what became of each owner, as soon as it is known.
    progress : callable
        Called with the progress.
    """

    def __init__(
        self,
        cluster: Cluster,
        staff: Staff,
        items: Sequence[WorkItem],
        *,
        workplace: Workplace,
        threads: int,
        finished: Callable[[Finished], None],
        progress: ProgressCallback = ignored,
    ) -> None:
        self._cluster, self._ray, self._staff = cluster, cluster.ray, staff
        self._items = items
        self._workplace = workplace
        self._finished, self._progress = finished, progress
        self._actors = Actors(
            cluster, staff, workplace, job_environment(threads, gpu=staff.on_gpus)
        )
        self._task = self._ray.remote(
            num_cpus=1,
            max_retries=0,
            runtime_env={"env_vars": job_environment(threads, gpu=False)},
        )(run_call)
        self._needs = [set(item.needs) for item in items]
        self._needed_by: list[list[int]] = [[] for _ in items]
        for number, item in enumerate(items):
            for other in item.needs:
                self._needed_by[other].append(number)
        self._items_of: dict[str, list[int]] = {}
        for number, item in enumerate(items):
            self._items_of.setdefault(item.owner, []).append(number)
        self._scans = {item.owner for item in items if item.of_scan}
        #: Owners that nothing has been started of, the next one at the end.
        self._coming = list(self._items_of)[::-1]
        self._ready: dict[bool, list[int]] = {True: [], False: []}
        self._flights: dict[Any, _Flight] = {}
        self._attempts: Counter[int] = Counter()
        self._short: Counter[int] = Counter()
        self._ended: set[int] = set()
        self._left = Counter(item.owner for item in items)
        self._flying: Counter[str] = Counter()
        self._errors: dict[str, str] = {}
        self._began: dict[str, float] = {}
        self._values: dict[str, dict[str, list[Any]]] = {}
        self._settled: set[str] = set()
        self._start = self._counted = self._supplied = time.monotonic()
        self._told = False

    def run(self) -> None:
        """Run all items.

        Raises
        ------
        ClusterError
            If the cluster goes away, or has nothing left that the rest of the work needs. What is
            finished stays, and a run of the rest continues it.
        KeyboardInterrupt
            If the user interrupts the run, after its jobs have been cancelled.
        """
        try:
            if any(item.on_gpu for item in self._items):
                for _ in range(self._staff.actors):
                    self._start_actor()
            while len(self._ended) < len(self._items):
                self._submit()
                self._wait()
            self._actors.end()
        except self._ray.exceptions.RayError as error:
            raise ClusterError(
                f"the Ray cluster at {self._cluster.address} failed ({_line(error)}): run the same "
                "command again; what is finished is kept"
            ) from error
        except BaseException:
            # without a head, nobody is there to be asked to stop
            if self._cluster.has_head():
                self._cancel()
            raise

    def _submit(self) -> None:
        """Start what is ready and fits, first items first."""
        most = self._staff.slots + 2 * self._staff.actors
        # more scans at work would be more intermediate results on the disk, and finish no sooner
        while self._coming and (
            len(self._began) - len(self._settled) < most
            # those at work wait for others
            or not (self._flights or any(self._ready.values()))
        ):
            self._admit(self._coming.pop())
        while (number := self._next()) is not None:
            member = self._actors.idle() if self._items[number].on_gpu else None
            self._give(number, member)

    def _admit(self, owner: str) -> None:
        """Let the jobs of an owner begin."""
        self._began[owner] = time.monotonic()
        for number in self._items_of[owner]:
            if not self._needs[number]:
                self._queue(number)
        self._settle(owner)

    def _queue(self, number: int) -> None:
        """Put an item among those that can be started, unless it is over or not to be begun yet."""
        item = self._items[number]
        if number not in self._ended and item.owner in self._began:
            heapq.heappush(self._ready[item.on_gpu], number)

    def _next(self) -> int | None:
        """Return the first item that can be started now, None if there is none."""
        tasks, busy = self._tasks(), 0 if self._staff.on_gpus else self._actors.busy()
        slot = tasks + busy < self._staff.slots
        gpu = self._actors.idle() is not None and (slot or self._staff.on_gpus)
        for ready in self._ready.values():
            while ready and ready[0] in self._ended:
                heapq.heappop(ready)
        open_ = [on_gpu for on_gpu in (True, False) if self._ready[on_gpu]]
        fit = [on_gpu for on_gpu in open_ if (gpu if on_gpu else slot)]
        if not fit:
            return None
        return heapq.heappop(self._ready[min(fit, key=lambda on_gpu: self._ready[on_gpu][0])])

    def _tasks(self) -> int:
        return sum(f.member is None for f in self._flights.values())

    def _give(self, number: int, member: Member | None) -> None:
        """Start a job in an actor, or as a task."""
        item = self._items[number]
        try:
            call = item.call()
        except ParafoveaError as error:
            self._fail(number, describe(error))
            return
        memory = 0.0
        if member is not None:
            reference = self._actors.give(member, call, returns=item.returns)
        else:
            memory = self._memory(number)
            options = {"memory": int(memory), "name": item.name}
            task = self._task.options(**options)
            reference = task.remote(call, self._workplace, returns=item.returns)
        self._attempts[number] += 1
        self._flying[item.owner] += 1
        self._flights[reference] = _Flight(item=number, member=member, memory=memory)

    def _memory(self, number: int) -> float:
        """Return the memory that a task asks for: after a lack of it twice as much, then all."""
        lacks, room = self._short[number], self._staff.room
        return room if lacks > 1 else min(self._items[number].memory(1 + lacks), room)

    def _start_actor(self) -> None:
        reference, member = self._actors.start()
        self._flights[reference] = _Flight(member=member)

    def _wait(self) -> None:
        """Wait until something has become of a job, but not for long."""
        done, _ = self._ray.wait(list(self._flights), num_returns=1, timeout=LOOK)
        for reference in done:
            flight = self._flights.pop(reference)
            if flight.item < 0:
                self._arrive(reference, flight)
            else:
                self._flying[self._items[flight.item].owner] -= 1
                self._land(reference, flight)
        self._cluster.require_head()
        self._count_nodes()
        self._progress(self._now())

    def _arrive(self, reference: Any, flight: _Flight) -> None:
        """Note that an actor has started, or start another one."""
        assert flight.member is not None  # noqa: S101  (for mypy)
        lost = self._lost()
        try:
            self._actors.begin(flight.member, self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except lost as error:
            self._lose_actor(flight.member, error)

    def _land(self, reference: Any, flight: _Flight) -> None:
        """Note what became of a job."""
        errors = self._ray.exceptions
        lost = self._lost()
        try:
            outcome: Outcome = self._ray.get(reference)
        except errors.RayTaskError as error:
            # nothing of a stage: this package is not installed on the node, for example
            if flight.member is not None:
                self._actors.take_back(flight.member)
            self._fail(flight.item, str(_cause(error)))
        except errors.OutOfMemoryError as error:
            self._retry_with_more(flight, error)
        except lost as error:
            if LOW_MEMORY in str(error):
                self._retry_with_more(flight, error)
            else:
                self._retry(flight, error)
        else:
            if flight.member is not None:
                self._actors.take_back(flight.member)
            self._conclude(flight, outcome)

    def _conclude(self, flight: _Flight, outcome: Outcome) -> None:
        item = self._items[flight.item]
        for message in outcome.warnings:
            logger.warning("%s: %s", item.name, message)
        if outcome.error is None:
            if outcome.value is not None:
                own = self._values.setdefault(item.owner, {})
                own.setdefault(item.stage, []).append(outcome.value)
            self._end(flight.item)
        elif outcome.short_of_memory and flight.member is None and self._grow(flight):
            self._queue(flight.item)
        else:
            if outcome.trace:
                logger.error("%s failed, which was not foreseen:\n%s", item.name, outcome.trace)
            self._fail(flight.item, outcome.error)

    def _retry(self, flight: _Flight, error: BaseException) -> None:
        """Run a job again whose process, actor or node is gone, or give it up."""
        self._cluster.wait_for_head()
        item, tried = self._items[flight.item], self._attempts[flight.item]
        logger.warning("%s was lost: %s", item.name, _line(error))
        if flight.member is not None:
            self._lose_actor(flight.member, error)
        if tried < ATTEMPTS:
            self._queue(flight.item)
            return
        self._fail(
            flight.item,
            f"{item.name} was ended {tried} times by the system, or with its node: it may have "
            "needed more memory than there is, or the file is damaged; run it alone to see which",
        )

    def _retry_with_more(self, flight: _Flight, error: BaseException) -> None:
        """Run a job again that was killed for lack of memory, asking for more, or give it up."""
        self._cluster.wait_for_head()
        item = self._items[flight.item]
        logger.warning("%s was ended for lack of memory: %s", item.name, _line(error))
        if flight.member is not None:
            self._lose_actor(flight.member, error)
            if self._attempts[flight.item] < ATTEMPTS:
                self._queue(flight.item)
                return
        elif self._grow(flight):
            self._queue(flight.item)
            return
        asked = self._staff.actor_memory if flight.member is not None else flight.memory
        self._fail(
            flight.item,
            f"{item.name} needs more memory than the {asked / 1e6:,.0f} MB that it asked for last: "
            "use nodes with more memory, or run fewer jobs on each",
        )

    def _grow(self, flight: _Flight) -> bool:
        """Let a task ask for more memory the next time; return whether it can, and may run."""
        number = flight.item
        self._short[number] += 1
        return self._attempts[number] < ATTEMPTS and self._memory(number) > flight.memory

    def _lose_actor(self, member: Member, error: BaseException) -> None:
        self._cluster.wait_for_head()
        self._actors.lose(member, error)
        if any(i.on_gpu and n not in self._ended for n, i in enumerate(self._items)):
            self._start_actor()

    def _end(self, number: int) -> None:
        """Note that an item is done, which others may have waited for."""
        self._forget(number)
        for other in self._needed_by[number]:
            self._needs[other].discard(number)
            if not self._needs[other]:
                self._queue(other)
        self._settle(self._items[number].owner)

    def _forget(self, number: int) -> None:
        self._ended.add(number)
        self._left[self._items[number].owner] -= 1

    def _fail(self, number: int, reason: str) -> None:
        """Note that an owner has failed, and all that need the result; drop what is for nothing."""
        owner = self._items[number].owner
        self._errors.setdefault(owner, reason)
        dropped, waiting = {number}, [number]
        while waiting:
            for other in self._needed_by[waiting.pop()]:
                if other not in dropped and other not in self._ended:
                    dropped.add(other)
                    waiting.append(other)
        for each in dropped:
            text = f"it needs the result of {owner!r}, which failed"
            self._errors.setdefault(self._items[each].owner, text)
        # what is left of those that failed goes on only if another owner can use it
        flying = {flight.item for flight in self._flights.values()}
        wanted: set[int] = set()
        for each in reversed(range(len(self._items))):
            if each in self._ended or each in dropped:
                continue
            of_use = any(other in wanted for other in self._needed_by[each])
            if of_use or self._items[each].owner not in self._errors:
                wanted.add(each)
            elif each not in flying:
                dropped.add(each)
        for each in dropped:
            self._forget(each)
        for name in {self._items[each].owner for each in dropped}:
            self._settle(name)

    def _settle(self, owner: str) -> None:
        """Tell what became of an owner once none of its jobs runs or waits any more."""
        if owner in self._settled or self._left[owner] or self._flying[owner]:
            return
        self._settled.add(owner)
        if owner in self._coming:
            self._coming.remove(owner)
        began = self._began.setdefault(owner, time.monotonic())
        self._finished(
            Finished(
                owner=owner,
                error=self._errors.get(owner),
                seconds=time.monotonic() - began,
                values=self._values.get(owner, {}),
            )
        )

    def _count_nodes(self) -> None:
        """Follow what the cluster has, and give up if it stays without what the rest needs."""
        now = time.monotonic()
        if now - self._counted < COUNT:
            return
        self._counted = now
        if not self._cluster.has_head():
            # Ray would not answer
            return
        nodes = self._cluster.nodes()
        cpus, gpus = sum(n.cpus for n in nodes), sum(n.gpus for n in nodes)
        largest = max((n.memory for n in nodes if n.cpus), default=0.0)
        if cpus:
            room = min(self._staff.room, largest)
            self._staff = replace(self._staff, slots=cpus, room=room)
        waits = any(i.on_gpu and n not in self._ended for n, i in enumerate(self._items))
        if cpus and (gpus or not self._staff.on_gpus or not waits):
            self._supplied = now
        if waits and not self._told and not self._actors.started and now - self._start > WAITS:
            self._told = True
            logger.warning(
                "no actor has started yet: %s of the cluster may be in use by others",
                "the GPUs" if self._staff.on_gpus else "the memory",
            )
        if now - self._supplied > STALLED:
            what = "CPU" if not cpus else "GPU"
            raise ClusterError(
                f"no {what} is left in the Ray cluster at {self._cluster.address}: add nodes to "
                "it and run the same command again; what is finished is kept"
            )

    def _now(self) -> RunProgress:
        items = self._items
        total = sum(item.seconds for item in items)
        done = sum(items[number].seconds for number in self._ended)
        share = done / total if total else 1.0
        elapsed = time.monotonic() - self._start
        shards = [number for number, item in enumerate(items) if item.shard]
        return RunProgress(
            scans=len(self._scans),
            scans_done=len(self._settled & self._scans),
            shards=len(shards),
            shards_done=sum(number in self._ended for number in shards),
            failed=len(self._errors.keys() & self._settled & self._scans),
            running=tuple(items[f.item].name for f in self._flights.values() if f.item >= 0),
            share=share,
            seconds_left=elapsed * (1 - share) / share if share else None,
        )

    def _cancel(self) -> None:
        """End all jobs so that none leaves anything half-written."""
        logger.info("cancelling %d jobs", len(self._flights))
        waits = self._actors.cancel()
        for reference, flight in self._flights.items():
            if flight.member is None:
                self._ray.cancel(reference, force=False)
            if flight.item >= 0:
                waits.append(reference)
        end = time.monotonic() + GRACE
        while waits and time.monotonic() < end:
            _, waits = self._ray.wait(waits, num_returns=len(waits), timeout=LOOK)
        for reference in waits:
            if reference in self._flights and self._flights[reference].member is None:
                self._ray.cancel(reference, force=True)
        self._actors.end()

    def _lost(self) -> Lost:
        """Return the errors of jobs that are lost by no fault of their own."""
        errors = self._ray.exceptions
        return (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.RayActorError,
            errors.ObjectLostError,
        )


def _cause(error: Any) -> BaseException:
    """Return the error of a job as it was raised on its node, in one sentence."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ParafoveaError):
        return type(cause)(str(cause))
    return ClusterError(f"a job could not start on its node: {_line(cause or error)}")


def _line(error: BaseException) -> str:
    """Return the beginning of an error's message as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
