"""Reading of ONNX files: checked in full before any engine opens them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import psutil

from parafovea.errors import ModelError, describe, shown
from parafovea.models.folder import CARD
from parafovea.runtime.file_hash import file_sha256
from parafovea.runtime.optional_packages import import_extra
from parafovea.settings.networks import NETWORK_FILES
from parafovea.upstream.networks.stated import Found, Stated
from parafovea.upstream.networks.windows import window_of

#: The oldest operators and the oldest form of a file that the engines run.
OLDEST_OPSET, OLDEST_IR = 7, 3

#: Domains of the operators of the standard.
STANDARD = ("", "ai.onnx", "ai.onnx.ml")

#: Most bytes of a file, by the limit of its encoding; larger weights lie in files beside it.
MOST_BYTES = 2**31 - 1

MAIN = NETWORK_FILES["onnx"]


def read_onnx(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read an ONNX file.

    Nothing is run. Files of external data must lie in the folder of the file, or below it.

    Parameters
    ----------
    path : Path
        The file.
    stated : Stated
        What the options of the import state.
    scratch : Path
        Not used.

    Raises
    ------
    ModelError
        If the file is damaged; too new or too old; has operators beyond the standard, external
        data outside its folder, weights that are not numbers or that are not there, results larger
        than the memory of this machine; or does not take one float32 array of images.
    MissingExtraError
        If onnx is not installed.
    """
    onnx = import_extra("onnx")
    model = _parsed(onnx, path)
    _check_versions(onnx, model, path)
    _check_operators(onnx, model, path)
    tensors = list(_tensors(onnx, model))
    data = _external_files(onnx, tensors, path)
    for where, tensor in tensors:
        _check_tensor(onnx, where, tensor, path)
    sides, facts = _input(onnx, model, stated, path)
    _check_standard(onnx, model, path)
    _check_results(onnx, model, sides, stated, path)
    operators = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    origin = {
        "format": "onnx",
        "file": path.name,
        "sha256": file_sha256(path),
        "producer": shown(f"{model.producer_name} {model.producer_version}".strip()),
        "ir_version": model.ir_version,
        "opset": operators,
        "outputs": [shown(output.name) for output in model.graph.output],
        "metadata": {shown(p.key): shown(p.value) for p in list(model.metadata_props)[:50]},
    }
    return Found(
        type="onnx",
        files={MAIN: path, **data},
        stated=Stated.model_validate(facts),
        input_channels=sides[1],
        origin=origin,
        notes=_notes(model),
    )


def _parsed(onnx: Any, path: Path) -> Any:
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(
            f"{path} has {path.stat().st_size} bytes, but an ONNX file has at most {MOST_BYTES}: "
            "save it again with its weights as external data"
        )
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    # the errors of protobuf are of its own C extension
    except Exception as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is damaged: {shown(_text(error))}"
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path} has no graph: save the ONNX file again")
    return model


def _check_versions(onnx: Any, model: Any, path: Path) -> None:
    newest, operators = onnx.IR_VERSION, onnx.defs.onnx_opset_version()
    again = "for example torch.onnx.export(…, opset_version=17)"
    if not OLDEST_IR <= model.ir_version <= newest:
        age = "new" if model.ir_version > newest else "old"
        raise ModelError(
            f"{path} has the ONNX version (IR) {model.ir_version}, which is too {age}: export it "
            f"again with one from {OLDEST_IR} to {newest}, {again}"
        )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx"))
    if opset is None:
        raise ModelError(f"{path} states no opset: export it again, {again}")
    # functions bring their own
    for function in model.functions:
        for entry in function.opset_import:
            if entry.domain in ("", "ai.onnx") and not OLDEST_OPSET <= entry.version <= operators:
                opset = entry.version
    if not OLDEST_OPSET <= opset <= operators:
        age = "new" if opset > operators else "old"
        raise ModelError(
            f"{path} has the opset {opset}, which is too {age}: export it again with one from "
            f"{OLDEST_OPSET} to {operators}, {again}"
        )


