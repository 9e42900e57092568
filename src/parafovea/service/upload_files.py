"""Files that clients may upload: which formats, under which names, and archives without surprises.

A file is what its name says: its first bytes are compared. GDAL opens a file by its content, and a
text that names other files, at any address, would otherwise pass as a TIFF.
"""

from __future__ import annotations

import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from parafovea.errors import ParafoveaError
from parafovea.formats.raw_voxels import data_file
from parafovea.formats.registry import NPZ_SUFFIX, TIFF_SUFFIXES
from parafovea.runtime.names import folder_problem
from parafovea.service.refusal import Refusal

#: Name of a scan whose own cannot name a folder of results.
PLAIN_NAME = "scan"

#: Most files of an archive, and bytes of its table of contents.
MOST_MEMBERS, MOST_CONTENTS = 100_000, 32 * 2**20

#: Most bytes that a deflated byte unpacks to, and bytes for which that is not asked.
DEFLATED, SMALL = 1032, 4096

#: Files of models, in all of which there may be code.
MODELS = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".onnx", ".safetensors", ".pt2", ".joblib")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: What the files of an unpacked archive of tiles may be.
_TILE_ENDINGS = (NPZ_SUFFIX, ".json", *TIFF_SUFFIXES)

_MEMBER = re.compile(r"[^\x00-\x1f\x7f<>:\"|?*\\/]{1,200}")


def _is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


#: Endings of uploads, longer ones first, each with a test of its first bytes.
ENDINGS: dict[str, Callable[[bytes], bool]] = {
    ".nii.gz": lambda head: head.startswith(b"\x1f\x8b"),
    ".nii": _is_nifti,
    ".nrrd": lambda head: head.startswith(b"NRRD"),
    ".mha": lambda head: re.match(rb"\s*\w+ *=", head) is not None,
    ".tiff": lambda head: head.startswith(_TIFF),
    ".tif": lambda head: head.startswith(_TIFF),
    ".dcm": lambda head: head[128:132] == b"DICM",
    ".zip": lambda head: head.startswith(b"PK\x03\x04"),
}

HEAD = 1024


