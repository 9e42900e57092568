"""What kind of file a network of another project is in, by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

from parafovea.errors import ModelError

FileKind = Literal["onnx", "exported", "torchscript", "checkpoint", "safetensors", "bundle", "run"]

#: Bytes with which a pickle of protocol 2 to 5 begins.
PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))

#: Numbers of the fields of an ONNX file: the version of the format, and the graph.
VERSION, GRAPH = 1, 7


def file_kind(path: Path) -> FileKind:
    """Return the kind of a file or folder, by its content and not by its name.

    Parameters
    ----------
    path : Path
        A file, or the folder of a bundle of MONAI or of a run.

    Returns
    -------
    str
        checkpoint: what `torch.save` writes, of any project; bundle: a folder with a config of an
        inference by MONAI; run: any other folder.

    Raises
    ------
    ModelError
        If it does not exist, or is none of these.
    """
    if path.is_dir():
        configs = [path / "configs" / f"inference{ending}" for ending in (".json", ".yaml", ".yml")]
        return "bundle" if any(config.is_file() for config in configs) else "run"
    if not path.is_file():
        raise ModelError(f"{path} does not exist: correct the path")
    if zipfile.is_zipfile(path):
        return _zip_kind(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(PICKLES):
        return "checkpoint"
    # the length of the header, and the header as JSON
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if _is_onnx(path):
        return "onnx"
    raise ModelError(
        f"{path} is of no known kind: give an ONNX file, a file of torch.export or TorchScript, "
        "weights as safetensors or by torch.save, a bundle of MONAI, or a checkpoint"
    )


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is a damaged zip file: copy it again") from error
    inside = {name.partition("/")[2] for name in names} | set(names)
    if {"archive_format", "serialized_exported_program.json"} & inside:
        return "exported"
    if any(name.startswith("code/") for name in inside):
        return "torchscript"
    if "data.pkl" in inside:
        return "checkpoint"
    raise ModelError(
        f"{path} is a zip file without a network: give a file of torch.export, TorchScript or "
        "torch.save"
    )


def _is_onnx(path: Path) -> bool:
    """Return whether a file is a message of protobuf with the version and the graph of ONNX."""
    found: dict[int, int] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(1000):
            if file.tell() == size:
                break
            tag = _number(file)
            if tag is None:
                return False
            field, kind = tag >> 3, tag & 7
            value = _number(file) if kind in (0, 2) else None
            if value is None or not field:
                return False
            found.setdefault(field, value)
            if kind == 2 and file.seek(value, 1) > size:
                break
    return GRAPH in found and 0 < found.get(VERSION, 0) < 1000


def _number(file: BinaryIO) -> int | None:
    """Return the next number of protobuf's variable length; None at the end, or if it has none."""
    number = 0
    for place in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << place
        if byte[0] < 0x80:
            return number
    return None
