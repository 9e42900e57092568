"""Content of files and folders as hashes, which are computed again only where something changed.

A hash is remembered with the size and the times of what was hashed, so that a file of many
gigabytes is read once, and again only after a change or a touch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from parafovea.runtime.runs import STATE
from parafovea.storage.layout import RECORD, bytes_text

#: Where the workflow remembers hashes, beside Snakemake's own notes.
MEMO = STATE / "parafovea" / "contents.jsonl"

#: Up to this size in bytes, a source is compared by content; beyond it, by sizes and times.
COMPARED = 100 * 10**9

#: From this size in bytes on, it is announced that content is read.
LARGE = 2 * 10**9

#: Stands for the content of a path at which nothing is.
ABSENT = "absent"

#: Files that Snakemake and this package put into folders of results, which are not their content.
STAMPS = frozenset({".snakemake_timestamp", RECORD})


class Contents:
    """Hashes of files and folders.

    Parameters
    ----------
    memo : Path, optional
        File in which hashes are remembered between processes, one per line; it may be removed at
        any time. Without it, or where it cannot be written, they are remembered in this object.
    announce : callable, optional
        Called with a sentence before much content is read.
    """

    def __init__(
        self, memo: Path | None = None, *, announce: Callable[[str], None] | None = None
    ) -> None:
        self._memo = memo
        self._announce = announce
        self._known: dict[str, tuple[str, str]] | None = None

    def digest(self, path: str | Path) -> str:
        """Return a hash of the content of a file, or of all files of a folder with their names.

        Parameters
        ----------
        path : str or Path
            Links are followed.

        Returns
        -------
        str
            `ABSENT` if nothing exists there. A source larger than `COMPARED` is identified by the
            names, sizes and modification times of its files.
        """
        found = list(content_files(str(path)))
        if not found:
            return ABSENT if not os.path.isdir(path) else _hashed("empty")  # noqa: PTH112
        place = os.path.abspath(path)  # noqa: PTH100  (links stay)
        stamp = _hashed(*(f"{n}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ctime_ns}" for n, s in found))
        known = self._read()
        if known.get(place, ("", ""))[0] != stamp:
            digest = self._content(str(path), found)
            known[place] = (stamp, digest)
            self._remember(place, stamp, digest)
        return known[place][1]

    def _content(self, path: str, found: list[tuple[str, os.stat_result]]) -> str:
        size = sum(status.st_size for _, status in found)
        if size > COMPARED:
            return _hashed(*(f"{n}\0{s.st_size}\0{s.st_mtime_ns}" for n, s in found))
        if self._announce is not None and size >= LARGE:
            self._announce(f"Reading {path} ({bytes_text(size)}) to see whether it has changed")
        parts = []
        for name, _ in found:
            with Path(path, name).open("rb") as stream:
                parts.append(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}")
        return _hashed(*parts)

    def _read(self) -> dict[str, tuple[str, str]]:
        if self._known is None:
            self._known = {}
            if self._memo is not None and self._memo.is_file():
                for line in self._memo.read_text(encoding="utf-8", errors="replace").splitlines():
                    try:
                        place, stamp, digest = map(str, json.loads(line))
                    except (TypeError, ValueError):
                        # a line that was being written when its process was killed
                        continue
                    self._known[place] = (stamp, digest)
        return self._known

    def _remember(self, place: str, stamp: str, digest: str) -> None:
        if self._memo is None:
            return
        line = json.dumps([place, stamp, digest]) + "\n"
        try:
            self._memo.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._memo, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
        except OSError:
            # read-only: the hash is computed again in the next process
            return
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def content_files(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files of a folder by their names in it, sorted; of a file, itself as "".

    Links are followed, but not into a folder that holds them. Sockets and pipes are no content.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  (faster, for many files)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        if stat.S_ISREG(status.st_mode):
            yield "", status
        return
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(path, folder)) as entries:  # noqa: PTH118
            inside = sorted(entries, key=lambda entry: entry.name, reverse=True)
        folders = []
        for entry in reversed(inside):
            name = f"{folder}{entry.name}"
            if entry.is_dir():
                if not (entry.is_symlink() and _leads_back(path, folder, entry)):
                    folders.append(f"{name}/")
            elif entry.name not in STAMPS:
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    # a dangling link is found when the source is read
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield name, status
        waiting += reversed(folders)


def _leads_back(path: str, folder: str, entry: os.DirEntry[str]) -> bool:
    """Return whether a link in a folder below a path leads to a folder on the way to it."""
    target = entry.stat()
    above = itertools.accumulate(folder.split("/")[:-1], "{}/{}".format, initial=path)
    return any(os.path.samestat(target, os.stat(each)) for each in above)  # noqa: PTH116


def _hashed(*parts: str) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{part}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:32]
