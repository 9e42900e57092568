"""Addresses of sources, and folders at them, which are used like paths.

Imports no library of the network, since the workflow asks whenever it plans whether a source is an
address.
"""

from __future__ import annotations

import io
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from parafovea.errors import SourceError
from parafovea.formats.registry import remote_documents

#: Schemes of addresses that can be read.
SCHEMES = ("http", "https", "s3", "gs")

#: Schemes of one letter are drives of Windows.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")

#: What Neuroglancer writes in front of an address.
_PREFIX = re.compile(r"(?:zarr[23]?|n5|precomputed)://(?=[A-Za-z][A-Za-z0-9+.-]+://)")


class RefusedError(SourceError):
    """A file at an address that may not be read, or is not there and may not be known."""


def scheme_of(path: str) -> str | None:
    """Return the scheme of an address in lower case, None for a path."""
    found = _ADDRESS.match(_PREFIX.sub("", path, count=1))
    return None if found is None else found["scheme"].lower()


def is_address(path: str) -> bool:
    """Return whether a source string is an address that can be read."""
    return scheme_of(path) in SCHEMES


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder or a file at an address; as far as readers of metadata need it, it is like a path.

    Parameters
    ----------
    root : str
        Scheme with host or bucket, such as "s3://bucket".
    key : str
        The rest, as it is, without percent encoding and outer slashes.
    """

    root: str
    key: str

    @classmethod
    def of(cls, address: str) -> RemoteFolder:
        """Return the folder at an address.

        Parameters
        ----------
        address : str
            In the path of http and https, characters may be percent encoded.

        Raises
        ------
        SourceError
            If it has no host or bucket, names a user, or has a query.
        """
        plain = _PREFIX.sub("", address.strip(), count=1)
        try:
            parts = urlsplit(plain, allow_fragments=False)
            host, user = parts.netloc, parts.username
            _ = parts.port
        except ValueError as error:
            raise SourceError(f"{address} is not an address ({error}): correct it") from error
        scheme = parts.scheme.lower()
        if not host:
            raise SourceError(
                f"{address} names no {'host' if scheme.startswith('http') else 'bucket'}: write, "
                f"for example, {scheme}://name/folder/image.ome.zarr"
            )
        if user is not None:
            raise SourceError(
                f"an address of {parts.hostname} holds a user or a password: keep these in the "
                "file ~/.netrc, or in that named by NETRC"
            )
        key = parts.path
        if scheme in ("s3", "gs"):
            key += f"?{parts.query}" if parts.query else ""
        elif parts.query:
            raise SourceError(
                f"{address.partition('?')[0]} is followed by a query (?…), which belongs to one "
                "file and not to those of a folder: give the address alone; credentials come from "
                "the environment"
            )
        else:
            key = unquote(key)
        if any(part in (".", "..") for part in key.split("/")):
            raise SourceError(f"{address} holds . or .. as a folder: write the address without")
        return cls(f"{scheme}://{host}", re.sub("/+", "/", key).strip("/"))

    @property
    def scheme(self) -> str:
        """Scheme in lower case."""
        return self.root.partition("://")[0]

    @property
    def name(self) -> str:
        """Last part of the key."""
        return posixpath.basename(self.key)

    @property
    def parent(self) -> RemoteFolder:
        """The folder around this one; of the root, itself."""
        return RemoteFolder(self.root, posixpath.dirname(self.key))

    @property
    def parents(self) -> list[RemoteFolder]:
        """The folders around this one, the innermost first."""
        found = []
        folder = self
        while folder.key:
            folder = folder.parent
            found.append(folder)
        return found

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(self.root, posixpath.join(self.key, name) if name else self.key)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def within(self, name: str) -> RemoteFolder | None:
        """Return a folder or file by the name that a source states, or None if it is outside."""
        if name.startswith("/") or is_address(name):
            return None
        key = posixpath.normpath(posixpath.join(self.key or ".", name))
        key = "" if key == "." else key
        inside = not self.key or key == self.key or key.startswith(f"{self.key}/")
        return RemoteFolder(self.root, key) if inside and not key.startswith("..") else None

    def is_file(self) -> bool:
        """Return whether there is a file of metadata of this name."""
        return bool(remote_documents().is_there(self))

    def read_bytes(self) -> bytes:
        """Return the bytes of a file of metadata."""
        found: bytes | None = remote_documents().read(self)
        if found is None:
            raise FileNotFoundError(str(self))
        return found

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return a file of metadata, opened for reading."""
        if mode != "rb":
            raise ValueError(mode)
        return io.BytesIO(self.read_bytes())


#: A folder of a source, on disk or at an address.
Folder = Path | RemoteFolder


def folder_of(path: str) -> Folder:
    """Return the folder that a source string names, on disk or at an address."""
    return RemoteFolder.of(path) if is_address(path) else Path(path)


def folders_around(folder: Folder, count: int) -> list[Folder]:
    """Return up to a number of folders around one, the innermost first."""
    return [*folder.parents][:count]
