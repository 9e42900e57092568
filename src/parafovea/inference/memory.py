"""What happens when memory runs out: a smaller batch, then the CPU, and a record of each step."""

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

#: Parts of the messages by which torch says that memory is full, where it has no type for it.
MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def require_memory(
    spec: ModelSpec, window: Shape, dtype: torch.dtype, device: torch.device
) -> None:
    """Raise `MemoryLimitError` where one window that is a whole volume cannot fit a device."""
    needed = window_bytes(
        window,
        base_channels=spec.network.base_channels,
        classes=len(spec.classes),
        itemsize=dtype.itemsize,
    )
    free = free_bytes(device)
    if needed > free:
        raise MemoryLimitError(
            f"a volume of {' x '.join(map(str, window))} voxels in one window needs about "
            f"{needed / 2**30:.1f} GiB, but {device.type} has {free / 2**30:.1f} GiB free: set "
            "inference.mode: sliding_window"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory, of the device or the host, is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)


def next_execution(tried: Execution, *, halving: bool = True) -> Execution | None:
    """Return what to try where memory was too small: half the batch, then the CPU.

    Parameters
    ----------
    tried : Execution
        What did not fit.
    halving : bool
        Whether the batch may become smaller.

    Returns
    -------
    Execution or None
        With one fallback more; None where nothing smaller is left.
    """
    device, batch_size = tried.device, tried.batch_size
    told = f"a batch of {batch_size} did not fit the memory of {device.type}"
    if halving and batch_size > 1:
        batch_size //= 2
        told = f"{told}: the batch became {batch_size}"
    elif device.type != "cpu":
        device = torch.device("cpu")
        told = f"{told}: went on with the CPU"
    else:
        return None
    return Execution(device, batch_size, (*tried.fallbacks, told))


def run_within_memory(
    compute: Callable[[Execution], None], first: Execution, *, halving: bool = True
) -> Execution:
    """Compute, and where memory runs out, from the start again with less.

    A computation is never continued in another way than it began, so that its result is that of
    the one batch size and device that it ended with.

    Parameters
    ----------
    compute : callable
        Does the whole work in the given way; must leave nothing behind where it fails.
    first : Execution
        What to try first.
    halving : bool
        Whether the batch may become smaller.

    Returns
    -------
    Execution
        What did fit.

    Raises
    ------
    MemoryLimitError
        If not even the least fits.
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
    """Return what is said where memory runs out, else None; the error's frames are let go."""
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
