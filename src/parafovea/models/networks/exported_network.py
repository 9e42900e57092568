"""Programs of torch.export, which are data: a graph of torch's operators, and weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from parafovea.models.networks.exported_archive import open_program
from parafovea.models.networks.image_network import GraphNetwork, Runner
from parafovea.runtime.optional_packages import older_torch_allowed
from parafovea.settings.inference import EngineName
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec


class ExportedNetwork(GraphNetwork):
    """A program of torch.export.

    Parameters
    ----------
    spec : ImageNetworkSpec
        Its description.
    program : ExportedProgram
        The program, on the CPU.
    name : str
        Name of the model, for messages.
    """

    def __init__(
        self, spec: ImageNetworkSpec, program: torch.export.ExportedProgram, name: str
    ) -> None:
        super().__init__(spec, _module(program), name)
        self._program = program

    def runner(self, device: torch.device, dtype: torch.dtype, engine: EngineName) -> Runner:
        """Return a function that runs the network; see `ImageNetwork.runner`."""
        if device.type == "cpu":
            return self.module
        # devices are also arguments of nodes, which `Module.to` leaves as they are
        return _module(move_to_device_pass(self._program, str(device)))


def _module(program: torch.export.ExportedProgram) -> nn.Module:
    with older_torch_allowed():
        return program.module(check_guards=False)


def load(folder: Path, spec: ModelSpec) -> ExportedNetwork:
    """Read a program of torch.export from a model folder.

    Raises
    ------
    ModelError
        As `open_program`.
    """
    if not isinstance(spec.network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    program = open_program(folder / NETWORK_FILES["exported"])
    return ExportedNetwork(spec.network, program, spec.name)
