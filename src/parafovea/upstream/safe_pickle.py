"""Safe reading of pickles and `torch.save` files: tensors, arrays and plain data only.

A pickle names the functions that rebuild its objects. Each name on a short allow-list maps to a
function of this module; any other name is an error. Every shape, stride and element count is
checked against the bytes in the file. Tensors are views of these bytes, on the CPU wherever they
were saved.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.errors import ModelError

#: Magic number of `torch.save` files before version 1.6, which introduced zip files.
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

#: Element types by torch's storage names.
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Storage(NamedTuple):
    """A flat storage that tensors are views of.

    Parameters
    ----------
    values : Tensor
        (element,), on the CPU.
    """

    values: Tensor


def refuse(what: str) -> NoReturn:
    """Raise `ModelError` for an object that no checkpoint needs."""
    raise ModelError(
        f"the file requests {what}, which does not belong in a checkpoint; nothing was executed: "
        "do not use this file, or save its state dictionary alone, as a dictionary of tensors"
    )


def exceeds(what: str, declared: int, unit: str, held: int) -> NoReturn:
    """Raise `ModelError` if more is declared than the file contains, with both numbers."""
    raise ModelError(
        f"{what} declares {declared} {unit}, but the file contains {held}: copy the complete file "
        "again, and do not use it if the error remains"
    )


def storage_facts(pid: Any) -> tuple[torch.dtype, int, str]:
    """Return element type, count and key of a torch persistent id."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
        refuse(f"the object {str(pid)[:80]!r}")
    _, dtype, key, _, count = pid[:5]
    if not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
        refuse(f"a storage of {count!r} elements of type {dtype!r}")
    return dtype, count, str(key)


def elements_of(raw: bytes, dtype: torch.dtype, count: int, offset: int) -> Storage:
    """Return `count` elements of a byte string from `offset` on, without copying."""
    held = (len(raw) - offset) // dtype.itemsize
    if count > held:
        exceeds("a tensor", count, "elements", held)
    if count == 0:
        return Storage(torch.empty(0, dtype=dtype))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")
        return Storage(torch.frombuffer(raw, dtype=dtype, count=count, offset=offset))


def rebuild_tensor(
    storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
) -> Tensor:
    """Return a tensor that is a view of a storage, after checking its bounds."""
    if not isinstance(storage, Storage):
        refuse(f"a tensor of {type(storage).__name__}")
    held = len(storage.values)
    counts = (offset, *size, *stride)
    if len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in counts):
        refuse(f"a tensor of shape {tuple(size)} and strides {tuple(stride)}")
    count = math.prod(size)
    if count == 0:
        return storage.values.new_empty(tuple(size)) if len(size) < 8 else storage.values[:0]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > held or last >= held:
        exceeds(f"a tensor of shape {tuple(size)}", max(count, last + 1), "elements", held)
    return storage.values.as_strided(tuple(size), tuple(stride), offset)


def rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    """Return the tensor of a parameter."""
    return data


class ElementType:
    """A NumPy dtype named by a pickle."""

    def __init__(self, name: str = "", *_: Any) -> None:
        if not isinstance(name, str) or name[:1] not in tuple("biufcSU"):
            refuse(f"an array of type {name!r}")
        self.value = np.dtype(name)
        if self.value.kind not in "biufcSU" or self.value.itemsize > 4096:
            refuse(f"an array of type {name!r}")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class Array:
    """A NumPy array being rebuilt from a pickle."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.values = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: ElementType, shape: Sequence[int], order: str = "C") -> NDArray[Any]:
    if not isinstance(dtype, ElementType) or not isinstance(raw, bytes | bytearray):
        refuse("an array of objects")
    held = len(raw) // max(1, dtype.value.itemsize)
    if math.prod(shape) != held:
        exceeds(f"an array of shape {tuple(shape)}", math.prod(shape), "elements", held)
    return np.frombuffer(raw, dtype.value).reshape(tuple(shape), order="F" if order == "F" else "C")


def array_of(raw: Any, dtype: ElementType, shape: Sequence[int], order: str = "C") -> Array:
    """Return an array from bytes, as stored in pickles of protocol 5."""
    array = Array()
    array.values = _array(raw, dtype, shape, order)
    return array


def scalar_of(dtype: ElementType, raw: bytes = b"") -> Any:
    """Return a NumPy scalar as a Python number."""
    values = _array(raw, dtype, (1,))
    return values[0].item()


def text_of(*parts: Any) -> str:
    """Return a path or a device as a string."""
    return "/".join(str(part) for part in parts)


def empty_dictionary(*_: Any) -> dict[Any, Any]:
    """Return an empty dictionary in place of a defaultdict, without its factory."""
    return {}


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle or a `torch.save` file, without executing anything in it.

    Parameters
    ----------
    path : Path
        The file. It is held in memory once; tensors are views of these bytes.

    Returns
    -------
    object
        Dictionaries, lists, tuples, strings, numbers, arrays and tensors.

    Raises
    ------
    ModelError
        If the file requests anything else, declares more than it contains, or is damaged.
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
            f"{path} is not a readable checkpoint ({reason}): copy the complete file again"
        ) from error
    if content == TORCH_MAGIC:
        raise ModelError(
            f"{path} was written by torch before version 1.6: load it there and save it with "
            "pickle.dump, or with torch.save of a newer version"
        )
    return content


class _Bounded:
    """A file wrapper that raises `ModelError` if more bytes are requested than are left."""

    def __init__(self, file: io.BufferedIOBase, size: int) -> None:
        self._file = file
        self._size = size

    def _check(self, count: int) -> None:
        left = self._size - self._file.tell()
        if count > left > 0:  # at the end of the file, the reader itself raises EOFError
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
        refuse(f"the external object {str(pid)[:80]!r}")


class _StorageUnpickler(_TensorUnpickler):
    """Unpickler of a storage's own file: its element type and count."""

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, int]:
        return storage_facts(pid)[:2]


class _ArchiveUnpickler(_TensorUnpickler):
    """Unpickler of `torch.save` zip files, in which storages lie beside the pickle."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ModelError(
                "it is a zip file without the data.pkl of torch.save: give a checkpoint"
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
    """Return a storage that torch pickled as an embedded file."""
    file = io.BytesIO(raw)
    magic, _version, _system, facts, keys = (
        _StorageUnpickler(_Bounded(file, len(raw))).load() for _ in range(5)
    )
    if magic != TORCH_MAGIC or not isinstance(facts, tuple) or len(facts) != 2 or len(keys) != 1:
        refuse("torch.storage._load_from_bytes with anything but one storage")
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