def ending_of(name: str) -> str | None:
    """Return the ending of an upload, None if it is none of `ENDINGS`."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def safe_name(given: str) -> str:
    """Return the name under which an upload is stored.

    It names the folder of the results, as with `parafovea predict`, if it can.

    Parameters
    ----------
    given : str
        Name of the file on the client's machine, perhaps with folders.

    Raises
    ------
    Refusal
        If it is not a file that is predicted.
    """
    name = re.split(r"[/\\]", given)[-1]
    if name.lower().endswith(MODELS):
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "this is a file of a model, and models are chosen by name (GET /api/v1/models): the "
            "service takes none from clients",
        )
    ending = ending_of(name)
    if ending is None:
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the name of the file must end in one of {', '.join(ENDINGS)}: zip a folder of DICOM "
            "or of tiles",
        )
    plain = name[: -len(ending)]
    if folder_problem(plain) is not None:
        plain = PLAIN_NAME
    return plain + name[-len(ending) :]


def guessed_name(head: bytes) -> str:
    """Return a name for a scan that came without one, by its first bytes.

    Parameters
    ----------
    head : bytes
        At least `HEAD` bytes, or all.

    Raises
    ------
    Refusal
        If it is not a file that is predicted.
    """
    for ending in (".nii.gz", ".zip", ".nrrd", ".tif", ".dcm", ".nii", ".mha"):
        if ENDINGS[ending](head):
            return PLAIN_NAME + ending
    raise _unlike("the data")


def _unlike(what: str) -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{what} is not what its name says, or damaged: send {', '.join(ENDINGS)} as they are",
    )


def check_file(path: Path, *, max_unpacked: int) -> None:
    """Refuse a file that is not what its name says, or that leads to other files.

    Parameters
    ----------
    path : Path
        The upload, under its own ending.
    max_unpacked : int
        Most bytes of what an archive holds.

    Raises
    ------
    Refusal
        With the reason.
    """
    ending = ending_of(path.name)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if ending is None or not ENDINGS[ending](head):
        raise _unlike("the file")
    if ending in (".nrrd", ".mha"):
        try:
            other = data_file(str(path))
        except ParafoveaError:
            other = ""
        if other is not None:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the voxels must be in the same file as the header: write it again in one file",
            )
    if ending == ".zip":
        Archive.opened(path, max_unpacked=max_unpacked)


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file whose names, kinds and sizes have been checked.

    Parameters
    ----------
    path : Path
        The file.
    members : mapping of str to int
        Bytes of each file in it, by name.
    """

    path: Path
    members: dict[str, int]

    @classmethod
    def opened(cls, path: Path, *, max_unpacked: int) -> Archive:
        """Read the table of contents of an archive.

        Parameters
        ----------
        path : Path
            The file.
        max_unpacked : int
            Most bytes that it may unpack to.

        Raises
        ------
        Refusal
            If it is damaged or encrypted, has links, paths that lead elsewhere, or too much.
        """
        _check_contents_size(path)
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
            raise _bad("cannot be read") from None
        total = sum(info.file_size for info in infos)
        if len(infos) > MOST_MEMBERS:
            raise _bad(f"holds {len(infos)} files, more than {MOST_MEMBERS}")
        if total > max_unpacked:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the archive unpacks to {total} bytes, more than {max_unpacked}: send less",
            )
        for info in infos:
            _check_member(info)
        files = [info for info in infos if not info.is_dir()]
        names = [info.filename for info in files]
        if len(set(names)) < len(names):
            raise _bad("holds two files of one name")
        return cls(path, {info.filename: info.file_size for info in files})

    def holds_tiles(self, *, images: bool) -> bool:
        """Return whether it is a folder of tiles: of NPZ files, or also of images."""
        endings = (NPZ_SUFFIX, *(TIFF_SUFFIXES if images else ()))
        return any(name.lower().endswith(endings) for name in self.visible())

    def visible(self) -> list[str]:
        """Return the names of its files, without hidden ones."""
        return [
            name
            for name in self.members
            if not any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(name).parts)
        ]

    def unpack(self, folder: Path) -> None:
        """Unpack tiles into one folder, which has no folders itself.

        Parameters
        ----------
        folder : Path
            Created; must not exist.

        Raises
        ------
        Refusal
            If a file is no tile, lies in several folders, or is not as large as stated.
        """
        names = self.visible()
        parents = {str(PurePosixPath(name).parent) for name in names}
        if len(parents) > 1:
            raise _bad("has tiles in several folders: zip one folder of tiles")
        folder.mkdir(mode=0o700)
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                plain = PurePosixPath(name).name
                if not plain.lower().endswith(_TILE_ENDINGS):
                    raise _bad("holds files beside the tiles: zip NPZ or GeoTIFF files alone")
                place = folder / plain
                try:
                    with archive.open(name) as source, place.open("xb") as target:
                        shutil.copyfileobj(source, target, 2**20)
                except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError):
                    raise _bad("is damaged") from None
                if plain.lower().endswith(TIFF_SUFFIXES):
                    with place.open("rb") as file:
                        if not file.read(4).startswith(_TIFF):
                            raise _unlike("an image of the archive")


def _check_member(info: zipfile.ZipInfo) -> None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad("holds a link or a device")
    parts = info.filename.rstrip("/").split("/")
    if any(part in (".", "..") or not _MEMBER.fullmatch(part) for part in parts):
        raise _bad("holds a file whose name leads out of it, or is none")
    if info.flag_bits & 1:
        raise _bad("is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad("is compressed in an unusual way")
    if info.file_size > DEFLATED * info.compress_size + SMALL:
        raise _bad("states sizes that cannot be")


def _bad(what: str) -> Refusal:
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"the archive {what}: zip the files again, as they are"
    )


def _check_contents_size(path: Path) -> None:
    """Refuse an archive whose table of contents alone would fill the memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = max(0, size - 2**16 - 22)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) - end < 22:
            raise _bad("has no end")
        (contents,) = struct.unpack_from("<L", tail, end + 12)
        locator = tail[max(0, end - 20) : end]
        if locator.startswith(b"PK\x06\x07"):
            (place,) = struct.unpack_from("<Q", locator, 8)
            file.seek(min(place, size))
            record = file.read(56)
            if not record.startswith(b"PK\x06\x06") or len(record) < 56:
                raise _bad("has no end")
            (contents,) = struct.unpack_from("<Q", record, 40)
    if contents > MOST_CONTENTS:
        raise _bad(f"has a table of contents of {contents} bytes, more than {MOST_CONTENTS}")
