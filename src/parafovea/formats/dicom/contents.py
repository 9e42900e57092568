"""Files of a DICOM folder or zip archive, found and opened without writing to disk.

The workflow searches for them while planning jobs, so only the standard library is imported.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from parafovea.errors import SourceError
from parafovea.formats.registry import format_named
from parafovea.formats.unpacking import LARGEST_SCAN
from parafovea.runtime.optional_packages import extras_named

OpenFile = Callable[[str], BinaryIO]

#: Endings of DICOM files; other files of a series may have no ending.
SUFFIXES = tuple(format_named("dicom").members)

#: The first bytes of a gzip file.
GZIP = b"\x1f\x8b"

#: Limits on the unpacked archive: more files or bytes than any scan has.
MAX_FILES = 50_000
MAX_BYTES = 64 * 2**30


class Contents(Protocol):
    """Files by name."""

    @property
    def path(self) -> str:
        """Path of the folder or archive, as given by the user."""

    @property
    def sizes(self) -> dict[str, int]:
        """Size in bytes by file name, sorted by name."""

    @property
    def left_out(self) -> list[str]:
        """Descriptions of what is skipped, such as a link to a folder."""

    def label(self, name: str) -> str:
        """Return the name of a file used in messages."""

    def opened(self) -> contextlib.AbstractContextManager[OpenFile]:
        """Return a context manager that yields a function to open files by name."""


class FolderContents:
    """The files below a folder, without hidden files and linked folders.

    Parameters
    ----------
    path : str
        The folder.

    Raises
    ------
    SourceError
        If a folder in it cannot be read, or a link is broken.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.left_out: list[str] = []
        files = []
        for folder, inner, names in os.walk(path, onerror=_refuse_folder):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            links = [name for name in inner if (Path(folder) / name).is_symlink()]
            self.left_out += ["linked folder"] * len(links)
            for name in names:
                file = Path(folder) / name
                if name.startswith("."):
                    continue
                if file.is_symlink() and not file.exists():
                    raise SourceError(
                        f"{file} is a link to {file.readlink()}, which is not there: copy the file "
                        "to its place, or remove the link"
                    )
                if file.is_file():
                    files.append(str(file))
                else:
                    self.left_out.append("device or pipe")
        self.sizes = {name: os.path.getsize(name) for name in sorted(files)}  # noqa: PTH202

    def label(self, name: str) -> str:
        """Return the name of a file used in messages."""
        return name

    @contextlib.contextmanager
    def opened(self) -> Iterator[OpenFile]:
        """Yield a function that opens a file by name."""
        with contextlib.ExitStack() as files:
            yield lambda name: files.enter_context(Path(name).open("rb"))


class FileContents:
    """One file, such as an enhanced image with all slices of a scan.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.left_out: list[str] = []
        self.sizes = {path: Path(path).stat().st_size}

    def label(self, name: str) -> str:
        """Return the name of the file used in messages."""
        return name

    @contextlib.contextmanager
    def opened(self) -> Iterator[OpenFile]:
        """Yield a function that opens the file."""
        with contextlib.ExitStack() as files:
            yield lambda name: files.enter_context(Path(name).open("rb"))


class ZipContents:
    """The files of a zip archive, read in place: nothing is unpacked to disk.

    Parameters
    ----------
    path : str
        The archive.

    Raises
    ------
    SourceError
        If it is not a zip archive, is encrypted, or would unpack to more than any scan.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not _is_hidden(info)]
        except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{path} cannot be read as a zip archive ({error}): copy it again"
            ) from error
        _check_size(path, members)
        if any(info.flag_bits & 1 for info in members):
            raise SourceError(f"{path} is encrypted: unpack it and give the folder")
        self.sizes = {info.filename: info.file_size for info in members}
        self.left_out: list[str] = []

    def label(self, name: str) -> str:
        """Return the name of a file used in messages."""
        return f"{self.path}:{name}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[OpenFile]:
        """Yield a function that opens a file by name."""
        with zipfile.ZipFile(self.path) as archive:
            yield lambda name: cast(BinaryIO, archive.open(name))


def _refuse_folder(error: OSError) -> None:
    raise SourceError(
        f"{error.filename} cannot be read ({error.strerror}): correct its permissions"
    ) from error


def folder_files(path: str) -> Iterator[str]:
    """Yield the paths of the files below a folder, without hidden files and linked folders.

    Parameters
    ----------
    path : str
        Path of the folder; the yielded paths begin with it.
    """
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and file.is_file():
                yield str(file)


def slices(path: str) -> list[str]:
    """Return the sorted paths of all files of a series, including files that are not slices."""
    return sorted(folder_files(path))


def holds(path: str) -> bool:
    """Return whether a folder contains a DICOM file, by name or content, at any depth."""
    return any(map(_is_dicom, folder_files(path)))


def holds_volume(path: str) -> bool:
    """Return whether a file of unknown ending is a whole volume: an enhanced image with frames.

    Only of a DICOM file the header is read, for which pydicom is imported.
    """
    if not _is_dicom(path):
        return False
    with extras_named():
        from parafovea.formats.dicom.selection import states_frames
    return states_frames(FileContents(path))


def why_not(path: str) -> str | None:
    """Return the problem with a file that is a single slice of a series, or None for others."""
    if not _is_dicom(path):
        return None
    return f"{path} is one DICOM file: give the folder of its series, {Path(path).parent}"


def _is_dicom(file: str) -> bool:
    """Return whether a file is DICOM by its name, or by the prefix DICM after the preamble."""
    if file.lower().endswith(SUFFIXES):
        return True
    try:
        with Path(file).open("rb") as opened:
            head = opened.read(132)
            return head[128:] == b"DICM" or (head[:2] == GZIP and is_packed_dicom(opened))
    except OSError:
        return False


def is_packed_dicom(file: BinaryIO) -> bool:
    """Return whether a seekable gzip file contains a DICOM file."""
    file.seek(0)
    try:
        return gzip.GzipFile(fileobj=file).read(132)[128:] == b"DICM"
    except (EOFError, OSError, zlib.error):
        return False


def _is_hidden(info: zipfile.ZipInfo) -> bool:
    """Return whether a member is a folder, or a file that some systems add to archives."""
    parts = PurePosixPath(info.filename).parts
    return info.is_dir() or any((p.startswith(".") and p != "..") or p == "__MACOSX" for p in parts)


def _check_size(path: str, members: list[zipfile.ZipInfo]) -> None:
    large = [info for info in members if info.file_size > LARGEST_SCAN]
    total = sum(info.file_size for info in members)
    problem = ""
    if len(members) > MAX_FILES:
        problem = f"holds {len(members)} files, more than {MAX_FILES}"
    elif large:
        problem = (
            f"holds {large[0].filename!r} of {large[0].file_size} bytes, more than the "
            f"{LARGEST_SCAN} that a scan may have"
        )
    elif total > MAX_BYTES:
        problem = f"unpacks to {total} bytes, more than {MAX_BYTES}"
    if problem:
        raise SourceError(f"{path} {problem}: give an archive of one series, or a folder")
