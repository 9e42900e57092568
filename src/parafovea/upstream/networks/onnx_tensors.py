"""The intermediate tensors of an ONNX graph: their shapes, and the graph cut at one of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from parafovea.backbones.network_graph import computed
from parafovea.errors import ModelError, shown
from parafovea.models.networks.onnx_network import onnx_session
from parafovea.runtime.optional_packages import import_extra
from parafovea.upstream.networks.onnx_file import MAIN

#: Types of tensors that may be features, by their names in ONNX.
FLOATS = {torch.float32: "FLOAT", torch.float16: "FLOAT16"}

#: Tensors that are computed at a time, which bounds the memory that they take.
AT_ONCE = 200


class OnnxTensors:
    """The tensors of an ONNX file that was checked by `read_onnx`.

    Parameters
    ----------
    path : Path
        The file, with the files of its external data beside it.
    """

    def __init__(self, path: Path) -> None:
        self._onnx = import_extra("onnx", extra="onnx")
        self._path = path
        self._model = self._onnx.load_model(str(path))
        self._types: dict[str, tuple[torch.dtype, int]] = {}

    def shapes(self, sides: Sequence[int]) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of all float tensors, in the order in which they are computed.

        Parameters
        ----------
        sides : sequence of int
            Shape of the input.

        Raises
        ------
        ModelError
            If the graph does not take this shape.
        """
        names = [name for node in self._model.graph.node for name in filter(None, node.output)]
        noise = torch.rand(tuple(sides), generator=torch.Generator().manual_seed(0))
        found: dict[str, tuple[int | None, ...]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for start in range(0, len(names), AT_ONCE):
                # sizes that depend on values, such as those of a padding, are known by running it
                for name, values in self._run(names[start : start + AT_ONCE], noise, Path(folder)):
                    if isinstance(values, torch.Tensor) and values.dtype in FLOATS:
                        found[name] = tuple(values.shape)
                        self._types[name] = values.dtype, values.ndim
        return found

    def _run(self, names: Sequence[str], noise: torch.Tensor, folder: Path) -> Any:
        """Return names and values of some tensors for an input."""
        onnx = self._onnx
        part = onnx.ModelProto()
        part.CopyFrom(self._model)
        part.graph.ClearField("output")
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        path = folder / MAIN
        onnx.save_model(part, str(path), save_as_external_data=part.ByteSize() >= 2**31)
        session = onnx_session(path, torch.device("cpu"))
        return computed(session, noise, str(self._path)).items()

    def is_half(self, name: str) -> bool:
        """Return whether a tensor of `shapes` has half precision."""
        return self._types[name][0] == torch.float16

    def cut(self, name: str, folder: Path) -> Path:
        """Write the part of the graph that computes a tensor, its only output.

        Parameters
        ----------
        name : str
            One of the tensors of `shapes`, which was called before.
        folder : Path
            Folder of the file.

        Returns
        -------
        Path
            The file, its weights included.

        Raises
        ------
        ModelError
            If the part is too large for one file.
        """
        onnx, graph = self._onnx, self._model.graph
        needed, kept = {name}, []
        for node in reversed(graph.node):
            if needed & set(node.output):
                needed |= set(_read(onnx, node))
                kept.append(node)
        part = onnx.ModelProto()
        part.CopyFrom(self._model)
        # symbolic names of free sides may be bound to outputs that are gone
        for field in ("node", "initializer", "sparse_initializer", "value_info", "output"):
            part.graph.ClearField(field)
        part.graph.ClearField("quantization_annotation")
        part.graph.node.extend(reversed(kept))
        part.graph.initializer.extend(each for each in graph.initializer if each.name in needed)
        part.graph.sparse_initializer.extend(
            each for each in graph.sparse_initializer if each.values.name in needed
        )
        weights = {each.name for each in graph.initializer} - needed
        inputs = [each for each in graph.input if each.name not in weights]
        part.graph.ClearField("input")
        part.graph.input.extend(inputs)
        dtype, axes = self._types[name]
        kind = getattr(onnx.TensorProto, FLOATS[dtype])
        part.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, [None] * axes))
        size = part.ByteSize()
        if size >= 2**31:
            raise ModelError(
                f"{self._path} up to {shown(name)} has {size} bytes, but an ONNX file has at most "
                f"{2**31 - 1}: choose an earlier tensor"
            )
        path = folder / MAIN
        onnx.save_model(part, str(path))
        onnx.checker.check_model(str(path))
        return path


def _read(onnx: Any, node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, those that graphs within it read included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []
        for graph in (*graphs, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _read(onnx, inner)
