"""TorchScript networks: programs of torch, saved with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution

from parafovea.models.networks.image_network import GraphNetwork, Runner
from parafovea.models.networks.torchscript_archive import open_torchscript
from parafovea.runtime.optional_packages import older_torch_allowed
from parafovea.settings.inference import EngineName
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec


class TorchScriptNetwork(GraphNetwork):
    """A TorchScript network.

    It runs without optimizations that depend on earlier inputs, so that the result of a window
    does not depend on how many were computed before.
    """

    def runner(self, device: torch.device, dtype: torch.dtype, engine: EngineName) -> Runner:
        """Return a function that runs the network; see `ImageNetwork.runner`."""
        module = self.module.to(device)

        def run(images: Tensor) -> Any:
            with older_torch_allowed(), optimized_execution(False):
                try:
                    return module(images)
                except RuntimeError as error:
                    raise _plain(error) from error

        return run


def _plain(error: RuntimeError) -> Exception:
    """Return an error without the program's text, which comes before its reason.

    The interpreter passes on lack of memory of a GPU as any other error.
    """
    reason = str(error).rpartition("RuntimeError: ")[2].strip()
    return MemoryError(reason) if "CUDA out of memory" in reason else RuntimeError(reason)


def load(folder: Path, spec: ModelSpec) -> TorchScriptNetwork:
    """Read a TorchScript network from a model folder.

    Raises
    ------
    ModelError
        As `open_torchscript`.
    """
    if not isinstance(spec.network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    module = open_torchscript(folder / NETWORK_FILES["torchscript"])
    return TorchScriptNetwork(spec.network, module, spec.name)
