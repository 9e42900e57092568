"""The Ray cluster of a run: found or refused in one sentence, watched, and left again."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.errors import ClusterError
from parafovea.runtime.device_leases import VISIBLE
from parafovea.runtime.devices import DEVICE_VARIABLE
from parafovea.runtime.optional_packages import import_extra

logger = logging.getLogger(__name__)

#: How to start a cluster, for messages.
START = "ray start --head"

#: Variables of the run that change results or how they are made, and so go with every job.
FORWARDED = ("PYTHONPATH", "SOURCE_DATE_EPOCH", "PARAFOVEA_")

#: Seconds to wait for an answer of the head, between two questions, and until it counts as gone.
PATIENCE, PAUSE, GONE = 3.0, 2.0, 15.0

_HOST_AND_PORT = re.compile(r"(?P<host>[^:/\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")


@dataclass(frozen=True)
class Node:
    """What a node of the cluster has.

    Parameters
    ----------
    cpus, gpus : int
        Numbers of CPUs and GPUs, as Ray counts them.
    memory : float
        Memory in bytes that Ray gives to jobs.
    """

    cpus: int
    gpus: int
    memory: float


class Cluster:
    """A connection to a running cluster.

    Parameters
    ----------
    address : str
        Address of its head, for messages and to see whether it is still there.
    """

    def __init__(self, address: str) -> None:
        self.ray = import_ray()
        self.address = address
        self._seen = self._asked = time.monotonic()

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return [
            Node(
                cpus=int(node["Resources"].get("CPU", 0)),
                gpus=int(node["Resources"].get("GPU", 0)),
                memory=float(node["Resources"].get("memory", 0)),
            )
            for node in self.ray.nodes()
            if node["Alive"]
        ]

    def require_head(self) -> None:
        """Make sure that the head is there, by asking at times whether it takes connections.

        Ray itself waits a minute for a head that has gone, and then ends the process.

        Raises
        ------
        ClusterError
            If it has not been there for `GONE` seconds.
        """
        if time.monotonic() - self._asked > PAUSE:
            self.has_head()
        if self._asked - self._seen > GONE:
            raise self.gone()

    def has_head(self) -> bool:
        """Return whether the head takes connections now."""
        there = answers(self.address)
        self._asked = time.monotonic()
        if there:
            self._seen = self._asked
        return there

    def wait_for_head(self) -> None:
        """Raise `ClusterError` if the head is gone, which may take a moment to see."""
        end = time.monotonic() + GONE
        while not self.has_head():
            if time.monotonic() > end:
                raise self.gone()
            time.sleep(PAUSE / 4)

    def gone(self) -> ClusterError:
        """Return the error of a head that is gone."""
        return ClusterError(
            f"the Ray cluster at {self.address} went away during the run: start it again "
            f"({START}) and run the same command; what is finished is kept"
        )


def import_ray() -> Any:
    """Import Ray, without its usage reports.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # the devices of a process that asks for no GPU are stated with each job
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return import_extra("ray")


@contextlib.contextmanager
def connected(address: str = "auto") -> Iterator[Cluster]:
    """Yield the cluster of a process, and leave it at the end unless it was connected before.

    Parameters
    ----------
    address : str
        "auto" for the cluster that `RAY_ADDRESS` names or that runs on this machine, "local" to
        start one for this run alone, or HOST:PORT of the head.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    ClusterError
        If there is no cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield Cluster(ray.get_runtime_context().gcs_address)
        return
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    _require_address(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise _none(address, error) from error
    try:
        yield Cluster(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def job_environment(threads: int, *, gpu: bool) -> dict[str, str]:
    """Return the environment variables of jobs on the nodes.

    Parameters
    ----------
    threads : int
        Threads of torch: results depend on them, so they are those of a run on this machine.
    gpu : bool
        Whether the process has a GPU, which Ray then makes visible; otherwise none is visible.
    """
    chosen = {name: text for name, text in os.environ.items() if name.startswith(FORWARDED)}
    paths = chosen.get("PYTHONPATH", "").split(os.pathsep)
    if any(paths):
        # jobs start in other folders
        chosen["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths if path)
    chosen["OMP_NUM_THREADS"] = str(threads)
    if gpu:
        chosen.pop(DEVICE_VARIABLE, None)
    else:
        chosen |= {VISIBLE: "", DEVICE_VARIABLE: "cpu"}
    return chosen


def answers(address: str) -> bool:
    """Return whether something takes connections at HOST:PORT."""
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        return False
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), PATIENCE):
            return True
    except (OSError, OverflowError):
        return False


def _require_address(address: str) -> None:
    """Refuse an address at which no cluster can be, without waiting for it."""
    if address in ("auto", "local"):
        return
    if "://" in address:
        raise ClusterError(
            f"address {address} is that of a Ray client: run this on a node of the cluster, with "
            "--address auto or HOST:PORT of its head"
        )
    if _HOST_AND_PORT.fullmatch(address) is None:
        raise ClusterError(f"address {address!r} must be auto, local, or HOST:PORT of the head")
    if not answers(address):
        raise _none(address, None)


def _none(address: str, error: BaseException | None) -> ClusterError:
    where = "on this machine" if address in ("auto", "local") else f"at {address}"
    reason = ""
    if error is not None and "Could not find any running Ray instance" not in str(error):
        reason = f" ({' '.join(str(error).split())[:300]})"
    return ClusterError(f"no Ray cluster answers {where}{reason}: start one with `{START}`")
