"""What every script of the workflow does around its one call: the log, and readable errors."""

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
from parafovea.runtime.runs import Run, storage_error

FORMAT = "%(levelname)s %(name)s: %(message)s"

logger = logging.getLogger("parafovea")

#: Name of a rule's inputs that a job only waits for.
WAITS = "waits"

#: Of a rule's arguments, those by which Snakemake sees a change, and which no function takes.
OF_RULE = ("code", "content")


class stage:  # noqa: N801  (reads as a verb: `with stage(snakemake):`)
    """Context of a script's body: sets up its log, its threads and its GPU, and reports its errors.

    Its value is the call of the stage's function: inputs and outputs as paths, by the names that
    the rule gives them, and the rule's `arguments`. What the job only waits for, the fingerprint
    of its code and the hash of a folder's content are not among them.

    A job that asks for a GPU takes one of those that it sees, which no other job then takes.

    A user's mistake is told as its message, anything else with its traceback, both in the log and
    on stderr; the script then ends with status 1.

    Parameters
    ----------
    job : snakemake.iocontainers.Snakemake
        The `snakemake` object of the script: its first log file takes all log records, and its
        wildcards say in messages which result was being made.
    """

    def __init__(self, job: Any) -> None:
        self._job = job
        self._handlers: list[logging.Handler] = []
        self._level = logging.WARNING
        self._held = contextlib.ExitStack()
        self._began = time.monotonic()

    def __enter__(self) -> dict[str, Any]:
        # the next run sees that this job is at work, also when the run that began it was killed
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
        # what it logs as an error is raised as well, and told once, as ours
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        # torch takes all cores of the machine unless told; only stages that compute load it
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(self._job.threads)
            try:
                self._take_device(torch.cuda)
            except ParafoveaError as error:
                self.__exit__(type(error), error, None)
        return self._call()

    def _call(self) -> dict[str, Any]:
        files = {**dict(self._job.input.items()), **dict(self._job.output.items())}
        call = {
            name: Path(paths) if isinstance(paths, str) else [Path(path) for path in paths]
            for name, paths in files.items()
            if paths and name != WAITS
        }
        arguments = dict(self._job.params.get("arguments", {}))
        return call | {name: value for name, value in arguments.items() if name not in OF_RULE}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            logger.info("done in %.1f s, with at most %d MB of memory", seconds, _peak_memory())
        self._release()
        if isinstance(error, Exception):
            raise SystemExit(1) from None

    def _take_device(self, cuda: Any) -> None:
        """Show CUDA one device alone, before it starts; where it has one, there is no choice."""
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
            # what a full disk kept from the log is lost, and told on stderr
            with contextlib.suppress(OSError):
                handler.close()
        self._run.close()


def _set_visible(devices: str | None) -> None:
    if devices is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = devices


class _LogFile(logging.FileHandler):
    """The log of a job; a disk that is full or read-only ends it silently."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, mode="w", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over a record that could not be written; stderr has it, too."""


def _peak_memory() -> int:
    """Return the most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # in bytes on macOS, in KiB elsewhere
    return round(peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024))
