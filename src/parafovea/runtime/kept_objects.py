"""Objects that a process keeps between jobs, such as a model, made anew when their files change.

A process that runs one job keeps nothing. One that runs many jobs, such as a worker that holds a
GPU, calls `keep_objects` at its start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

#: Most models and the like that a process keeps.
MOST = 4

#: Names, sizes and times of the files of an object.
_Stamp = tuple[tuple[str, int, int, int, int], ...]


class KeptObjects:
    """The objects that were used last, each made anew when its files change.

    Parameters
    ----------
    most : int
        Most objects that are kept; the one that was used longest ago goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        #: by key, with the stamp of the files, the last used at the end
        self._found: OrderedDict[Hashable, tuple[_Stamp, Any]] = OrderedDict()

    def get(self, key: Hashable, files: str | Path, make: Callable[[], T]) -> T:
        """Return an object, made where it is not there or its files have changed.

        Parameters
        ----------
        key : hashable
            What the object is made from, besides the content of the files.
        files : str or Path
            Its file, or the folder of its files. If there is none, nothing is kept.
        make : callable
            Makes the object. It may be used by several jobs, one after the other.

        Returns
        -------
        object
            What `make` returned, now or for an earlier job.
        """
        place = Path(files).expanduser().absolute()
        stamp = _stamp(place)
        if not stamp:
            return make()
        name = (str(place), key)
        kept = self._found.pop(name, None)
        if kept is not None and kept[0] == stamp:
            self._found[name] = kept
            found: T = kept[1]
            return found
        # before another one is made: there may be no memory for both
        while len(self._found) >= self._most:
            self._found.popitem(last=False)
        made = make()
        # a file that changed meanwhile is not the one that was read
        if _stamp(place) == stamp:
            self._found[name] = (stamp, made)
        return made


#: What this process keeps; None keeps nothing.
_kept: KeptObjects | None = None


def keep_objects(keep: bool = True) -> None:
    """Keep objects in this process from now on, or forget them all and keep none."""
    global _kept
    _kept = KeptObjects(MOST) if keep else None


def kept(key: Hashable, files: str | Path, make: Callable[[], T]) -> T:
    """Return an object that a process keeps, see `KeptObjects.get`; otherwise a new one."""
    return make() if _kept is None else _kept.get(key, files, make)


def _stamp(place: Path) -> _Stamp:
    """Return what changes when a file, or a file in a folder, does."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    found = []
    for path in files:
        if path.is_file():
            s = path.stat()
            found.append((str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
    return tuple(found)
