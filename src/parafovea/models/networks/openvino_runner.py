"""Networks of other projects in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parafovea.errors import ModelError, describe, shown
from parafovea.models.networks.image_network import Runner
from parafovea.runtime.devices import computes_bfloat16
from parafovea.runtime.optional_packages import import_openvino


def openvino_precision(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which OpenVINO computes on this CPU if `dtype` is chosen."""
    native = dtype == torch.bfloat16 and computes_bfloat16(torch.device("cpu"))
    return torch.bfloat16 if native else torch.float32


def openvino_runner(
    read: Callable[[tuple[int, ...]], Any], dtype: torch.dtype, *, name: str
) -> Runner:
    """Return a function that runs a network with OpenVINO, compiled at the first batch of a shape.

    It uses as many threads as torch, without pinning them to cores, so that several jobs can share
    a machine.

    Parameters
    ----------
    read : callable
        Returns OpenVINO's model, given the shape of a batch.
    dtype : torch.dtype
        Precision, from `openvino_precision`.
    name : str
        Name of the model, for messages.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    """
    core = import_openvino().Core()
    properties = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }
    compiled: dict[tuple[int, ...], Any] = {}

    def compile_for(shape: tuple[int, ...]) -> Any:
        try:
            model = read(shape)
            model.reshape(list(shape))
            return core.compile_model(model, "CPU", properties)
        # its exceptions have no common base but this one
        except Exception as error:
            text = " ".join(describe(error).split())
            raise ModelError(
                f"openvino cannot run {name} on an input of the shape {shape}: "
                f"{shown(text, longest=300)}"
            ) from error

    def run(images: Tensor) -> dict[str, Tensor]:
        shape = tuple(images.shape)
        if shape not in compiled:
            compiled[shape] = compile_for(shape)
        found = compiled[shape]([np.ascontiguousarray(images.numpy())], share_inputs=True)
        # OpenVINO reuses the memory of its outputs for the next batch
        return {
            _name(port, place): torch.from_numpy(np.array(found[port]))
            for place, port in enumerate(compiled[shape].outputs)
        }

    return run


def _name(port: Any, place: int) -> str:
    """Return the name of an output; its place if it has none."""
    names = port.get_names()
    return min(names) if names else str(place)
