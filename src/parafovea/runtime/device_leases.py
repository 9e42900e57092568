"""One GPU a job where several jobs share a machine: a lock file stands for each device.

Snakemake counts GPUs but does not say which one a job gets. A job takes the first device whose
file nobody has locked. The system drops a lock when the process ends, however it ends, so nothing
has to be cleaned up.
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

#: Which devices CUDA shows a process: Slurm sets it, and a user may.
VISIBLE = "CUDA_VISIBLE_DEVICES"

#: Seconds between two looks at devices that are all taken.
INTERVAL = 1.0


@contextlib.contextmanager
def leased(devices: Sequence[str], *, folder: Path | None = None) -> Iterator[str]:
    """Yield a device that no other process has leased; wait while all are taken.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices, as `CUDA_VISIBLE_DEVICES` spells them; at least one.
    folder : Path, optional
        Where the lock files lie; by default one of the user's own on this machine.

    Yields
    ------
    str
        One of `devices`, held until the context or the process ends.

    Raises
    ------
    ConfigError
        If the folder for the lock files belongs to someone else.
    """
    place = _own_folder() if folder is None else folder
    with contextlib.ExitStack() as stack:
        waiting = False
        while True:
            for device in devices:
                if _taken(place / f"{device.replace('/', '_')}.lock", stack):
                    logger.info("on GPU %s of %s", device, ", ".join(devices))
                    yield device
                    return
            if not waiting:
                waiting = True
                logger.info(
                    "all %d GPUs are taken, waiting for one: snakemake --resources gpu=%d starts "
                    "no more jobs than there are GPUs",
                    len(devices),
                    len(devices),
                )
            time.sleep(INTERVAL)


def visible_devices(count: int) -> list[str]:
    """Return the names of the CUDA devices that this process may use.

    Parameters
    ----------
    count : int
        How many there are.
    """
    stated = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return stated[:count] if stated else [str(number) for number in range(count)]


def _taken(file: Path, stack: contextlib.ExitStack) -> bool:
    """Try to lock a file; the stack then holds it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    stack.callback(os.close, handle)
    return True


def _own_folder() -> Path:
    """Return the folder of this user's locks; those of a Slurm allocation are apart.

    Two allocations on one node may both count their devices from 0.
    """
    name = f"parafovea-gpus-{os.getuid()}"
    allocation = os.environ.get("SLURM_JOB_ID")
    folder = Path(tempfile.gettempdir()) / (f"{name}-{allocation}" if allocation else name)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(
            f"{folder} belongs to someone else, so that no GPU can be locked in it: remove it, or "
            "set TMPDIR to a folder of your own"
        )
    return folder
