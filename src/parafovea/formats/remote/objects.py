"""Files at addresses: read whole or in parts, with retries, and errors that say what to do.

A file that is not there is None, and nothing else is: an answer that is refused, fails or ends too
early is an error after retries, so that a hole in the network is never read as zeros.
"""

from __future__ import annotations

import functools
import netrc
import os
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from parafovea.errors import ConfigError, MissingSourceError, ParafoveaError, SourceError
from parafovea.formats.remote.address import RefusedError, RemoteFolder
from parafovea.formats.unpacking import LARGEST_PIECE, unpacked
from parafovea.runtime.optional_packages import import_extra

#: Requests after the first one, and seconds without an answer, by the environment.
RETRIES, TIMEOUT = "PARAFOVEA_REMOTE_RETRIES", "PARAFOVEA_REMOTE_TIMEOUT"
_RETRIES, _TIMEOUT = 6, 30

#: Seconds before the first retry, at most between two, and for all of them together.
_FIRST, _LONGEST, _TOGETHER = 0.2, 20, 300

#: Any of them states credentials for S3, and for Google Cloud Storage; without, requests are
#: anonymous.
S3_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
GS_CREDENTIALS = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
)

_STATUS = re.compile(r"status code: (\d{3})")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file at an address.

    Parameters
    ----------
    data : bytes
        All of the file, or the range that was asked for.
    size : int
        Bytes of the whole file.
    etag, modified : str
        What the server says of its version; "" where it says nothing.
    encoding : str
        Its Content-Encoding, such as "gzip"; "" without one.
    """

    data: bytes
    size: int
    etag: str
    modified: str
    encoding: str

    @property
    def version(self) -> str:
        """What tells it from other versions of the file."""
        return f"{self.etag} {self.modified} {self.size}"

    def plain(self) -> bytes:
        """Return the bytes without the compression in which the server sends them."""
        if self.encoding != "gzip":
            return self.data
        return unpacked("gzip", self.data, LARGEST_PIECE, exact=False)


class NotModified(Exception):  # noqa: N818  (an answer and no error)
    """The file is the one that is known already."""


def read(place: RemoteFolder, *, most: int, known: str = "") -> Piece | None:
    """Return a file.

    Parameters
    ----------
    place : RemoteFolder
        The file.
    most : int
        Most bytes of it.
    known : str
        ETag of the version that is known.

    Returns
    -------
    Piece or None
        None if there is no such file.

    Raises
    ------
    NotModified
        If it is the known version.
    SourceError
        If it cannot be read, or is larger.
    """
    obstore = import_extra("obstore")
    with _Refusals(place) as refusals:
        options = {"if_none_match": known} if known else None
        result = obstore.get(store_of(place.root), place.key, options=options)
        if result.meta["size"] > most:
            raise SourceError(
                f"{place} has {result.meta['size']} bytes, more than metadata have: correct the "
                "address"
            )
        return _piece(result, result.bytes())
    return refusals.nothing


async def read_async(
    place: RemoteFolder, part: tuple[int, int] | dict[str, int] | None = None, *, most: int
) -> Piece | None:
    """Return a file or a part of it; see `read`.

    Parameters
    ----------
    place : RemoteFolder
        The file.
    part : (int, int) or dict, optional
        First byte and the one after the last, `{"offset": first}` or `{"suffix": count}`.
    most : int
        Most bytes of what is asked for.
    """
    obstore = import_extra("obstore")
    with _Refusals(place) as refusals:
        options = None if part is None else {"range": part}
        result = await obstore.get_async(store_of(place.root), place.key, options=options)
        first, stop = result.range
        if stop - first > most:
            raise SourceError(f"{place} has {stop - first} bytes, but at most {most} are read")
        return _piece(result, await result.bytes_async())
    return refusals.nothing


def listing(folder: RemoteFolder, *, most: int) -> list[str] | None:
    """Return the name, size and version of each file below a folder of a bucket.

    Parameters
    ----------
    folder : RemoteFolder
        Any; a server of http lists nothing.
    most : int
        Most files that are listed.

    Returns
    -------
    list of str or None
        Sorted; None where there are more, or they may not be listed.

    Raises
    ------
    SourceError
        If the bucket cannot be reached.
    """
    if folder.scheme not in ("s3", "gs"):
        return None
    obstore = import_extra("obstore")
    found: list[str] = []
    try:
        with _Refusals(folder):
            stream = obstore.list(store_of(folder.root), f"{folder.key}/", chunk_size=most)
            for batch in stream:
                found += [f"{each['path']} {each['size']} {each['e_tag']}" for each in batch]
                if len(found) > most:
                    return None
            return sorted(found)
    except RefusedError:
        pass
    # it may not be listed, or the server cannot
    return None


def _piece(result: Any, data: Any) -> Piece:
    meta = result.meta
    modified = meta["last_modified"]
    # the library gives the epoch where the server states no time
    stated = "" if modified.timestamp() <= 0 else modified.isoformat()
    encoding = str(result.attributes.get("Content-Encoding", "")).strip().lower()
    return Piece(bytes(data), int(meta["size"]), meta.get("e_tag") or "", stated, encoding)


@functools.lru_cache(maxsize=64)
def store_of(root: str) -> Any:
    """Return the store of a host or a bucket.

    Parameters
    ----------
    root : str
        Such as "https://host:8000" or "s3://bucket".

    Raises
    ------
    MissingExtraError
        If obstore is not installed.
    ConfigError
        If a variable of the environment makes no sense.
    """
    obstore = import_extra("obstore")
    retries, timeout = _setting(RETRIES, _RETRIES, 0), _setting(TIMEOUT, _TIMEOUT, 1)
    retry = {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=_TOGETHER),
        "backoff": {
            "init_backoff": timedelta(seconds=_FIRST),
            "max_backoff": timedelta(seconds=_LONGEST),
            "base": 2,
        },
    }
    seconds = timedelta(seconds=timeout)
    client: dict[str, Any] = {
        "connect_timeout": seconds,
        "read_timeout": seconds,
        "timeout": timedelta(seconds=max(_TOGETHER, timeout)),
    }
    scheme, _, name = root.partition("://")
    common = {"client_options": client, "retry_config": retry}
    if scheme == "s3":
        client["allow_http"] = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        signed = any(os.environ.get(key) for key in S3_CREDENTIALS)
        return obstore.store.S3Store(name, skip_signature=not signed, **common)
    if scheme == "gs":
        client["allow_http"] = os.environ.get("GOOGLE_BASE_URL", "").startswith("http://")
        # otherwise files that are stored compressed are sent without their length
        client["default_headers"] = {"Accept-Encoding": "gzip"}
        signed = any(os.environ.get(key) for key in GS_CREDENTIALS)
        return obstore.store.GCSStore(name, skip_signature=not signed, **common)
    client["allow_http"] = scheme == "http"
    headers = _authorization(urlsplit(root).hostname or "")
    if name == "storage.googleapis.com":
        headers["Accept-Encoding"] = "gzip"
    if headers:
        client["default_headers"] = headers
    return obstore.store.HTTPStore(root, **common)


def _setting(name: str, default: int, least: int) -> int:
    stated = os.environ.get(name, "")
    if not stated:
        return default
    if not stated.isdecimal() or int(stated) < least:
        raise ConfigError(
            f"{name} is {stated!r} in the environment: set it to a whole number from {least}, or "
            "unset it"
        )
    return int(stated)


def _authorization(host: str) -> dict[str, str]:
    """Return the header with the user and the password that ~/.netrc states for a host."""
    try:
        found = netrc.netrc(os.environ.get("NETRC") or None).authenticators(host)
    except FileNotFoundError:
        return {}
    except (OSError, netrc.NetrcParseError) as error:
        raise ConfigError(
            f"the passwords for {host} cannot be read from the file of NETRC or ~/.netrc "
            f"({error}): correct it, or remove it"
        ) from error
    if found is None:
        return {}
    user, _, password = found
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


class _Refusals:
    """Turns what the library raises into what it means; a file that is not there ends silently."""

    nothing: None = None

    def __init__(self, place: RemoteFolder) -> None:
        self._place = place

    def __enter__(self) -> _Refusals:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if error is None or isinstance(error, ParafoveaError) or not isinstance(error, Exception):
            return False
        from obstore import exceptions

        if isinstance(error, exceptions.NotModifiedError):
            raise NotModified from error
        if isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            if "NoSuchBucket" in str(error):
                raise MissingSourceError(
                    f"{self._place.root} does not exist: correct the name of the bucket"
                ) from error
            return True
        if not isinstance(error, exceptions.BaseError | OSError | ValueError):
            return False
        denied = exceptions.PermissionDeniedError | exceptions.UnauthenticatedError
        code = _status(error)
        if code == 404 and "list request" in str(error):
            return True
        is_refused = isinstance(error, denied) or code in (401, 403)
        kind_of = RefusedError if is_refused else SourceError
        raise kind_of(f"{self._place} {_meaning(self._place, error)}") from error


def _status(error: Exception) -> int:
    """Return the status of an answer that is an error, 0 if there was no answer."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _meaning(place: RemoteFolder, error: Exception) -> str:
    """Return what is wrong with a file at an address, and what to do."""
    text, code = str(error), _status(error)
    # the library's own sentence, without what it adds for its developers
    reason = re.sub(r"\s+", " ", text.partition("\n")[0]).strip().rstrip(":")[:300]
    kind = type(error).__name__
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or code in (401, 403):
        return f"is refused (status {code or 403}): {_credentials(place.scheme)}"
    if kind == "NotSupportedError":
        return (
            "is sent whole where a part was asked for: the server knows no ranges, which shards "
            "need; download the source, or serve it with another server"
        )
    if "redirect" in text.lower():
        if place.scheme == "s3":
            return (
                f"lies in another region ({reason}): set AWS_REGION to that of the bucket "
                f"{place.root.removeprefix('s3://')}"
            )
        return f"leads from one redirect to the next ({reason}): correct the address"
    if code in (408, 429) or code >= 500:
        return (
            f"failed with status {code} after all retries ({reason}): the server is not well or "
            "limits requests; try again later"
        )
    if code:
        return f"failed with status {code} ({reason}): correct the address"
    if "body" in text or "content length" in text.lower() or "ContentLength" in text:
        return (
            f"ended before it was complete, after all retries ({reason}): nothing of it is used; "
            "try again later"
        )
    return (
        f"cannot be reached ({reason}): check the address and the network; http_proxy and "
        "https_proxy are followed"
    )


def _credentials(scheme: str) -> str:
    """Return what a refusal means, and where credentials come from."""
    if scheme == "s3":
        return (
            "the bucket is not public, or the file is not there and the bucket may not be listed; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) in the "
            "environment, with permission to list the bucket, since a chunk that may not be read "
            "is never taken for an empty one"
        )
    if scheme == "gs":
        return (
            "the bucket is not public, or the file is not there and the bucket may not be listed; "
            "set GOOGLE_APPLICATION_CREDENTIALS in the environment"
        )
    return (
        "the server asks for other credentials than it was given; put the host's user and "
        "password into ~/.netrc, or the file named by NETRC"
    )
