"""Choice of the compute device and precision."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Literal

import psutil
import torch

from parafovea.errors import ConfigError

#: Overrides the choice of device: "cpu", "cuda" or "cuda:1".
DEVICE_VARIABLE = "PARAFOVEA_DEVICE"


def choose_device() -> torch.device:
    """Return the first CUDA device, or the CPU if there is none.

    Raises
    ------
    ConfigError
        If the environment variable `PARAFOVEA_DEVICE` names a device that is not available.
    """
    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if wanted not in ("cpu", *cards, *(["cuda"] if cards else [])):
        raise ConfigError(
            f"{DEVICE_VARIABLE}={wanted} is not available on this machine: unset it, or use "
            f"{' or '.join(['cpu', *cards])}"
        )
    return torch.device(wanted)


def device_or_cpu(wanted: str) -> str:
    """Return a device, or the CPU if it is a GPU and torch finds none on this machine.

    For devices named by a config that comes from another machine; the caller says which it is.

    Parameters
    ----------
    wanted : str
        "cpu", "cuda" or "cuda:1".
    """
    return "cpu" if wanted.startswith("cuda") and not torch.cuda.is_available() else wanted


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes bfloat16 natively, and therefore faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16"))


def choose_dtype(
    precision: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> torch.dtype:
    """Return the dtype of a network's convolutions.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto" is bfloat16 if the device computes it natively, otherwise float32.
    device : torch.device
        Device of the network.
    """
    if precision == "auto":
        return torch.bfloat16 if computes_bfloat16(device) else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; for the CPU, that of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def keep_buffers() -> None:
    """Make glibc keep large freed buffers instead of returning them to the system.

    A network frees and allocates the same tens of megabytes for every window; without this, each
    allocation costs thousands of page faults. Does nothing with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mmap_threshold, trim_threshold = -3, -1  # from malloc.h
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def cpu_name() -> str:
    """Return the processor's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
