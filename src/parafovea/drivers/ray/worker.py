"""What runs on the nodes: a job of a CPU stage as a task, those of GPU stages in an actor.

Nothing here imports Ray, so that it is imported by its name in Ray's processes. Paths and plain
values come in, an `Outcome` goes back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea import __version__
from parafovea.drivers.stage_call import StageCall
from parafovea.errors import ClusterError, ParafoveaError, describe
from parafovea.runtime.device_leases import VISIBLE
from parafovea.runtime.kept_objects import keep_objects
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.runtime.progress import observed
from parafovea.storage.contents import MEMO, Contents

#: Seconds to wait until a network file system shows what another node has written.
LATENCY = 30.0


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where jobs run.

    Parameters
    ----------
    folder : str
        Working directory of the run, which relative paths count from.
    version : str
        Version of this package in the process that drives the run.
    """

    folder: str
    version: str = __version__

    def enter(self) -> None:
        """Go to the folder.

        Raises
        ------
        ClusterError
            If this node does not have it, or has another version of this package.
        """
        where = f"node {socket.gethostname()}"
        if __version__ != self.version:
            raise ClusterError(
                f"{where} has parafovea {__version__}, but the run was started by {self.version}: "
                "install the same version on all nodes"
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ClusterError(
                f"{where} cannot enter {self.folder} ({error.strerror}): run in a folder that all "
                "nodes share"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    value : object
        What the stage returned, if it was asked for: counts, never arrays.
    error : str or None
        Why it failed, in the words for the user.
    trace : str
        Traceback of an error that was not foreseen, "" without one.
    short_of_memory : bool
        Whether it failed since there was no memory left.
    warnings : tuple of str
        What it logged as warnings.
    seconds : float
        How long it took.
    """

    value: Any = None
    error: str | None = None
    trace: str = ""
    short_of_memory: bool = False
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Station:
    """Where an actor is.

    Parameters
    ----------
    node : str
        Name of its machine.
    process : int
        Number of its process there.
    visible : str
        Its CUDA devices, as `CUDA_VISIBLE_DEVICES` lists them.
    """

    node: str
    process: int
    visible: str


class Cancelled(BaseException):
    """The run is cancelled: raised between the steps of a job, which removes what it wrote."""


def _take_interrupts() -> None:
    """Let a task be cancelled, also on a node that was started with interrupts ignored.

    Ray cancels a task by an interrupt of its main thread; a shell starts what runs in the
    background, such as a node, without.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_call(call: StageCall, workplace: Workplace, *, returns: bool = False) -> Outcome:
    """Make the call of a job, and return what became of it.

    Parameters
    ----------
    call : StageCall
        The job.
    workplace : Workplace
        Where it runs.
    returns : bool
        Whether what the stage returns is part of the outcome.
    """
    start = time.monotonic()
    _take_interrupts()
    quiet_libraries()
    warned = _Warnings()
    logger = logging.getLogger("parafovea")
    logger.addHandler(warned)
    value, found, trace, short = None, None, "", False
    try:
        workplace.enter()
        _wait_for(call.inputs)
        value = call.run(Contents(MEMO))
    except ParafoveaError as error:
        found, short = describe(error), isinstance(error, MemoryError)
    except MemoryError as error:
        found, short = f"it needs more memory than there is ({describe(error)})", True
    except Exception as error:
        found, trace = f"{type(error).__name__}: {describe(error)}", traceback.format_exc()
    finally:
        logger.removeHandler(warned)
    return Outcome(
        value=value if returns else None,
        error=found,
        trace=trace,
        short_of_memory=short,
        warnings=tuple(warned.messages),
        seconds=time.monotonic() - start,
    )


class ModelWorker:
    """An actor that runs the jobs of GPU stages one after the other, and keeps their models loaded.

    Parameters
    ----------
    workplace : Workplace
        Where it runs.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._cancelled = threading.Event()
        keep_objects()

    def station(self) -> Station:
        """Return where this actor is.

        Raises
        ------
        ClusterError
            If its node is not ready for the run.
        """
        self._workplace.enter()
        return Station(
            node=socket.gethostname(), process=os.getpid(), visible=os.environ.get(VISIBLE, "")
        )

    def run(self, call: StageCall, *, returns: bool = False) -> Outcome:
        """Run a job, as `run_call`; raises `Cancelled` after `cancel`."""
        with observed(self._look):
            return run_call(call, self._workplace, returns=returns)

    def cancel(self) -> None:
        """End the job that runs, at its next step; called beside it, from another thread."""
        self._cancelled.set()

    def _look(self, share: float) -> None:
        if self._cancelled.is_set():
            raise Cancelled


def _wait_for(paths: Sequence[Path]) -> None:
    """Wait until inputs are visible on this node; what is missing then is the stage's to report."""
    end = time.monotonic() + LATENCY
    while not all(path.exists() for path in paths) and time.monotonic() < end:
        time.sleep(0.5)


class _Warnings(logging.Handler):
    """Collects warnings, so that they reach the terminal of the run."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())
