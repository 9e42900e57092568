"""The graph of a backbone folder, opened by its engine: one input, one tensor as output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from parafovea.errors import ModelError, describe, shown
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.backbones.folder import BackboneDescription

Result = TypeVar("Result")

#: Images (image, channel, [z,] y, x) float32 to the tensor (image, feature, [z,] y, x).
Graph = Callable[[Tensor], Tensor]


def open_graph(path: Path, kind: str, device: torch.device) -> Graph:
    """Return a function that runs a graph with one input and one output.

    Parameters
    ----------
    path : Path
        The file.
    kind : {"onnx", "torchscript"}
        Its type.
    device : torch.device
        Where it runs; ONNX graphs on a CPU where ONNX Runtime has no provider for it.

    Raises
    ------
    ModelError
        If the engine cannot open it.
    MissingExtraError
        If ONNX Runtime is not installed.
    """
    if kind == "onnx":
        from parafovea.models.networks.onnx_network import onnx_session

        session = onnx_session(path, device)

        def run_session(images: Tensor) -> Tensor:
            (found,) = session(images).values()
            if not isinstance(found, Tensor):
                raise ModelError(f"{path} does not give one array of numbers: import it again")
            return found.float()

        return run_session
    from torch.jit._fuser import optimized_execution

    from parafovea.models.networks.torchscript_archive import open_torchscript
    from parafovea.runtime.optional_packages import older_torch_allowed

    module = open_torchscript(path, device=device)

    def run_module(images: Tensor) -> Tensor:
        with torch.inference_mode(), older_torch_allowed(), optimized_execution(False):
            found: Tensor = module(images.to(device))
        return found.float()

    return run_module


def open_folder(folder: Path, description: BackboneDescription, device: torch.device) -> Graph:
    """Return the graph of a backbone folder, whose file is checked.

    Raises
    ------
    ModelError
        If the file is not the one that was written, or its engine cannot open it.
    """
    path = folder / description.graph
    found = file_sha256(path)
    if found != description.sha256:
        raise ModelError(
            f"{path} has the hash {found[:12]}…, but its description states "
            f"{description.sha256[:12]}…: the file was changed or belongs to another one; copy "
            "the folder again, or import it again"
        )
    return open_graph(path, description.type, device)


def computed(graph: Callable[[Tensor], Result], images: Tensor, source: str) -> Result:
    """Return what a graph gives for images; see `Graph`.

    Raises
    ------
    ModelError
        If the graph does not take images of this shape.
    MemoryError
        If memory is exhausted.
    """
    try:
        return graph(images)
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    # each engine has exceptions of its own for a size that the graph does not take
    except Exception as error:
        text = " ".join(describe(error).split())
        raise ModelError(
            f"{source} does not take an input of the shape {tuple(images.shape)}: "
            f"{shown(text, longest=300)}"
        ) from error
