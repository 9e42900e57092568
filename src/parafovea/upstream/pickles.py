"""Pickles without their power: tensors, arrays, numbers, texts and containers, nothing else.

A pickle names the functions that rebuild its objects. Here each name on a short list stands for a
function of `rebuilding`; any other name ends the reading with an error. Tensors are views of the
bytes that were read, on the CPU wherever they were saved.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from parafovea.errors import ModelError
from parafovea.upstream.rebuilding import (
    STORAGES,
    Array,
    ElementType,
    Storage,
    array_of,
    elements_of,
    empty_dictionary,
    exceeds,
    rebuild_parameter,
    rebuild_tensor,
    refuse,
    scalar_of,
    storage_facts,
    text_of,
)

#: First number of a file that `torch.save` wrote, before it wrote zip files.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C

_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    NotImplementedError,
)


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle, or of a file that `torch.save` wrote, without running it.

    Parameters
    ----------
    path : Path
        The file. All of it is held in memory once; tensors are views of what was read.

    Returns
    -------
    object
        Dictionaries, lists, tuples, texts, numbers, arrays and tensors.

    Raises
    ------
    ModelError
        If the file asks for anything else, declares more than it holds, or is damaged.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    return _ArchiveUnpickler(archive).load()
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            content = _TensorUnpickler(_Bounded(file, size)).load()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{path} is no readable checkpoint ({reason}): copy the file again, whole"
        ) from error
    if content == TORCH_MAGIC:
        raise ModelError(
            f"{path} was written by torch before version 1.6: load it there and save it by "
            "pickle.dump, or by torch.save of a newer version"
        )
    return content


class _Bounded:
    """A file that is never asked for more bytes than it has."""

    def __init__(self, file: io.BufferedIOBase, size: int) -> None:
        self._file = file
        self._size = size

    def _check(self, count: int) -> None:
        left = self._size - self._file.tell()
        if count > left > 0:  # at the very end, the reader itself says that the file ends
            exceeds("a value", count, "bytes", left)

    def read(self, count: int = -1) -> bytes:
        self._check(count)
        return self._file.read(count)

    def readinto(self, buffer: Any) -> int:
        self._check(len(buffer))
        return self._file.readinto(buffer)

    def readline(self) -> bytes:
        return self._file.readline()


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) not in _ALLOWED:
            refuse(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        refuse(f"the object {str(pid)[:80]!r} of another file")


class _StorageUnpickler(_TensorUnpickler):
    """For the parts of a storage's own file: its element type and how many there are."""

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, int]:
        return storage_facts(pid)[:2]


class _ArchiveUnpickler(_TensorUnpickler):
    """For zip files of `torch.save`: storages lie beside the pickle."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ModelError(
                "it is a zip file without the one data.pkl that torch.save writes: give a "
                "checkpoint"
            )
        super().__init__(io.BytesIO(self._stored(archive, names[0])))
        self._archive = archive
        self._folder = names[0].removesuffix("data.pkl")

    def persistent_load(self, pid: Any) -> Storage:
        dtype, count, key = storage_facts(pid)
        return elements_of(
            self._stored(self._archive, f"{self._folder}data/{key}"), dtype, count, 0
        )

    @staticmethod
    def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
        facts = archive.getinfo(name)
        if facts.file_size != facts.compress_size:
            exceeds(name, facts.file_size, "bytes", facts.compress_size)
        return archive.read(facts)


def _load_from_bytes(raw: bytes) -> Storage:
    """Return a storage that torch wrote as a small file of its own."""
    file = io.BytesIO(raw)
    magic, _version, _system, facts, keys = (
        _StorageUnpickler(_Bounded(file, len(raw))).load() for _ in range(5)
    )
    if magic != TORCH_MAGIC or not isinstance(facts, tuple) or len(facts) != 2 or len(keys) != 1:
        refuse("torch.storage._load_from_bytes with something else than one storage")
    dtype, count = facts
    return elements_of(raw, dtype, count, file.tell() + 8)


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): empty_dictionary,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "slice"): slice,
    ("builtins", "complex"): complex,
    ("pathlib", "PosixPath"): text_of,
    ("pathlib", "PurePosixPath"): text_of,
    ("pathlib._local", "PosixPath"): text_of,
    ("torch", "Size"): tuple,
    ("torch", "device"): text_of,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_from_bytes,
    ("numpy", "dtype"): ElementType,
    ("numpy", "ndarray"): Array,
    **{
        (f"numpy.{core}.{module}", name): rebuild
        for core in ("core", "_core")
        for module, name, rebuild in (
            ("multiarray", "_reconstruct", Array),
            ("multiarray", "scalar", scalar_of),
            ("numeric", "_frombuffer", array_of),
        )
    },
    ("_codecs", "encode"): lambda text, *_: str(text).encode("latin1"),
}