def _bodies(onnx: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """Yield all graphs and functions, those within nodes included, with words for messages."""
    waiting: list[tuple[str, Any]] = [("the graph", model.graph)]
    waiting += [(f"function {shown(f.name)}", f) for f in model.functions]
    kinds = onnx.AttributeProto
    while waiting:
        where, body = waiting.pop()
        yield where, body
        for node in body.node:
            for attribute in node.attribute:
                if attribute.type == kinds.GRAPH:
                    waiting.append((f"a graph of {shown(node.op_type)}", attribute.g))
                elif attribute.type == kinds.GRAPHS:
                    waiting += [(f"a graph of {shown(node.op_type)}", g) for g in attribute.graphs]


def _check_operators(onnx: Any, model: Any, path: Path) -> None:
    """Raise `ModelError` for operators that neither the standard nor the file defines."""
    functions = {(f.domain, f.name): f for f in model.functions}
    custom: Counter[str] = Counter()
    calls: dict[tuple[str, str], set[tuple[str, str]]] = {name: set() for name in functions}
    for _, body in _bodies(onnx, model):
        for node in body.node:
            known = (node.domain, node.op_type) in functions
            if node.domain not in STANDARD and not known:
                custom[f"{node.domain}::{node.op_type}"] += 1
    if custom:
        named = ", ".join(f"{name} ({count})" for name, count in custom.most_common(5))
        raise ModelError(
            f"{path} has operators that are not of the ONNX standard: {shown(named)}; they would "
            "need code of others, so they are refused: export it with standard operators, without "
            "optimizations for one runtime"
        )
    for name, function in functions.items():
        called = {(node.domain, node.op_type) for node in _nodes(onnx, function)}
        calls[name] = called & set(functions)
    _check_acyclic(calls, path)


def _nodes(onnx: Any, body: Any) -> Iterator[Any]:
    for node in body.node:
        yield node
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []
            for graph in (*graphs, *attribute.graphs):
                yield from _nodes(onnx, graph)


def _check_acyclic(calls: dict[tuple[str, str], set[tuple[str, str]]], path: Path) -> None:
    while calls:
        free = [name for name, called in calls.items() if not called]
        if not free:
            name = shown("::".join(next(iter(calls))))
            raise ModelError(f"{path} has the function {name}, which calls itself: it has no end")
        calls = {name: called - set(free) for name, called in calls.items() if name not in free}


def _tensors(onnx: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """Yield all stored tensors, with words for messages."""
    for _, body in _bodies(onnx, model):
        for tensor in getattr(body, "initializer", ()):
            yield f"weight {shown(tensor.name, longest=60)}", tensor
        for sparse in getattr(body, "sparse_initializer", ()):
            yield f"weight {shown(sparse.values.name, longest=60)}", sparse.values
            yield f"weight {shown(sparse.values.name, longest=60)}", sparse.indices
        for node in body.node:
            for attribute in node.attribute:
                where = f"attribute {shown(attribute.name)} of {shown(node.op_type)}"
                for tensor in (attribute.t, *attribute.tensors):
                    if tensor.data_type:
                        yield where, tensor
                if attribute.sparse_tensor.values.data_type:
                    yield where, attribute.sparse_tensor.values
                    yield where, attribute.sparse_tensor.indices


def _external(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _external_files(onnx: Any, tensors: list[tuple[str, Any]], path: Path) -> dict[str, Path]:
    """Return the files of external data, by their name relative to the file's folder."""
    found: dict[str, Path] = {}
    folder = path.parent.resolve()
    for where, tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = _external(tensor).get("location", "")
        if location in found:
            continue
        pure = PurePosixPath(location)
        outside = not location or pure.is_absolute() or ".." in pure.parts or "\\" in location
        if outside or Path(location).is_absolute() or str(pure) != location:
            raise ModelError(
                f"{path} has the data of {where} in {shown(location)!r}, which is not a file in "
                "its folder: put the data beside it, and save it with that name"
            )
        file = folder / location
        links = [part for part in (file, *file.parents) if part != folder and part.is_symlink()]
        if any(folder in part.parents for part in links) or not file.resolve().is_relative_to(
            folder
        ):
            raise ModelError(
                f"{path} has the data of {where} in {shown(location)!r}, which is a link: copy the "
                "file itself beside it"
            )
        if not file.is_file():
            raise ModelError(
                f"{path} has the data of {where} in {shown(location)!r}, which is missing: copy "
                "that file as well"
            )
        if location in (MAIN, CARD):
            raise ModelError(
                f"{path} has external data in {location}, a name of another file of a model "
                "folder: save it with another name for its data"
            )
        found[location] = file
    return found


def _check_tensor(onnx: Any, where: str, tensor: Any, path: Path) -> None:
    """Raise `ModelError` unless the values of a tensor are all there, and are numbers."""
    count = math.prod(tensor.dims)
    if any(side < 0 for side in tensor.dims):
        raise ModelError(f"{path}: {where} has the shape {tuple(tensor.dims)}: save it again")
    stored = _stored_bytes(onnx, tensor, path)
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: {where} has the unknown type {tensor.data_type}") from error
    # two numbers of four bits may share a byte
    if stored < count * dtype.itemsize / (4 if dtype.itemsize == 1 else 1):
        raise ModelError(
            f"{path}: {where} has the shape {tuple(tensor.dims)}, {count * dtype.itemsize} bytes, "
            f"but {stored} are there: the file is damaged, or not what it says"
        )
    if not (dtype.kind == "f" or "float" in dtype.name):
        return
    try:
        values = onnx.numpy_helper.to_array(tensor, base_dir=str(path.parent.resolve()))
    except (ValueError, TypeError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: {where} cannot be read: {shown(_text(error))}") from error
    wrong = int(np.isnan(values.astype(np.float32, copy=False)).sum())
    if wrong:
        raise ModelError(
            f"{path}: {wrong} of {count} values of {where} are NaN, and so would be every result: "
            "export another checkpoint of the training"
        )


def _stored_bytes(onnx: Any, tensor: Any, path: Path) -> int:
    """Return how many bytes of values a tensor has, or more where they are stored as numbers."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        stated = _external(tensor)
        try:
            offset, size = int(stated.get("offset") or 0), (path.parent / stated["location"]).stat()
            length = int(stated.get("length") or size.st_size - offset)
        except ValueError as error:
            raise ModelError(f"{path}: external data has the place {shown(stated)}") from error
        return length if offset >= 0 and length >= 0 and offset + length <= size.st_size else 0
    lists = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    listed = max(len(getattr(tensor, name)) for name in lists)
    # complex numbers are two in a list
    return max(len(tensor.raw_data), 8 * listed)


def _check_standard(onnx: Any, model: Any, path: Path) -> None:
    """Raise `ModelError` if the graph breaks the rules of ONNX."""
    try:
        onnx.checker.check_model(str(path) if _has_external(onnx, model) else model)
    # it passes on errors of its C++ code
    except Exception as error:
        raise ModelError(
            f"{path} is not a valid ONNX file: {shown(_text(error), longest=300)}"
        ) from error


def _has_external(onnx: Any, model: Any) -> bool:
    return any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for _, tensor in _tensors(onnx, model)
    )


def _input(
    onnx: Any, model: Any, stated: Stated, path: Path
) -> tuple[list[int | None], dict[str, Any]]:
    """Return the sides of the input, None where they are free, and what they state."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if len(inputs) != 1:
        named = shown(", ".join(each.name for each in inputs)) or "none"
        raise ModelError(
            f"{path} takes {len(inputs)} inputs ({named}), but must take one, the voxels of "
            "windows: export it with one input"
        )
    if not inputs[0].type.HasField("tensor_type"):
        raise ModelError(f"{path}: the input is not an array: export it with one array as input")
    array = inputs[0].type.tensor_type
    if array.elem_type != onnx.TensorProto.FLOAT:
        found = onnx.TensorProto.DataType.Name(array.elem_type).lower()
        raise ModelError(
            f"{path} takes {found} numbers, but must take float32: export it with a float32 input"
        )
    sides = [
        side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None
        for side in array.shape.dim
    ]
    if len(sides) not in (4, 5):
        raise ModelError(
            f"{path} takes an input of {len(sides)} axes, {_shape(sides)}, but must take 4, "
            "(window, channel, y, x), or 5, (window, channel, z, y, x)"
        )
    dimensions = len(sides) - 2
    if stated.dimensions not in (None, dimensions):
        raise ModelError(
            f"{path} takes an input of {_shape(sides)}, {dimensions} dimensions, but --dimensions "
            f"is {stated.dimensions}"
        )
    wanted = len(stated.bands or ()) or 1
    if sides[1] not in (None, wanted) and sides[-1] == wanted:
        raise ModelError(
            f"{path} takes an input of {_shape(sides)}, with {wanted} channels on the last axis, "
            "but the channels must come after the windows: export it with channels first"
        )
    facts: dict[str, Any] = {"dimensions": dimensions}
    if sides[0] is not None:
        facts["fixed_batch"] = sides[0]
    spatial = (*([1] if dimensions == 2 else []), *sides[2:])
    fixed = [side for side in sides[2:] if side is not None]
    if not fixed:
        return sides, facts
    default = window_of(stated, dimensions)
    window = tuple(side or other for side, other in zip(spatial, default, strict=True))
    if stated.window is not None and window != stated.window:
        raise ModelError(
            f"{path} takes an input of {_shape(sides)}, but --window is {stated.window}: leave it "
            "out, or export the network with free sizes"
        )
    facts["window"] = window
    if len(fixed) == dimensions:
        if stated.fixed_window is False:
            raise ModelError(
                f"{path} takes an input of {_shape(sides)} only, so that its window is fixed: "
                "leave out --no-fixed-window"
            )
        facts["fixed_window"] = True
    return sides, facts


def _shape(sides: list[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in sides)})"


def _check_results(
    onnx: Any, model: Any, sides: list[int | None], stated: Stated, path: Path
) -> None:
    """Raise `ModelError` if a result of the graph would be larger than this machine's memory."""
    dimensions = len(sides) - 2
    window = window_of(stated, dimensions)[-dimensions:]
    wanted = [1, len(stated.bands or ()) or 1, *window]
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    taken = next(each for each in sized.graph.input if each.name not in weights)
    for axis, side, known in zip(taken.type.tensor_type.shape.dim, wanted, sides, strict=True):
        axis.dim_value = known or side
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path}: the shapes of its results do not fit each other: "
            f"{shown(_text(error), longest=300)}"
        ) from error
    most = psutil.virtual_memory().total
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        shape = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        # four bytes a number
        if 4 * math.prod(shape) > most:
            raise ModelError(
                f"{path}: the result {shown(value.name, longest=60)} of the graph has the shape "
                f"{shape} for windows of {window}, more than the {most / 2**30:.0f} GiB of memory "
                "of this machine: use a smaller --window, or another file"
            )


def _notes(model: Any) -> tuple[str, ...]:
    outputs = [shown(output.name, longest=60) for output in model.graph.output]
    if len(outputs) == 1:
        return ()
    return (f"the outputs are {', '.join(outputs)}: --entry chooses one by its name or number",)


def _text(error: Exception) -> str:
    return " ".join(describe(error).split())
