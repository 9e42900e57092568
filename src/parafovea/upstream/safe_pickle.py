"""Safe reading of pickles and `torch.save` files: tensors, arrays and plain data only.

A pickle names the functions that rebuild its objects. Each name on a short allow-list maps to a
method of this module; any other name is an error. Every shape, stride and element count is checked
against the bytes in the file. Tensors are views of these bytes, on the CPU wherever they were
saved; a storage is read once, however many tensors view it.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.errors import MemoryLimitError, ModelError, shown
from parafovea.upstream.pickle_machine import (
    DISTINCT,
    BoundedFile,
    Budget,
    Named,
    PickleMachine,
    exceeds,
    key_of,
    refuse,
    require_finite_structure,
    unknown_name,
)

#: Magic number of `torch.save` files before version 1.6, which introduced zip files.
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
#: Version of the format of these files.
TORCH_VERSION = 1001

_DAMAGE = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
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

#: Most dimensions of a tensor or an array.
DIMENSIONS = 8
#: Most bytes of the views of a file's tensors, relative to its size.
VIEWS = 8
#: Most characters of a path.
PATH = 4096


class Storage(NamedTuple):
    """A flat storage that tensors are views of.

    Parameters
    ----------
    values : Tensor
        (element,), on the CPU.
    views : dict
        The tensors that were made of it, by their offset, shape and strides.
    """

    values: Tensor
    views: dict[tuple[Any, ...], Tensor]


def storage_facts(pid: Any) -> tuple[torch.dtype, int, str]:
    """Return element type, count and key of a torch persistent id."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
        refuse(f"an external object of type {type(pid).__name__}")
    _, dtype, key, _, count = pid[:5]
    if not isinstance(dtype, torch.dtype) or type(count) is not int or count < 0:
        refuse(f"a storage of {shown(count)} elements of type {shown(dtype)}")
    if not isinstance(key, str | int):
        refuse(f"a storage with a key of type {type(key).__name__}")
    return dtype, count, str(key)


