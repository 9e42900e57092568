"""Work items of a run, what has become of them, and how far the run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.drivers.stage_call import StageCall


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """A job of a stage, as a scheduler sees it.

    Parameters
    ----------
    name : str
        The job in words, such as "infer_shard of patient_001, shard 2".
    owner : str
        What fails with it: the sample that it belongs to; of a job of no sample, its own name.
    stage : str
        Name of its stage.
    needs : frozenset of int
        Positions of the items that have to be done before.
    on_gpu : bool
        Whether an actor runs it, which holds a GPU where there is one.
    of_scan : bool
        Whether its owner is a sample, and not a job by itself.
    shard : bool
        Whether it is a share of the windows or tiles of a sample.
    returns : bool
        Whether what it returns is wanted, which has to be small.
    memory : callable
        Takes the number of the attempt, from 1; returns the memory to ask for in bytes.
    seconds : float
        Expected duration on a reference machine.
    call : callable
        Returns its call; asked when it is about to run.
    """

    name: str
    owner: str
    stage: str = ""
    needs: frozenset[int] = frozenset()
    on_gpu: bool = False
    of_scan: bool = True
    shard: bool = False
    returns: bool = False
    memory: Callable[[int], float]
    seconds: float = 1.0
    call: Callable[[], StageCall]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What became of the items of one owner.

    Parameters
    ----------
    owner : str
        Its name.
    error : str or None
        Why it failed.
    seconds : float
        From the start of its first item to the end of its last.
    values : mapping of str to sequence
        What its jobs returned by stage, where that is wanted.
    """

    owner: str
    error: str | None
    seconds: float
    values: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is.

    Parameters
    ----------
    scans, shards : int
        Numbers of scans, folders of tiles or samples of the run, and of the shares of their
        windows and tiles. What was finished before is not counted.
    scans_done, shards_done : int
        Those that are finished, or have failed.
    failed : int
        Scans that have failed.
    running : tuple of str
        Jobs at work, such as "infer_shard of patient_001, shard 2".
    share : float
        Share of the work that is done, 0 to 1, by the expected durations.
    seconds_left : float or None
        Expected remaining time; None as long as nothing is known.
    """

    scans: int
    scans_done: int
    shards: int
    shards_done: int
    failed: int
    running: tuple[str, ...]
    share: float
    seconds_left: float | None


#: Called with the progress of a run whenever it changes, at least every few seconds.
ProgressCallback = Callable[[RunProgress], None]
