"""TorchScript files: checked before torch opens them, since opening one may run its code.

A TorchScript file is a program: torch compiles the text of its methods, and runs some as it opens
the file. It has no access to Python, but a few operators write and read files, and call other
processes. Files with these, or with operators of other libraries, are refused by name.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.jit import ScriptModule

from parafovea.errors import ModelError, describe, shown
from parafovea.models.folder import finite_problem
from parafovea.runtime.optional_packages import older_torch_allowed

#: Operators that reach files, processes or Python, wherever their names stand in the text.
REFUSED = (
    "from_file",
    "load_tensor",
    "rpc_async",
    "rpc_remote",
    "rpc_sync",
    "save",
    "IgnoredPythonOp",
    "PythonOp",
)
_REFUSED = re.compile(rf"\b({'|'.join(REFUSED)})\b")

#: Namespaces of operators, and of classes, that come with torch and only compute.
OPERATORS = ("aten", "prim", "prims", "quantized", "_quantized", "mkldnn", "mkldnn_prepacked")
CLASSES = ("quantized", "mkldnn")
_OPERATOR = re.compile(r"\bops\s*\.\s*(\w+)\s*\.\s*(\w+)")
_CLASS = re.compile(r"\bclasses\s*\.\s*(\w+)\s*\.\s*(\w+)")

#: A text in a call of `getattr` that hides a name from a search.
_HIDDEN = re.compile(r"getattr\s*\([^\n]*\\")

#: What a file may hold unpacked beyond twice its own size, in bytes: texts of code are compressed.
MOST_TEXT = 64 << 20


def open_torchscript(path: Path, *, device: torch.device | str = "cpu") -> ScriptModule:
    """Return the module of a TorchScript file, in evaluation mode, on a device.

    Raises
    ------
    ModelError
        If the file is damaged, is larger unpacked than it can be, has operators that reach beyond
        computing or that are not torch's own, or values that are not finite.
    """
    _check_texts(path)
    try:
        with older_torch_allowed():
            module: ScriptModule = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    # each kind of damage has an exception of its own
    except Exception as error:
        text = " ".join(describe(error).split())
        raise ModelError(
            f"{path} cannot be opened as TorchScript: {shown(text, longest=300)}"
        ) from error
    _check_graph(module, path)
    tensors = dict(module.state_dict())
    _check_size(tensors, path)
    problem = finite_problem(tensors)
    if problem is not None:
        raise ModelError(f"{path}: {problem}: export another checkpoint of the training")
    return module.eval()


def _check_texts(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            _check_unpacked(records, path)
            for record in records:
                if record.filename.endswith(".py"):
                    _check_text(archive.read(record), path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a TorchScript file, or is damaged: {shown(describe(error))}"
        ) from error


def _check_unpacked(records: list[zipfile.ZipInfo], path: Path) -> None:
    unpacked, packed = sum(record.file_size for record in records), path.stat().st_size
    if unpacked > 2 * packed + MOST_TEXT:
        raise ModelError(
            f"{path} has {packed} bytes, but would unpack to {unpacked}: it is damaged or malicious"
        )


def _check_text(content: bytes, path: Path) -> None:
    # every name is ASCII, whatever else is in a text
    text = content.decode("latin-1")
    refused = _REFUSED.search(text)
    if refused or _HIDDEN.search(text):
        name = refused.group(1) if refused else "getattr of an escaped name"
        raise ModelError(
            f"{path} uses {name}, which reaches files, processes or Python: a network computes "
            "only, so the file is refused"
        )
    for pattern, known, what in (
        (_OPERATOR, OPERATORS, "operator"),
        (_CLASS, CLASSES, "class"),
    ):
        for found in pattern.finditer(text):
            if found.group(1) not in known:
                raise ModelError(
                    f"{path} uses the {what} {found.group(1)}::{found.group(2)}, which is not one "
                    "of torch that computes: export the network with torch's own operators"
                )


def _check_graph(module: ScriptModule, path: Path) -> None:
    """Raise `ModelError` if the compiled graph has operators that the text did not show."""
    for kind in _kinds(module.inlined_graph):
        space, _, name = kind.partition("::")
        if name in REFUSED or space not in OPERATORS:
            raise ModelError(
                f"{path} has the operator {shown(kind)}, which is not one of torch that computes: "
                "export the network with torch's own operators"
            )


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _check_size(tensors: dict[str, torch.Tensor], path: Path) -> None:
    declared = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    packed = path.stat().st_size
    if declared > 2 * packed + MOST_TEXT:
        raise ModelError(
            f"{path} has {packed} bytes, but declares weights of {declared}: it is damaged or "
            "malicious"
        )