def elements_of(
    raw: bytes, dtype: torch.dtype, count: int, offset: int, *, big_endian: bool = False
) -> Storage:
    """Return `count` elements of a byte string from `offset` on, without copying.

    Bytes of a big-endian machine are copied.
    """
    held = (len(raw) - offset) // dtype.itemsize
    if count > held:
        exceeds("a tensor", count, "elements", held)
    if count == 0:
        return Storage(torch.empty(0, dtype=dtype), {})
    if big_endian:
        # the real and the imaginary part are numbers of their own
        width = dtype.itemsize // (2 if dtype.is_complex else 1)
        numbers = np.frombuffer(raw, f"V{width}", count * dtype.itemsize // width, offset)
        raw, offset = numbers.view(f"u{width}").byteswap().tobytes(), 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")
        return Storage(torch.frombuffer(raw, dtype=dtype, count=count, offset=offset), {})


def lengths(values: Any, what: str) -> tuple[int, ...]:
    """Return the shape or strides of a tensor or an array."""
    whole = isinstance(values, Sequence) and len(values) <= DIMENSIONS
    if not whole or not all(type(n) is int and 0 <= n < DISTINCT for n in values):
        refuse(f"a {what} of {shown(values)}")
    return tuple(values)


def rebuild_parameter(data: Any, *_: Any) -> Tensor:
    """Return the tensor of a parameter."""
    if not isinstance(data, Tensor):
        refuse(f"a parameter of {type(data).__name__}")
    return data


class ElementType:
    """A NumPy dtype named by a pickle."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        if not isinstance(name, str) or name[:1] not in tuple("biufcSU") or len(name) > 8:
            refuse(f"an array of type {shown(name)}")
        self.value = np.dtype(name)
        if self.value.kind not in "biufcSU" or self.value.itemsize > 4096:
            refuse(f"an array of type {shown(name)}")

    def set_state(self, state: Any) -> None:
        """Take the byte order."""
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class Array:
    """A NumPy array being rebuilt from a pickle."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.zeros(0)

    def set_state(self, state: Any) -> None:
        """Take shape, element type, order and bytes."""
        _, shape, dtype, fortran, raw = state
        self.values = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    if not isinstance(dtype, ElementType) or not isinstance(raw, bytes | bytearray):
        refuse("an array of objects")
    shape = lengths(shape, "shape")
    held = len(raw) // max(1, dtype.value.itemsize)
    if math.prod(shape) != held:
        exceeds(f"an array of shape {shape}", math.prod(shape), "elements", held)
    return np.frombuffer(raw, dtype.value).reshape(shape, order="F" if order == "F" else "C")


def array_of(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """Return an array from bytes, as stored in pickles of protocol 5."""
    array = Array()
    array.values = _array(raw, dtype, shape, order)
    return array


def scalar_of(dtype: Any, raw: Any = b"") -> Any:
    """Return a NumPy scalar as a Python number."""
    values = _array(raw, dtype, (1,))
    return values[0].item()


def number_of(*parts: Any) -> complex:
    """Return a complex number."""
    if not all(isinstance(part, int | float) for part in parts):
        refuse("a complex number of anything but numbers")
    return complex(*parts)


def slice_of(*ends: Any) -> slice:
    """Return a slice of whole numbers."""
    if not all(end is None or isinstance(end, int) for end in ends):
        refuse("a slice of anything but whole numbers")
    return slice(*ends)


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
        Dictionaries, lists, tuples, strings, numbers, arrays and tensors; without cycles, and not
        much larger than the file when written out.

    Raises
    ------
    ModelError
        If the file requests anything else, declares more than it contains, or is damaged.
    MemoryLimitError
        If the file does not fit into memory.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            content = _content(file, size)
        require_finite_structure(content, size)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except MemoryError as error:
        raise MemoryLimitError(
            f"{path} of {size} bytes does not fit into memory: use a machine with more"
        ) from error
    except OSError as error:
        # a damaged zip file also leads to places that are not in the file
        raise ModelError(
            f"{path} cannot be read ({error.strerror or error}): check that it is complete, and "
            "that you may read it"
        ) from error
    except _DAMAGE as error:
        reason = shown(" ".join(str(error).split()) or type(error).__name__)
        raise ModelError(
            f"{path} is not a readable checkpoint ({reason}): copy the complete file again"
        ) from error
    return content


def _content(file: io.BufferedReader, size: int) -> Any:
    budget = Budget(size)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return _Archive(archive, budget).content()
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        raise zipfile.BadZipFile("a zip file that is cut short: its end is missing")
    file.seek(0)
    rebuilder, bounded = _Rebuilder(budget), BoundedFile(file, size)
    machine = PickleMachine(named=rebuilder.named, external=_no_external, budget=budget)
    content = machine.run(bounded)
    if type(content) is int and content == TORCH_MAGIC:
        return _Sequence(bounded, budget).content()
    return content


def _no_name(module: str, name: str) -> Any:
    unknown_name(module, name)


def _no_external(pid: Any) -> Any:
    refuse(f"an external object of type {type(pid).__name__}")


class _Archive:
    """A zip file of `torch.save`, in which storages lie beside the pickle."""

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ModelError(
                "it is a zip file without the data.pkl of torch.save: give a checkpoint"
            )
        self._archive = archive
        self._budget = budget
        self._left = budget.size
        self._pickle = names[0]
        self._folder = names[0].removesuffix("data.pkl")
        self._storages: dict[str, tuple[torch.dtype, int, Storage]] = {}
        self._big_endian = False

    def content(self) -> Any:
        """Return what the pickle describes."""
        order = f"{self._folder}byteorder"
        if order in self._archive.namelist():
            self._big_endian = self._stored(order) == b"big"
        raw = self._stored(self._pickle)
        machine = PickleMachine(
            named=_Rebuilder(self._budget).named, external=self._storage, budget=self._budget
        )
        return machine.run(BoundedFile(io.BytesIO(raw), len(raw)))

    def _storage(self, pid: Any) -> Storage:
        dtype, count, key = storage_facts(pid)
        known = self._storages.get(key)
        if known is None:
            raw = self._stored(f"{self._folder}data/{key}")
            storage = elements_of(raw, dtype, count, 0, big_endian=self._big_endian)
            self._storages[key] = dtype, count, storage
            return storage
        if known[:2] != (dtype, count):
            refuse(f"storage {shown(key)} as {known[1]} {known[0]} and as {count} {dtype}")
        return known[2]

    def _stored(self, name: str) -> bytes:
        """Return a file of the archive; files that share bytes are counted each."""
        facts = self._archive.getinfo(name)
        if facts.file_size != facts.compress_size or facts.compress_type != zipfile.ZIP_STORED:
            exceeds(shown(name), facts.file_size, "bytes", facts.compress_size)
        if facts.file_size > self._left:
            exceeds(shown(name), facts.file_size, "bytes", self._left)
        self._left -= facts.file_size
        return self._archive.read(facts)


class _Sequence:
    """What `torch.save` wrote before version 1.6: pickles in a row, and then the storages.

    Parameters
    ----------
    file : BoundedFile
        The file, behind its magic number.
    budget : Budget
        What is charged.
    """

    def __init__(self, file: BoundedFile, budget: Budget) -> None:
        self._file, self._budget = file, budget
        self._left = budget.size
        self._storages: dict[str, tuple[torch.dtype, int, Storage]] = {}

    def content(self) -> Any:
        """Return what the third of the pickles describes."""
        version, system = (self._run(_no_name, _no_external) for _ in range(2))
        if version != TORCH_VERSION or not isinstance(system, dict):
            refuse(f"the version {shown(version)} of torch.save")
        found = self._run(_Rebuilder(self._budget).named, self._storage)
        keys = self._run(_no_name, _no_external)
        names = list(map(str, keys)) if isinstance(keys, list) else []
        if sorted(names) != sorted(self._storages):
            refuse(f"storages {shown(sorted(self._storages))} of which {shown(keys)} are stored")
        big = system.get("little_endian") is False
        for name in names:
            dtype, count, storage = self._storages[name]
            stored = int.from_bytes(self._file.read(8), "big" if big else "little")
            if stored != count:
                exceeds(f"storage {shown(name)}", count, "elements", stored)
            raw = self._file.read(count * dtype.itemsize)
            # its views were made before
            storage.values.copy_(elements_of(raw, dtype, count, 0, big_endian=big).values)
        return found

    def _run(self, named: Callable[[str, str], Any], external: Callable[[Any], Any]) -> Any:
        return PickleMachine(named=named, external=external, budget=self._budget).run(self._file)

    def _storage(self, pid: Any) -> Storage:
        dtype, count, key = storage_facts(pid)
        if len(pid) > 5 and pid[5] is not None:
            refuse("a storage that is a part of another")
        known = self._storages.get(key)
        if known is None:
            size = count * dtype.itemsize
            if size > self._left:
                exceeds(f"storage {shown(key)}", size, "bytes", self._left)
            self._left -= size
            known = self._storages[key] = dtype, count, Storage(torch.zeros(count, dtype=dtype), {})
        if known[:2] != (dtype, count):
            refuse(f"storage {shown(key)} as {known[1]} {known[0]} and as {count} {dtype}")
        return known[2]


class _Rebuilder:
    """What the names in a pickle stand for: functions that rebuild plain data and tensors."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._viewed = 0
        self._embedded: dict[int, tuple[bytes, Storage]] = {}
        self._functions: dict[tuple[str, str], Callable[..., Any]] = {
            **_FUNCTIONS,
            ("collections", "OrderedDict"): self._ordered,
            ("builtins", "set"): lambda *given: set(map(key_of, self._copied(given))),
            ("builtins", "frozenset"): lambda *given: frozenset(map(key_of, self._copied(given))),
            ("builtins", "list"): lambda *given: list(self._copied(given)),
            ("builtins", "tuple"): lambda *given: tuple(self._copied(given)),
            ("torch", "Size"): lambda *given: tuple(self._copied(given)),
            ("pathlib", "PosixPath"): self._text,
            ("pathlib", "PurePosixPath"): self._text,
            ("pathlib._local", "PosixPath"): self._text,
            ("torch", "device"): self._text,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch.storage", "_load_from_bytes"): self._load_from_bytes,
            ("_codecs", "encode"): self._encoded,
        }

    def named(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        found = _element_type(module, name)
        if found is not None:
            return found
        if (module, name) not in self._functions:
            unknown_name(module, name)
        return Named(f"{module}.{name}", self._functions[module, name])

    def _copied(self, given: tuple[Any, ...]) -> Sequence[Any]:
        """Return the values that a container is a copy of, after charging them."""
        if not given:
            return ()
        if len(given) > 1 or type(given[0]) not in (list, tuple):
            refuse(f"a container of {type(given[0]).__name__}")
        self._budget.step(len(given[0]))
        copied: Sequence[Any] = given[0]
        return copied

    def _ordered(self, *given: Any) -> OrderedDict[Any, Any]:
        pairs = self._copied(given)
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            refuse("a dictionary of anything but keys and values")
        return OrderedDict((key_of(key), value) for key, value in pairs)

    def _text(self, *parts: Any) -> str:
        """Return a path or a device as a string."""
        if not all(isinstance(part, str | int) for part in parts):
            refuse("a path of anything but texts")
        length = sum(len(part) if isinstance(part, str) else 64 for part in parts)
        if length > PATH:
            refuse(f"a path of {length} characters")
        self._budget.copy(length)
        return "/".join(str(part) for part in parts)

    def _encoded(self, text: Any, *_: Any) -> bytes:
        if not isinstance(text, str):
            refuse(f"bytes of {type(text).__name__}")
        self._budget.copy(len(text))
        return text.encode("latin1")

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """Return a tensor that is a view of a storage, after checking its bounds."""
        if not isinstance(storage, Storage):
            refuse(f"a tensor of {type(storage).__name__}")
        (start,) = lengths((offset,), "tensor with an offset")
        shape, steps = lengths(size, "tensor of shape"), lengths(stride, "tensor of strides")
        if len(shape) != len(steps):
            refuse(f"a tensor of shape {shape} and strides {steps}")
        view = (start, shape, steps)
        if view not in storage.views:
            storage.views[view] = self._view(storage.values, start, shape, steps)
        return storage.views[view]

    def _view(
        self, values: Tensor, start: int, shape: tuple[int, ...], steps: tuple[int, ...]
    ) -> Tensor:
        held, count = len(values), math.prod(shape)
        if count == 0:
            return values.new_empty(shape)
        last = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if count > held or last >= held:
            exceeds(f"a tensor of shape {shape}", max(count, last + 1), "elements", held)
        self._viewed += count * values.dtype.itemsize
        if self._viewed > VIEWS * self._budget.size:
            refuse(f"tensors that repeat its {self._budget.size} bytes more than {VIEWS} times")
        return values.as_strided(shape, steps, start)

    def _load_from_bytes(self, raw: Any) -> Storage:
        """Return a storage that torch pickled as an embedded file."""
        if not isinstance(raw, bytes):
            refuse(f"a storage of {type(raw).__name__}")
        if id(raw) not in self._embedded:
            self._embedded[id(raw)] = raw, self._embedded_storage(raw)
        return self._embedded[id(raw)][1]

    def _embedded_storage(self, raw: bytes) -> Storage:
        file = io.BytesIO(raw)
        bounded = BoundedFile(file, len(raw))
        magic, _version, system, facts, keys = (
            PickleMachine(named=_storage_type, external=storage_facts, budget=self._budget).run(
                bounded
            )
            for _ in range(5)
        )
        one = type(facts) is tuple and len(facts) == 3 and type(keys) is list and len(keys) == 1
        if magic != TORCH_MAGIC or not one or not isinstance(system, dict):
            refuse("torch.storage._load_from_bytes with anything but one storage")
        dtype, count, _ = facts
        big = system.get("little_endian") is False
        return elements_of(raw, dtype, count, file.tell() + 8, big_endian=big)


def _element_type(module: str, name: str) -> torch.dtype | None:
    """Return the element type that a name of torch stands for; None for anything else."""
    if module != "torch":
        return None
    if name in STORAGES:
        return STORAGES[name]
    found = vars(torch).get(name)
    return found if isinstance(found, torch.dtype) else None


def _storage_type(module: str, name: str) -> torch.dtype:
    """Return an element type, the only name in the embedded file of a storage."""
    found = _element_type(module, name)
    if found is None:
        unknown_name(module, name)
    return found


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "defaultdict"): empty_dictionary,
    ("builtins", "dict"): empty_dictionary,
    ("builtins", "slice"): slice_of,
    ("builtins", "complex"): number_of,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
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
}
