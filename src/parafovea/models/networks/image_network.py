"""Networks of other projects, which take the voxels of windows alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parafovea.errors import ConfigError, ModelError, shown
from parafovea.settings.inference import EngineChoice, EngineName
from parafovea.settings.networks import ImageNetworkSpec

#: Runs a network on (window, channel, [z,] y, x) float32 of its device, and returns its output: a
#: tensor, several, or a mapping of them.
Runner = Callable[[Tensor], Any]


class ImageNetwork(ABC):
    """A network of another project, loaded from its model folder.

    Parameters
    ----------
    spec : ImageNetworkSpec
        Its description.
    name : str
        Name of the model, for messages.
    """

    def __init__(self, spec: ImageNetworkSpec, name: str) -> None:
        self.spec = spec
        self.name = name

    @abstractmethod
    def choose_engine(self, engine: EngineChoice, device: torch.device) -> EngineName:
        """Return the engine that runs the network, resolving `auto`.

        Raises
        ------
        ConfigError
            If the engine cannot run networks of this type on the device.
        MissingExtraError
            If no engine for the network is installed.
        """

    @abstractmethod
    def precision(self, dtype: torch.dtype, engine: EngineName) -> torch.dtype:
        """Return the precision in which an engine computes if `dtype` is chosen for the device."""

    @abstractmethod
    def runner(self, device: torch.device, dtype: torch.dtype, engine: EngineName) -> Runner:
        """Return a function that runs the network on a device.

        Parameters
        ----------
        device : torch.device
            Device of the input and the network.
        dtype : torch.dtype
            Precision, from `precision`.
        engine : str
            Engine, from `choose_engine`.
        """

    def selected(self, output: Any) -> Tensor:
        """Return the chosen output of a runner, (window, channel, [z,] y, x).

        Raises
        ------
        ModelError
            If there is no such output, or it has another number of axes or channels.
        """
        entry, spec = self.spec.entry, self.spec
        found = chosen_entry(output, entry, self.name)
        axes = spec.dimensions + 2
        if found.ndim != axes or found.shape[1] != spec.output_channels:
            raise ModelError(
                f"{self.name}: output {entry!r} has the shape {tuple(found.shape)}, but must have "
                f"{axes} axes, (window, channel, {'z, ' if axes == 5 else ''}y, x), and "
                f"{spec.output_channels} channels: import the network again"
            )
        return found


class ModuleNetwork(ImageNetwork):
    """A network that torch runs.

    Half precisions are those of `torch.autocast`, so that normalizations stay in float32.

    Parameters
    ----------
    spec : ImageNetworkSpec
        Its description.
    module : nn.Module
        The network in evaluation mode, float32.
    name : str
        Name of the model, for messages.
    """

    def __init__(self, spec: ImageNetworkSpec, module: nn.Module, name: str) -> None:
        super().__init__(spec, name)
        self.module = module

    def choose_engine(self, engine: EngineChoice, device: torch.device) -> EngineName:
        """Return "torch"; see `ImageNetwork.choose_engine`."""
        if engine not in ("auto", "torch"):
            raise ConfigError(
                f"engine: {engine} does not run a network of type {self.spec.type}: use auto"
            )
        return "torch"

    def precision(self, dtype: torch.dtype, engine: EngineName) -> torch.dtype:
        """Return `dtype`; see `ImageNetwork.precision`."""
        return dtype

    def runner(self, device: torch.device, dtype: torch.dtype, engine: EngineName) -> Runner:
        """Return a function that runs the module; see `ImageNetwork.runner`."""
        module = self.module.to(device)
        half = dtype != torch.float32

        def run(images: Tensor) -> Any:
            with torch.autocast(device.type, dtype, enabled=half):
                return module(images)

        return run


class GraphNetwork(ModuleNetwork):
    """A graph that torch runs, in the types that it was saved with."""

    def precision(self, dtype: torch.dtype, engine: EngineName) -> torch.dtype:
        """Return float32; see `ImageNetwork.precision`."""
        return torch.float32


def chosen_entry(output: Any, entry: int | str, name: str) -> Tensor:
    """Return one of the outputs of a network.

    Parameters
    ----------
    output : Tensor, sequence or mapping of Tensor
        What the network returned.
    entry : int or str
        Its index or its key; the index of a mapping is its position, and that of a tensor is 0.
    name : str
        Name of the network, for the message.

    Raises
    ------
    ModelError
        If there is no such output, or it is not a tensor.
    """
    if isinstance(output, Tensor):
        known: dict[int | str, Any] = {0: output}
    elif isinstance(output, Mapping):
        known = dict(enumerate(output.values())) | {str(key): output[key] for key in output}
    elif isinstance(output, Sequence):
        known = dict(enumerate(output))
    else:
        raise ModelError(f"{name} returns {type(output).__name__}, not tensors")
    found = known.get(entry)
    if not isinstance(found, Tensor):
        what = "no output" if found is None else f"{type(found).__name__} as output"
        named = shown(", ".join(map(repr, known)))
        raise ModelError(f"{name} has {what} {entry!r}: its outputs are {named}")
    return found
