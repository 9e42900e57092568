"""The intermediate tensors of a TorchScript network: their shapes, and it cut at one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.jit._fuser import optimized_execution

from parafovea.errors import ModelError, describe, shown
from parafovea.models.networks.torchscript_archive import open_torchscript
from parafovea.runtime.optional_packages import older_torch_allowed
from parafovea.settings.networks import NETWORK_FILES


class TorchScriptTensors:
    """The tensors of a TorchScript file whose source is trusted.

    The program is frozen: weights become constants and modules their operators, so that each tensor
    has a name.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        If it takes anything but one tensor, or cannot be frozen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        module = open_torchscript(path)
        kernels = [tensor for tensor in module.parameters() if tensor.ndim in (4, 5)]
        #: Channels of the input, by the first kernel; None without one.
        self.channels: int | None = kernels[0].shape[1] if kernels else None
        try:
            with older_torch_allowed():
                frozen: Any = torch.jit.freeze(module, optimize_numerics=False)
        except RuntimeError as error:
            text = " ".join(describe(error).split())
            raise ModelError(f"{path} cannot be frozen: {shown(text, longest=300)}") from error
        self._graph: Any = frozen.graph
        inputs = list(self._graph.inputs())
        if len(inputs) != 2:
            raise ModelError(
                f"{path} takes {len(inputs) - 1} inputs, but must take one, the voxels of windows: "
                "export it with one input"
            )

    def shapes(self, sides: Sequence[int]) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of all float tensors, in the order in which they are computed.

        Parameters
        ----------
        sides : sequence of int
            Shape of the input.

        Raises
        ------
        ModelError
            If the network does not take this shape.
        """
        names = [value.debugName() for value in self._values()]
        function = self._function(names)
        noise = torch.rand(tuple(sides), generator=torch.Generator().manual_seed(0))
        try:
            with torch.inference_mode(), older_torch_allowed(), optimized_execution(False):
                found = function(noise)
        except RuntimeError as error:
            text = " ".join(describe(error).split())
            raise ModelError(
                f"{self._path} does not take an input of the shape {tuple(sides)}: "
                f"{shown(text, longest=300)}"
            ) from error
        tensors = found if isinstance(found, tuple) else (found,)
        return {
            name: tuple(tensor.shape)
            for name, tensor in zip(names, tensors, strict=True)
            if tensor.dtype == torch.float32
        }

    def is_half(self, name: str) -> bool:
        """Return False: tensors of half precision are not listed."""
        return False

    def cut(self, name: str, folder: Path) -> Path:
        """Write the part of the program that computes a tensor, its only output.

        Parameters
        ----------
        name : str
            The tensor.
        folder : Path
            Folder of the file.

        Returns
        -------
        Path
            The file, its weights included.
        """
        path = folder / NETWORK_FILES["torchscript"]
        with older_torch_allowed():
            self._function([name]).save(str(path))
        return path

    def _values(self, graph: Any = None) -> Iterator[Any]:
        for node in (graph or self._graph).nodes():
            if node.kind() in ("prim::Constant", "prim::Uninitialized"):
                continue
            for value in node.outputs():
                if value.type().kind() == "TensorType":
                    yield value

    def _function(self, names: Sequence[str]) -> Any:
        """Return the frozen program with other outputs: a function of the images."""
        graph = self._graph.copy()
        # a copy numbers the values without names anew
        names_of = (value.debugName() for value in self._values())
        found = dict(zip(names_of, self._values(graph), strict=True))
        for _ in range(len(list(graph.outputs()))):
            graph.eraseOutput(0)
        for name in names:
            graph.registerOutput(found[name])
        if len(names) > 1:
            graph.makeMultiOutputIntoTuple()
        torch._C._jit_pass_dce(graph)
        own = next(iter(graph.inputs()))
        if own.uses():
            raise ModelError(
                f"{self._path} keeps state between calls: export it in evaluation mode"
            )
        graph.eraseInput(0)
        return torch._C._create_function_from_graph("forward", graph)
