"""Metadata files at addresses, remembered between processes with their versions.

The workflow reads the headers of all sources whenever it plans, and once more in each job. A file
is downloaded once; after that the server is asked whether it has changed, once a process, and not
at all by the planning of a job. What is remembered of a file is a small file itself, on which the
jobs of a sample depend: when the version at the address changes, so does its content.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.remote.address import RefusedError, RemoteFolder
from parafovea.formats.remote.objects import NotModified, Piece, listing, read
from parafovea.formats.unpacking import LARGEST_EXTENSION, unpacked
from parafovea.runtime.runs import STATE

#: Where the workflow remembers metadata, beside Snakemake's own notes.
MEMO = STATE / "parafovea" / "remote"

#: Most files below a source whose versions are compared.
LISTED = 1000

#: Names of files of metadata, of all formats.
NAMES = (
    "zarr.json",
    ".zarray",
    ".zgroup",
    ".zattrs",
    ".zmetadata",
    "attributes.json",
    "info",
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A file at an address, or that there is none.

    Parameters
    ----------
    address : str
        Where it is.
    etag, modified, size
        Its version; see `Piece`. A size of -1 is of a file that is not there.
    content : str
        Its bytes in base 64.
    """

    address: str
    etag: str
    modified: str
    size: int
    content: str

    @property
    def data(self) -> bytes | None:
        """The bytes, None if there is no such file."""
        return None if self.size < 0 else base64.b64decode(self.content)


class Documents:
    """Files of metadata at addresses.

    Parameters
    ----------
    memo : Path
        Folder in which they are remembered between processes, if the folder `.snakemake` above it
        exists; it may be removed at any time.
    """

    def __init__(self, memo: Path) -> None:
        self._memo = memo
        self._seen: dict[RemoteFolder, _Known] = {}
        self._failed: dict[RemoteFolder, SourceError] = {}
        self._trusting = False

    def trust(self) -> None:
        """From now on, take what is remembered without asking the server whether it changed.

        For the planning of a job: the run that it belongs to has asked. What could not be read then
        is the same error now.
        """
        self._trusting = True

    def read(self, place: RemoteFolder) -> bytes | None:
        """Return the bytes of a file, None if there is none.

        Raises
        ------
        SourceError
            If it cannot be read, or is too large for metadata.
        """
        if place not in self._seen:
            if place in self._failed:
                raise type(self._failed[place])(*self._failed[place].args)
            remembered = self._remembered(place)
            if self._trusting:
                self._raise_remembered(place)
            if remembered is None or not self._trusting:
                try:
                    found = self._asked(place, remembered)
                except SourceError as error:
                    # not again with all retries in this process, nor by the planning of its jobs
                    self._failed[place] = error
                    self._remember_failure(place, error)
                    raise
                if found != remembered:
                    self._remember(place, found)
                self._remember_failure(place, None)
                remembered = found
            self._seen[place] = remembered
        return self._seen[place].data

    def is_there(self, place: RemoteFolder) -> bool:
        """Return whether there is a file.

        Servers that may not say which files there are refuse those that are not there. A refused
        file counts as one that is not there if another one beside it can be read.

        Raises
        ------
        SourceError
            If that cannot be known.
        """
        try:
            return self.read(place) is not None
        except RefusedError:
            beside = (place.parent / name for name in NAMES if name != place.name)
            if any(self._is_read(each) for each in beside):
                return False
            raise

    def _is_read(self, place: RemoteFolder) -> bool:
        try:
            return self.read(place) is not None
        except RefusedError:
            return False

    def census(self, folder: RemoteFolder) -> Path | None:
        """Return the file in which the versions of all files below a folder are remembered.

        Returns
        -------
        Path or None
            None where they cannot be listed, or are more than `LISTED`.

        Raises
        ------
        SourceError
            If the bucket cannot be reached.
        """
        # no file has this name, since patterns are no addresses
        place = folder / "*"
        if place not in self._seen:
            remembered = self._remembered(place)
            if remembered is None or not self._trusting:
                listed = listing(folder, most=LISTED)
                digest = hashlib.sha256("\n".join(listed or ()).encode()).hexdigest()
                size = -1 if listed is None else len(listed)
                found = _Known(str(place), digest, "", size, "")
                if found != remembered:
                    self._remember(place, found)
                remembered = found
            self._seen[place] = remembered
        return None if self._seen[place].size < 0 else self.file(place)

    def forget(self) -> None:
        """Ask the server anew for what was read in this process."""
        self._seen.clear()
        self._failed.clear()

    def keep(self) -> None:
        """Remember what was read so far and what will be, also in a folder without runs so far."""
        self._memo.mkdir(parents=True, exist_ok=True)
        for place, known in self._seen.items():
            if self._remembered(place) != known:
                self._remember(place, known)

    def file(self, place: RemoteFolder) -> Path:
        """Return the file in which a file at an address is remembered."""
        name = hashlib.sha256(str(place).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._memo / f"{name}.json"

    def version(self, file: str) -> str:
        """Return the version of what was read in this process and is remembered in a file."""
        known = next(one for place, one in self._seen.items() if str(self.file(place)) == file)
        return f"{known.address} {known.etag} {known.modified} {known.size} {known.content}"

    def _asked(self, place: RemoteFolder, remembered: _Known | None) -> _Known:
        known = "" if remembered is None else remembered.etag
        try:
            piece = read(place, most=LARGEST_EXTENSION, known=known)
        except NotModified:
            if remembered is None:
                raise AssertionError("only asked with a known version") from None
            return remembered
        if piece is None:
            return _Known(str(place), "", "", -1, "")
        content = base64.b64encode(_plain(piece)).decode()
        return _Known(str(place), piece.etag, piece.modified, piece.size, content)

    def _remembered(self, place: RemoteFolder) -> _Known | None:
        try:
            facts = json.loads(self.file(place).read_bytes())
            known = _Known(**facts)
            base64.b64decode(known.content, validate=True)
        except (OSError, ValueError, TypeError):
            return None
        return known if known.address == str(place) else None

    def _raise_remembered(self, place: RemoteFolder) -> None:
        """Raise the error with which a file could not be read by the run of this job."""
        try:
            name, text = json.loads(self._failure(place).read_bytes())
        except (OSError, ValueError):
            return
        kinds = {each.__name__: each for each in (RefusedError, MissingSourceError)}
        raise kinds.get(name, SourceError)(text)

    def _failure(self, place: RemoteFolder) -> Path:
        return self.file(place).with_suffix(".failed")

    def _remember_failure(self, place: RemoteFolder, error: SourceError | None) -> None:
        file = self._failure(place)
        with contextlib.suppress(OSError):
            if error is None:
                file.unlink(missing_ok=True)
            elif file.parent.is_dir():
                file.write_text(json.dumps([type(error).__name__, str(error)]), encoding="utf-8")

    def _remember(self, place: RemoteFolder, known: _Known) -> None:
        if not STATE.is_dir() and not self._memo.is_dir():
            return
        file = self.file(place)
        if known.size < 0 and file.exists():
            # of a source that is gone, what its results were made from stays known
            return
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        # where it cannot be written, it is asked for again in the next process
        with contextlib.suppress(OSError):
            self._memo.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(known), indent=1) + "\n", encoding="utf-8")
            partial.replace(file)


def _plain(piece: Piece) -> bytes:
    if piece.encoding == "gzip":
        return bytes(unpacked("gzip", memoryview(piece.data), LARGEST_EXTENSION, exact=False))
    return piece.data


#: Those of this process.
DOCUMENTS = Documents(MEMO)
