"""Fallbacks for lack of memory: smaller batches, then the CPU, with a record of each step."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import torch

from parafovea.errors import MemoryLimitError
from parafovea.geometry.grid import Shape
from parafovea.inference.execution import Execution
from parafovea.inference.window_plan import window_bytes
from parafovea.runtime.devices import free_bytes
from parafovea.settings.recipe import ModelSpec

logger = logging.getLogger(__name__)

#: Parts of torch's out-of-memory messages that have no exception type of their own.
MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def require_memory(
    spec: ModelSpec, window: Shape, dtype: torch.dtype, device: torch.device
) -> None:
    """Raise `MemoryLimitError` if a whole volume as one window does not fit a device."""
    needed = window_bytes(window, spec, dtype.itemsize)
    free = free_bytes(device)
    if needed > free:
        raise MemoryLimitError(
            f"a volume of {' x '.join(map(str, window))} voxels in one window needs about "
            f"{needed / 2**30:.1f} GiB, but {device.type} has {free / 2**30:.1f} GiB free: set "
            "inference.mode: sliding_window"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the device or the host is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)


def next_execution(tried: Execution, *, halving: bool = True) -> Execution | None:
    """Return the next attempt after memory ran out: half the batch, then the CPU.

    Parameters
    ----------
    tried : Execution
        The attempt that did not fit.
    halving : bool
        Whether the batch may be reduced.

    Returns
    -------
    Execution or None
        The next attempt, with one more fallback; None if there is none.
    """
    device, batch_size = tried.device, tried.batch_size
    reason = f"a batch of {batch_size} did not fit the memory of {device.type}"
    if halving and batch_size > 1:
        batch_size //= 2
        reason = f"{reason}: reduced to {batch_size}"
    elif device.type != "cpu":
        device = torch.device("cpu")
        reason = f"{reason}: continued on the CPU"
    else:
        return None
    return Execution(device, batch_size, (*tried.fallbacks, reason))


def run_within_memory(
    compute: Callable[[Execution], None], first: Execution, *, halving: bool = True
) -> Execution:
    """Run a computation, restarting it with less memory if memory runs out.

    A computation is always restarted from the beginning, so that its result is that of a single
    batch size and device.

    Parameters
    ----------
    compute : callable
        Does the whole computation for an `Execution`; must leave nothing behind on failure.
    first : Execution
        The first attempt.
    halving : bool
        Whether the batch may be reduced.

    Returns
    -------
    Execution
        The attempt that succeeded.

    Raises
    ------
    MemoryLimitError
        If no attempt fits.
    """
    execution = first
    while True:
        reason = _shortage(compute, execution)
        if reason is None:
            return execution
        following = next_execution(execution, halving=halving)
        if following is None:
            raise MemoryLimitError(
                f"a batch of {execution.batch_size} does not fit the memory of "
                f"{execution.device.type} ({reason}): give the job more memory, or set a smaller "
                "inference.window with mode: sliding_window"
            )
        logger.warning("out of memory, %s (%s)", following.fallbacks[-1], reason)
        execution = following


def _shortage(compute: Callable[[Execution], None], execution: Execution) -> str | None:
    """Return the message of a lack of memory, else None; the error's frames are released."""
    try:
        compute(execution)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        return None
    gc.collect()
    if execution.device.type == "cuda":
        torch.cuda.empty_cache()
    return reason
