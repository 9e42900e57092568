"""A stack machine for pickles that builds plain data, and calls only functions that it is given.

Python's own unpickler calls what a file names, sets attributes, and reserves memory before it reads
what fills it. This one knows the instructions that plain data needs. Its memory follows from the
bytes of the file: every instruction and every copy is charged to a budget, and what a file shares
is not repeated.
"""

from __future__ import annotations

import itertools
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn, Protocol

from parafovea.errors import ModelError, shown

#: Most instructions of a file, and most values of its content, each counted wherever it occurs.
INSTRUCTIONS = 1_000_000
#: Most values that one byte of a file stands for, where the file repeats what it holds once.
VALUES_PER_BYTE = 8
#: Values that a file may repeat, and bytes that it may copy, however small it is.
SPARE_VALUES = 10_000
SPARE_BYTES = 1 << 20
#: Most containers inside each other.
DEPTH = 100
#: Most bits of a whole number.
BITS = 1024
#: Most values in the key of a dictionary.
KEY_PARTS = 8
#: Whole numbers from 0 below this have hashes of their own. Others share them, and keys of several
#: such numbers can be chosen by the million with the same hash, so that a dictionary compares each
#: with all.
DISTINCT = 1 << 60


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


class Budget:
    """What reading a file may cost.

    Parameters
    ----------
    size : int
        Number of bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._steps = INSTRUCTIONS
        self._bytes = size + SPARE_BYTES

    def step(self, count: int = 1) -> None:
        """Charge instructions, or values that one of them handles."""
        self._steps -= count
        if self._steps < 0:
            refuse(f"more than {INSTRUCTIONS} values")

    def copy(self, count: int) -> None:
        """Charge bytes that are stored once more than the file contains them."""
        self._bytes -= count
        if self._bytes < 0:
            refuse(f"copies of its content that are larger than its own {self.size} bytes")


class ReadableFile(Protocol):
    """What a pickle is read from."""

    def read(self, count: int, /) -> bytes:
        """Read at most this many bytes."""
        ...

    def readline(self) -> bytes:
        """Read a line."""
        ...


class BoundedFile:
    """A file of known size; a request for more bytes than are left is a `ModelError`.

    Parameters
    ----------
    file : ReadableFile
        The file, at its start.
    size : int
        Its number of bytes.

    Attributes
    ----------
    left : int
        Number of bytes that have not been read.
    """

    def __init__(self, file: ReadableFile, size: int) -> None:
        self._file = file
        self.left = size

    def read(self, count: int) -> bytes:
        """Read bytes; fewer only at the end of the file."""
        if count > self.left > 0:
            exceeds("a value", count, "bytes", self.left)
        count = min(count, self.left)
        self.left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """Read a line."""
        line = self._file.readline()
        self.left -= len(line)
        return line


class Named(NamedTuple):
    """A function that a pickle names.

    Parameters
    ----------
    name : str
        Its name, with that of its module.
    call : callable
        What rebuilds its result.
    """

    name: str
    call: Callable[..., Any]


class Rebuilt(Protocol):
    """An object that takes its state from a pickle."""

    def set_state(self, state: Any) -> None:
        """Take the state."""
        ...


_WORD = 1 << 63


def key_of(value: Any) -> Any:
    """Return a value that may be a key or a member of a set: one that is quick to compare."""
    several = type(value) is tuple and len(value) <= KEY_PARTS
    for part in value if several else (value,):
        if part is not None and not isinstance(part, str | bytes | int | float):
            refuse(f"a key of type {type(part).__name__}")
        if isinstance(part, int) and not -_WORD <= part < _WORD:
            refuse("a key that is a number of more than 64 bits")
        if several and isinstance(part, int | float) and not _is_distinct(part):
            refuse(f"a key with the number {shown(part)} among others")
    return value


def _is_distinct(number: float) -> bool:
    """Return whether the hash of a number, and of its neighbours, is that of no other."""
    return -DISTINCT < number < DISTINCT and number == int(number)


class PickleMachine:
    """Runs one pickle.

    Parameters
    ----------
    named : callable
        Returns what "module" and "name" stand for, or raises `ModelError`.
    external : callable
        Returns the object of a persistent id, or raises `ModelError`.
    budget : Budget
        What is charged.
    """

    def __init__(
        self,
        *,
        named: Callable[[str, str], Any],
        external: Callable[[Any], Any],
        budget: Budget,
    ) -> None:
        self._named = named
        self._external = external
        self._budget = budget
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._file: BoundedFile | None = None

    def run(self, file: BoundedFile) -> Any:
        """Return the object that a pickle describes.

        Raises
        ------
        ModelError
            If it requests anything but plain data, or costs too much.
        ValueError, LookupError, TypeError
            If it is damaged.
        """
        self._file = file
        for instruction, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
            self._budget.step()
            name = instruction.name
            if name in _PUSHES:
                if isinstance(argument, int) and argument.bit_length() > BITS:
                    refuse(f"a number of more than {BITS} bits")
                self._stack.append(argument)
            elif name == "STOP":
                break
            elif name in _METHODS:
                _METHODS[name](self, argument)
            else:
                refuse(f"the instruction {name}")
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _protocol(self, number: int) -> None:
        if number > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"pickle protocol {number} is not known")

    def _frame(self, size: int) -> None:
        if self._file is not None and size > self._file.left:
            exceeds("a frame", size, "bytes", self._file.left)

    def _none(self, _: Any) -> None:
        self._push(None)

    def _true(self, _: Any) -> None:
        self._push(True)

    def _false(self, _: Any) -> None:
        self._push(False)

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _marked(self, _: Any = None) -> list[Any]:
        """Remove and return what lies above the last mark."""
        items, self._stack = self._stack, self._below.pop()
        return items

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._marked()

    def _pop_marked(self, _: Any) -> None:
        self._marked()

    def _duplicate(self, _: Any) -> None:
        self._push(self._stack[-1])

    def _tuple(self, _: Any) -> None:
        self._push(tuple(self._marked()))

    def _last(self, count: int) -> None:
        if len(self._stack) < count:
            raise ValueError("a tuple of more values than there are")
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._push(items)

    def _list(self, _: Any) -> None:
        self._push(self._marked())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            refuse(f"values appended to a {type(target).__name__}")
        target.extend(items)

    def _dictionary(self, _: Any) -> None:
        items = self._marked()
        self._push({})
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, OrderedDict):
            refuse(f"keys set in a {type(target).__name__}")
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key_of(key)] = value

    def _add(self, _: Any) -> None:
        items = self._marked()
        target = self._stack[-1]
        if type(target) is not set:
            refuse(f"members added to a {type(target).__name__}")
        target.update(map(key_of, items))

    def _frozen(self, _: Any) -> None:
        self._push(frozenset(map(key_of, self._marked())))

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self._push(self._named(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            refuse("a function without a name")
        self._push(self._named(module, name))

    def _call(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Named) or type(arguments) is not tuple:
            refuse(f"a call of a {type(function).__name__}")
        self._budget.step(len(arguments))
        self._push(function.call(*arguments))

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if hasattr(type(target), "set_state"):
            target.set_state(state)
        elif type(target) not in (dict, OrderedDict):  # whose attributes are left out
            refuse(f"attributes of a {type(target).__name__}")

    def _persistent(self, _: Any) -> None:
        self._push(self._external(self._stack.pop()))


#: Instructions whose argument is the value.
_PUSHES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)

_METHODS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "PROTO": PickleMachine._protocol,
    "FRAME": PickleMachine._frame,
    "NONE": PickleMachine._none,
    "NEWTRUE": PickleMachine._true,
    "NEWFALSE": PickleMachine._false,
    "MARK": PickleMachine._mark,
    "POP": PickleMachine._pop,
    "POP_MARK": PickleMachine._pop_marked,
    "DUP": PickleMachine._duplicate,
    "EMPTY_TUPLE": lambda self, _: self._push(()),
    "TUPLE": PickleMachine._tuple,
    "TUPLE1": lambda self, _: self._last(1),
    "TUPLE2": lambda self, _: self._last(2),
    "TUPLE3": lambda self, _: self._last(3),
    "EMPTY_LIST": lambda self, _: self._push([]),
    "LIST": PickleMachine._list,
    "APPEND": lambda self, _: self._extend([self._stack.pop()]),
    "APPENDS": lambda self, _: self._extend(self._marked()),
    "EMPTY_DICT": lambda self, _: self._push({}),
    "DICT": PickleMachine._dictionary,
    "SETITEM": lambda self, _: self._update([self._stack.pop(), self._stack.pop()][::-1]),
    "SETITEMS": lambda self, _: self._update(self._marked()),
    "EMPTY_SET": lambda self, _: self._push(set()),
    "ADDITEMS": PickleMachine._add,
    "FROZENSET": PickleMachine._frozen,
    "GET": PickleMachine._get,
    "BINGET": PickleMachine._get,
    "LONG_BINGET": PickleMachine._get,
    "PUT": PickleMachine._put,
    "BINPUT": PickleMachine._put,
    "LONG_BINPUT": PickleMachine._put,
    "MEMOIZE": PickleMachine._memoize,
    "GLOBAL": PickleMachine._global,
    "STACK_GLOBAL": PickleMachine._stack_global,
    "REDUCE": PickleMachine._call,
    "NEWOBJ": PickleMachine._call,
    "BUILD": PickleMachine._build,
    "BINPERSID": PickleMachine._persistent,
}


def require_finite_structure(content: Any, size: int) -> None:
    """Check that a content can be written out: without cycles, and not much larger than its file.

    A pickle refers to a list as often as it likes in two bytes each, so that ten lists of ten
    references stand for ten thousand million values, and a list may contain itself.

    Parameters
    ----------
    content : object
        What a pickle describes: dictionaries, lists, tuples, sets and values.
    size : int
        Number of bytes of the file.

    Raises
    ------
    ModelError
        If a container contains itself, containers are nested too deeply, or the content would have
        too many values when written out.
    """
    most = min(INSTRUCTIONS, VALUES_PER_BYTE * size + SPARE_VALUES)
    counts: dict[int, int] = {}  # values in each finished container, by identity
    path: list[tuple[Any, Iterable[Any]]] = []
    totals: list[int] = [0]
    open_containers: set[int] = set()
    pending: Any = iter((content,))
    while True:
        for value in pending:
            children = _children(value)
            if children is None:
                totals[-1] += 1 + (len(value) >> 6 if isinstance(value, str | bytes) else 0)
            elif id(value) in counts:
                totals[-1] += counts[id(value)]
            elif id(value) in open_containers:
                refuse(f"a {type(value).__name__} that contains itself")
            else:
                if len(path) >= DEPTH:
                    refuse(f"more than {DEPTH} containers inside each other")
                path.append((value, pending))
                open_containers.add(id(value))
                totals.append(1)
                pending = iter(children)
                break
            if totals[-1] > most:
                refuse(f"more than {most} values by repeating those of its {size} bytes")
        else:
            if not path:
                return
            value, pending = path.pop()
            open_containers.discard(id(value))
            counts[id(value)] = totals.pop()
            totals[-1] += counts[id(value)]
            if totals[-1] > most:
                refuse(f"more than {most} values by repeating those of its {size} bytes")


def _children(value: Any) -> Iterable[Any] | None:
    """Return the values in a container; None for anything else."""
    if isinstance(value, dict):
        return itertools.chain(value.keys(), value.values())
    if isinstance(value, list | tuple | set | frozenset) and not isinstance(value, Named):
        return value
    return None


def unknown_name(module: str, name: str) -> NoReturn:
    """Raise `ModelError` for a function that is not allowed."""
    refuse(shown(f"{module}.{name}"))
