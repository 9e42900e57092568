"""The context that every workflow script runs its stage in: log file, GPU and readable errors."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.device_leases import VISIBLE, leased, visible_devices
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.runtime.runs import Run, storage_error
from parafovea.storage.contents import MEMO, Contents
from parafovea.storage.records import Order, recorded

FORMAT = "%(levelname)s %(name)s: %(message)s"

logger = logging.getLogger("parafovea")

#: Name of a rule's inputs that a job only waits for.
WAITS = "waits"

#: Of a rule's arguments, the one that no function takes: what its result is to be made from.
ORDER = "order"


class stage:  # noqa: N801  (reads as a verb: `with stage(snakemake):`)
    """Context manager for a script's body: sets up log, threads and GPU, and reports errors.

    Its value is the call of the stage's function: inputs and outputs as paths, by the names that
    the rule gives them, and the rule's `arguments`. What the job only waits for is not among them.
    What the result was made from is recorded if the body ends without an error.

    A job that requests a GPU leases one of the visible devices for itself.

    A `ParafoveaError` is reported by its message, any other exception with its traceback, both in
    the log and on stderr; the script then exits with status 1.

    Parameters
    ----------
    job : snakemake.iocontainers.Snakemake
        The `snakemake` object of the script: log records go to its first log file, and messages
        name its wildcards.
    """

    def __init__(self, job: Any) -> None:
        self._job = job
        self._handlers: list[logging.Handler] = []
        self._level = logging.WARNING
        self._order: dict[str, Any] | None = job.params.get("arguments", {}).get(ORDER)
        self._recording: contextlib.AbstractContextManager[None] | None = None
        self._held = contextlib.ExitStack()
        self._began = time.monotonic()

    def __enter__(self) -> dict[str, Any]:
        # lets the next run see that this job is running, even if the run that started it was killed
        self._run = Run(job=True)
        self._handlers = [logging.StreamHandler(sys.stderr)]
        with contextlib.suppress(OSError):
            self._handlers.append(_LogFile(Path(self._job.log[0])))
        root = logging.getLogger()
        self._level = root.level
        for handler in self._handlers:
            handler.setFormatter(logging.Formatter(FORMAT))
            root.addHandler(handler)
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        quiet_libraries()
        # torch uses all cores of the machine by default; only stages that compute import it
        torch = sys.modules.get("torch")
        try:
            if self._order is not None:
                recording = recorded(Order(**self._order), Contents(MEMO))
                recording.__enter__()
                self._recording = recording
            if torch is not None:
                torch.set_num_threads(self._job.threads)
                self._take_device(torch.cuda)
        except Exception as error:
            self.__exit__(type(error), error, error.__traceback__)
        return self._call()

    def _call(self) -> dict[str, Any]:
        files = {**dict(self._job.input.items()), **dict(self._job.output.items())}
        call = {
            name: Path(paths) if isinstance(paths, str) else [Path(path) for path in paths]
            for name, paths in files.items()
            if paths and name != WAITS
        }
        arguments = dict(self._job.params.get("arguments", {}))
        return call | {name: value for name, value in arguments.items() if name != ORDER}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._recording is not None:
            try:
                self._recording.__exit__(kind, error, trace)
            except Exception as found:
                error = found
        if isinstance(error, Exception):
            error = storage_error(error, list(self._job.output)) or error
        if isinstance(error, ParafoveaError):
            made = ", ".join(f"{name} {value}" for name, value in self._job.wildcards.items())
            error.add_note(f"in {self._job.rule}" + (f" of {made}" if made else ""))
            logger.error(describe(error))
        elif isinstance(error, Exception):
            logger.error("%s failed", self._job.rule, exc_info=error)
        elif error is None:
            seconds = time.monotonic() - self._began
            logger.info("done in %.1f s, peak memory %d MB", seconds, _peak_memory())
        self._release()
        if isinstance(error, Exception):
            raise SystemExit(1) from None

    def _take_device(self, cuda: Any) -> None:
        """Make a single device visible to CUDA before it initializes; with one GPU, do nothing."""
        from parafovea.runtime.devices import DEVICE_VARIABLE

        if not self._job.resources.get("gpu", 0) or DEVICE_VARIABLE in os.environ:
            return
        devices = visible_devices(cuda.device_count())
        if len(devices) > 1:
            before = os.environ.get(VISIBLE)
            os.environ[VISIBLE] = self._held.enter_context(leased(devices))
            self._held.callback(_set_visible, before)

    def _release(self) -> None:
        self._held.close()
        logging.captureWarnings(False)
        root = logging.getLogger()
        root.setLevel(self._level)
        for handler in self._handlers:
            root.removeHandler(handler)
            # records that a full disk kept out of the log are on stderr
            with contextlib.suppress(OSError):
                handler.close()
        self._run.close()


def _set_visible(devices: str | None) -> None:
    if devices is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = devices


class _LogFile(logging.FileHandler):
    """The log file of a job; stops silently on a full or read-only disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, mode="w", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Skip a record that could not be written; stderr has it as well."""


def _peak_memory() -> int:
    """Return the peak memory of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # in bytes on macOS, in KiB elsewhere
    return round(peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024))
