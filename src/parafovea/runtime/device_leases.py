"""Leases of GPUs: one device per job if several jobs share a machine, by lock files.

Snakemake counts GPUs but does not assign them to jobs. A job takes the first device whose lock file
is free. The operating system releases the lock when the process ends, in whatever way, so no
cleanup is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from parafovea.errors import ConfigError

logger = logging.getLogger(__name__)

#: Devices visible to CUDA; set by Slurm or by the user.
VISIBLE = "CUDA_VISIBLE_DEVICES"

#: Seconds between attempts while all devices are taken.
INTERVAL = 1.0


@contextlib.contextmanager
def leased(devices: Sequence[str], *, folder: Path | None = None) -> Iterator[str]:
    """Yield a device that no other process has leased; wait while all are taken.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices as in `CUDA_VISIBLE_DEVICES`; at least one.
    folder : Path, optional
        Folder of the lock files; by default a temporary folder of this user.

    Yields
    ------
    str
        One of `devices`, held until the context or the process ends.

    Raises
    ------
    ConfigError
        If the folder of the lock files belongs to another user.
    """
    place = _own_folder() if folder is None else folder
    with contextlib.ExitStack() as stack:
        waiting = False
        while True:
            for device in devices:
                if _taken(place / f"{device.replace('/', '_')}.lock", stack):
                    logger.info("using GPU %s of %s", device, ", ".join(devices))
                    yield device
                    return
            if not waiting:
                waiting = True
                logger.info(
                    "all %d GPUs are in use, waiting for one: run snakemake with --resources "
                    "gpu=%d to start no more jobs than there are GPUs",
                    len(devices),
                    len(devices),
                )
            time.sleep(INTERVAL)


def visible_devices(count: int) -> list[str]:
    """Return the names of the CUDA devices that this process may use.

    Parameters
    ----------
    count : int
        Number of devices.
    """
    stated = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return stated[:count] if stated else [str(number) for number in range(count)]


def _taken(file: Path, stack: contextlib.ExitStack) -> bool:
    """Try to lock a file until the stack closes; return whether it succeeded."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    stack.callback(os.close, handle)
    return True


def _own_folder() -> Path:
    """Return the folder of this user's locks, one for each Slurm allocation.

    Two allocations on one node may both number their devices from 0.
    """
    name = f"parafovea-gpus-{os.getuid()}"
    allocation = os.environ.get("SLURM_JOB_ID")
    folder = Path(tempfile.gettempdir()) / (f"{name}-{allocation}" if allocation else name)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(
            f"{folder} belongs to another user, so no GPU can be locked in it: remove it, or set "
            "TMPDIR to a folder of your own"
        )
    return folder
