"""What stands for the functions that a checkpoint's pickle names: tensors and arrays, no more.

Nothing is believed that the bytes at hand do not bear out: a shape, a stride, a number of elements.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parafovea.errors import ModelError

#: Element types by the names that torch gives its storages.
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
    """Elements in a row, as tensors view them.

    Parameters
    ----------
    values : Tensor
        (element,), on the CPU.
    """

    values: Tensor


def refuse(what: str) -> NoReturn:
    """Raise `ModelError` for what no checkpoint needs."""
    raise ModelError(
        f"the file asks for {what}, which is no part of a checkpoint; nothing was run: do not use "
        "this file, or save its state dictionary alone, as a dictionary of tensors"
    )


def exceeds(what: str, declared: int, unit: str, held: int) -> NoReturn:
    """Raise `ModelError` for what declares more than the file holds, with both numbers."""
    raise ModelError(
        f"{what} declares {declared} {unit}, but the file holds {held}; it was refused: copy the "
        "file again, whole, and do not use it if that changes nothing"
    )


def storage_facts(pid: Any) -> tuple[torch.dtype, int, str]:
    """Return element type, count and key of what torch calls a persistent id."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
        refuse(f"the object {str(pid)[:80]!r}")
    _, dtype, key, _, count = pid[:5]
    if not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
        refuse(f"a storage of {count!r} elements of type {dtype!r}")
    return dtype, count, str(key)


def elements_of(raw: bytes, dtype: torch.dtype, count: int, offset: int) -> Storage:
    """Return `count` elements of bytes, from `offset` on, without copying them."""
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
    """Return a tensor that views a storage, if all of it lies inside."""
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
    """An element type of numpy, named by a pickle."""

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
    """An array of numpy on its way out of a pickle."""

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
    """Return an array of bytes, as pickles of protocol 5 hold it."""
    array = Array()
    array.values = _array(raw, dtype, shape, order)
    return array


def scalar_of(dtype: ElementType, raw: bytes = b"") -> Any:
    """Return a number of numpy as one of Python."""
    values = _array(raw, dtype, (1,))
    return values[0].item()


def text_of(*parts: Any) -> str:
    """Return a path or a device as text."""
    return "/".join(str(part) for part in parts)


def empty_dictionary(*_: Any) -> dict[Any, Any]:
    """Return a dictionary to be filled, whose factory of defaults is left out."""
    return {}
