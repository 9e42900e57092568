"""An archive that is asked over DICOMweb: QIDO-RS, WADO-RS and STOW-RS.

Its address is the operator's; redirects are not followed. What comes is counted and written as it
comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import httpx
import python_multipart
from python_multipart.exceptions import FormParserError

from parafovea.errors import ConfigError, SourceError
from parafovea.pacs.archive import ArchiveError
from parafovea.pacs.received_objects import ReceivedObject, RefusedObject
from parafovea.pacs.retrieved_series import RetrievedSeries, SeriesEntry, number_of
from parafovea.settings.pacs import PacsPeer, PacsSettings

#: Most bytes of an answer in JSON.
_MOST_JSON = 32 * 2**20

#: Bytes that are read or sent at once.
_PIECE = 2**18

_JSON = "application/dicom+json"
_SERIES, _MODALITY, _COUNT = "0020000E", "00080060", "00201209"
_FAILED, _REASON = "00081198", "00081197"


class DicomwebPeer:
    """A peer that is spoken to over DICOMweb.

    Parameters
    ----------
    name : str
        Its name in the config.
    peer : PacsPeer
        Its address; credentials are in the environment variables that it names.
    settings : PacsSettings
        Limits.
    environment : mapping of str to str, optional
        By default that of this process.

    Raises
    ------
    ConfigError
        If it has no address, or a variable is not set.
    """

    def __init__(
        self,
        name: str,
        peer: PacsPeer,
        settings: PacsSettings,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if peer.dicomweb is None:
            raise ConfigError(f"peer {name} has no address of DICOMweb: add dicomweb")
        self._name = name
        self._settings = settings
        self._root = peer.dicomweb
        values = os.environ if environment is None else environment
        credentials = _credentials(name, peer, values)
        self._http = httpx.Client(timeout=settings.patience, follow_redirects=False, **credentials)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @contextlib.contextmanager
    def _request(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, f"{self._root}{path}", **options) as answer:
                if answer.is_redirect:
                    raise ArchiveError(
                        f"peer {self._name} redirects, which is not followed: write the address "
                        "to which it redirects into its dicomweb"
                    )
                yield answer
        except httpx.TimeoutException as error:
            raise ArchiveError(
                f"peer {self._name} was silent for {self._settings.patience:g} s"
            ) from error
        except httpx.TransportError as error:
            raise ArchiveError(
                f"peer {self._name} cannot be reached, or breaks off ({type(error).__name__}): "
                "check its dicomweb"
            ) from error

    def _refused(self, answer: httpx.Response, what: str) -> ArchiveError:
        meaning = {
            401: ": check its credentials",
            403: ": check its credentials",
            404: ": there is no such study or series",
            507: ": its disk is full",
        }.get(answer.status_code, "")
        return ArchiveError(
            f"peer {self._name} answered with status {answer.status_code} to {what}{meaning}"
        )

    def _json(self, answer: httpx.Response, what: str) -> Any:
        content = bytearray()
        for piece in answer.iter_bytes(_PIECE):
            content += piece
            if len(content) > _MOST_JSON:
                raise ArchiveError(f"peer {self._name} sent more than {_MOST_JSON} bytes to {what}")
        try:
            return json.loads(content) if content.strip() else []
        except (ValueError, RecursionError):
            raise ArchiveError(f"peer {self._name} sent no valid JSON to {what}") from None

    def echo(self) -> None:
        """Ask whether the peer is there.

        Raises
        ------
        ArchiveError
            If it is not.
        """
        with self._request("GET", "/studies?limit=1", headers={"Accept": _JSON}) as answer:
            if answer.status_code not in (200, 204):
                raise self._refused(answer, "QIDO-RS")

    def series(self, study: str) -> list[SeriesEntry]:
        """List the series of a study.

        Raises
        ------
        ArchiveError
            If the peer cannot be asked.
        """
        path = f"/studies/{study}/series?includefield={_COUNT}"
        with self._request("GET", path, headers={"Accept": _JSON}) as answer:
            if answer.status_code in (204, 404):
                return []
            if answer.status_code != 200:
                raise self._refused(answer, "QIDO-RS")
            listed = self._json(answer, "QIDO-RS")
        entries = (
            SeriesEntry.listed(
                _value(each, _SERIES),
                modality=_value(each, _MODALITY),
                instances=_value(each, _COUNT),
            )
            for each in (listed if isinstance(listed, list) else ())
        )
        return [entry for entry in entries if entry is not None]

    def retrieve(self, entry: SeriesEntry, target: RetrievedSeries) -> None:
        """Retrieve a series to a folder, by WADO-RS.

        Raises
        ------
        ArchiveError
            If the peer cannot be asked, or does not send all.
        SourceError
            If what it sends is refused.
        """
        path = f"/studies/{target.study}/series/{target.series}"
        accepted = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._request("GET", path, headers={"Accept": accepted}) as answer:
            if answer.status_code != 200:
                raise self._refused(answer, "WADO-RS")
            kind, options = python_multipart.multipart.parse_options_header(
                answer.headers.get("content-type", "")
            )
            boundary = options.get(b"boundary", b"")
            if kind != b"multipart/related" or not boundary:
                raise ArchiveError(f"peer {self._name} sent no multipart/related to WADO-RS")
            parts = _Parts(target, self._settings.max_instance_bytes)
            parser = python_multipart.MultipartParser(boundary, parts.callbacks())
            try:
                for piece in answer.iter_bytes(_PIECE):
                    parser.write(piece)
                parser.finalize()
            except FormParserError:
                raise ArchiveError(f"peer {self._name} sent a malformed answer") from None
            except RefusedObject as refusal:
                raise SourceError(str(refusal)) from None
            finally:
                parts.close()
            if not parts.ended:
                raise ArchiveError(f"peer {self._name} broke off: try again")

    def store(self, path: Path) -> None:
        """Send a DICOM file to the peer by STOW-RS, which says that it has stored it.

        Raises
        ------
        ArchiveError
            If it does not.
        """
        boundary = f"parafovea-{secrets.token_hex(16)}"
        headers = {
            "Accept": _JSON,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        }
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers["Content-Length"] = str(len(head) + path.stat().st_size + len(tail))

        def body() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while data := file.read(_PIECE):
                    yield data
            yield tail

        with self._request("POST", "/studies", headers=headers, content=body()) as answer:
            if answer.status_code not in (200, 202):
                raise self._refused(answer, "STOW-RS")
            # of a warning, 202 has no failed object
            failed = _failures(self._json(answer, "STOW-RS"))
        if failed:
            raise ArchiveError(f"peer {self._name} did not store the result ({failed[0]})")


def _credentials(name: str, peer: PacsPeer, values: Mapping[str, str]) -> dict[str, Any]:
    def value(variable: str) -> str:
        found = values.get(variable, "")
        if not found:
            raise ConfigError(
                f"peer {name}: the environment variable {variable} is not set: set it, or remove "
                "it from the config"
            )
        return found

    if peer.token_variable is not None:
        return {"headers": {"Authorization": f"Bearer {value(peer.token_variable)}"}}
    if peer.user_variable is not None and peer.password_variable is not None:
        return {"auth": (value(peer.user_variable), value(peer.password_variable))}
    return {}


def _value(entry: Any, tag: str) -> str:
    """Return the first value of an element in DICOM JSON, empty if there is none."""
    element = entry.get(tag) if isinstance(entry, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _failures(answer: Any) -> list[str]:
    """Return the reasons of an answer to STOW-RS for objects that were not stored."""
    document = answer[0] if isinstance(answer, list) and answer else answer
    element = document.get(_FAILED) if isinstance(document, dict) else None
    items = element.get("Value") if isinstance(element, dict) else None
    found = []
    for item in items if isinstance(items, list) else ():
        code = number_of(_value(item, _REASON))
        found.append("no reason given" if code is None else f"reason 0x{code:04X}")
    return found


class _Parts:
    """Writes the parts of an answer to files of a series."""

    def __init__(self, target: RetrievedSeries, most: int) -> None:
        self.ended = False
        self._target = target
        self._most = most
        self._partial = target.folder / f".{secrets.token_hex(8)}"
        self._file: IO[bytes] | None = None
        self._size = 0

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._file = self._partial.open("wb")
        self._size = 0

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._most:
            raise RefusedObject(
                f"an object has more than {self._most} bytes: raise pacs.max_instance_bytes",
                full=True,
            )
        self._target.count(end - start)
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        with self._partial.open("rb") as file:
            found = ReceivedObject.read(file)
        place = self._target.check(found)
        if place is None:
            self._partial.unlink()
        else:
            self._partial.replace(place)

    def _finish(self) -> None:
        self.ended = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._partial.unlink(missing_ok=True)
