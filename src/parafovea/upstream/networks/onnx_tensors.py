"""The intermediate tensors of an ONNX graph: their shapes, and the graph cut at one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.runtime.optional_packages import import_extra
from parafovea.upstream.networks.onnx_file import MAIN


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

    def shapes(self, sides: Sequence[int]) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of all float tensors, in the order in which they are computed.

        Parameters
        ----------
        sides : sequence of int
            Shape of the input; numbers that the graph fixes take precedence.
        """
        onnx = self._onnx
        sized = onnx.ModelProto()
        sized.CopyFrom(self._model)
        for axis, side in zip(self._input(sized).type.tensor_type.shape.dim, sides, strict=True):
            if not axis.HasField("dim_value") or axis.dim_value < 1:
                axis.dim_value = side
        # shapes that the file states are of its own sizes
        del sized.graph.value_info[:]
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
        known = {
            value.name: value.type.tensor_type
            for value in (*inferred.graph.value_info, *inferred.graph.output)
        }
        found: dict[str, tuple[int | None, ...]] = {}
        for node in self._model.graph.node:
            for name in filter(None, node.output):
                array = known.get(name)
                if array is None or array.elem_type != onnx.TensorProto.FLOAT:
                    continue
                found[name] = tuple(
                    axis.dim_value if axis.HasField("dim_value") else None
                    for axis in array.shape.dim
                )
        return found

    def cut(self, name: str, folder: Path) -> Path:
        """Write the part of the graph that computes a tensor, its only output.

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
        part.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
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

    def _input(self, model: Any) -> Any:
        weights = {tensor.name for tensor in model.graph.initializer}
        return next(each for each in model.graph.input if each.name not in weights)


def _read(onnx: Any, node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, those that graphs within it read included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []
        for graph in (*graphs, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _read(onnx, inner)
