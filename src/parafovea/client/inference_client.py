"""Calls of a service from Python: upload a scan, wait for it, get its results, watch it."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from parafovea.errors import ParafoveaError
from parafovea.runtime.optional_packages import import_extra

#: Seconds between two looks at a job: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0

#: Seconds that the server may be silent.
SILENCE = 60.0

#: Bytes of a message of a scan, below the limit of any server.
PIECE = 2**20

#: Most bytes of a message of the server.
LARGEST_MESSAGE = 2**26

#: Names of results that are written.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class ServiceError(ParafoveaError, ConnectionError):
    """A request that the service refused, or a job that failed.

    Parameters
    ----------
    message : str
        What the service said.
    status : int, optional
        HTTP status.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InferenceClient:
    """A client of a service.

    Parameters
    ----------
    base_url : str
        Address of the service.
    api_key : str, optional
        Key, if the service asks for one.
    """

    def __init__(
        self, base_url: str = "http://localhost:8000", *, api_key: str | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._jobs = f"{self.base_url}/api/v1/inference"
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        httpx = import_extra("httpx")
        self._errors = httpx.TransportError
        self._http = httpx.Client(headers=self._headers, timeout=SILENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit_inference(
        self,
        scan_path: str | Path,
        config: str | Path | Mapping[str, Any] | None = None,
        *,
        task: str | None = None,
        metadata: str | None = None,
    ) -> str:
        """Upload a scan and return the id of its job.

        Parameters
        ----------
        scan_path : str or Path
            A file, or a folder of a DICOM series or of tiles, which is zipped.
        config : str, Path or mapping, optional
            Config of the guide: a YAML file, or its values.
        task : str, optional
            Name of a task of the service, instead of its default.
        metadata : str, optional
            What the file does not state itself, as words of a sample sheet:
            "spacing=2.5,0.7,0.7 unit=millimeter" along z, y, x.

        Raises
        ------
        FileNotFoundError
            If there is no such scan or config.
        ServiceError
            If the service refuses them or cannot be reached.
        """
        fields = {"task": task, "config": _config_text(config), "metadata": metadata}
        data = {name: text for name, text in fields.items() if text}
        with _as_file(Path(scan_path)) as file, file.open("rb") as content:
            answer = self._request("POST", "", data=data, files={"file": (file.name, content)})
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """Return the state of a job: its status, stage, progress in percent and remaining seconds.

        Raises
        ------
        ServiceError
            If there is no such job.
        """
        return dict(self._request("GET", f"/{_quoted(job_id)}").json())

    def wait_for_results(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until a job is over, and return its results.

        Parameters
        ----------
        job_id : str
            From `submit_inference`.
        timeout : float, optional
            Seconds to wait at most; without it, as long as it takes.

        Returns
        -------
        dict
            What detections.json holds, such as "detections", and "files", the list of all results.

        Raises
        ------
        TimeoutError
            If it is not over in time. It goes on, and can be waited for again.
        ServiceError
            If it failed, or was deleted.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            state = self.status(job_id)
            if state["status"] == "completed":
                return dict(self._request("GET", f"/{_quoted(job_id)}/results").json())
            if state["status"] not in ("queued", "running"):
                raise ServiceError(state["error"] or f"the job is {state['status']}")
            left = pause if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"the job is {state['status']} after {timeout} s, {state['progress']} % are "
                    "done: wait for it again"
                )
            time.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, 1.5 * pause)

    def download_results(self, job_id: str, output_dir: str | Path = "results") -> list[Path]:
        """Write all results of a job to a folder, and return their paths.

        Parameters
        ----------
        job_id : str
            A job that is over.
        output_dir : str or Path
            Created if missing; files in it are replaced.

        Raises
        ------
        ServiceError
            If the job is not over, or the service cannot be reached.
        """
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        found = self._request("GET", f"/{_quoted(job_id)}/results").json()
        return [self._download(job_id, str(each["name"]), folder) for each in found["files"]]

    def _download(self, job_id: str, name: str, folder: Path) -> Path:
        if not _NAME.fullmatch(name):
            raise ServiceError(f"the service names a result {name!r}, which is no name of a file")
        place = folder / name
        partial = folder / f".{name}.part"
        address = f"{self._jobs}/{_quoted(job_id)}/results/{name}"
        try:
            with self._reached(), self._http.stream("GET", address) as answer:
                _check(answer)
                with partial.open("wb") as file:
                    for piece in answer.iter_bytes(PIECE):
                        file.write(piece)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
        return place

    def delete(self, job_id: str) -> None:
        """Cancel a job, and remove its results from the service.

        Raises
        ------
        ServiceError
            If there is no such job.
        """
        self._request("DELETE", f"/{_quoted(job_id)}")

    async def stream_inference(
        self,
        scan_path: str | Path,
        config: str | Path | Mapping[str, Any] | None = None,
        *,
        task: str | None = None,
        metadata: str | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Upload a scan by WebSocket and yield its progress; the last message has the detections.

        Parameters
        ----------
        scan_path, config, task, metadata
            As for `submit_inference`.

        Yields
        ------
        dict
            "status", "progress" in percent, "stage", "remaining_seconds"; at the end "detections"
            and "files".

        Raises
        ------
        FileNotFoundError
            If there is no such scan or config.
        ServiceError
            If the service refuses it, the job fails, or the service cannot be reached.
        """
        library = import_extra("websockets")
        text = _config_text(config)
        address = re.sub("^http", "ws", f"{self._jobs}/stream")
        with _as_file(Path(scan_path)) as file, file.open("rb") as content:
            header = {
                "filename": file.name,
                "size": file.stat().st_size,
                "task": task or "",
                "config": text or "",
                "metadata": metadata or "",
            }
            try:
                async with library.connect(
                    address, additional_headers=self._headers, max_size=LARGEST_MESSAGE
                ) as socket:
                    # a refusal says why; sending on to whoever refused does not
                    with contextlib.suppress(library.exceptions.ConnectionClosed):
                        await socket.send(json.dumps(header))
                        while piece := content.read(PIECE):
                            await socket.send(piece)
                    async for message in socket:
                        state = json.loads(message)
                        if state["status"] in ("failed", "cancelled"):
                            raise ServiceError(state.get("error") or f"it is {state['status']}")
                        yield state
            except (OSError, library.exceptions.WebSocketException) as error:
                if isinstance(error, ServiceError):
                    raise
                raise ServiceError(f"{self.base_url} cannot be reached: {error}") from error

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise ServiceError(f"{self.base_url} cannot be reached: {error}") from error

    def _request(self, method: str, address: str, **content: Any) -> Any:
        with self._reached():
            answer = self._http.request(method, self._jobs + address, **content)
        _check(answer)
        return answer


def _check(answer: Any) -> None:
    """Raise `ServiceError` for an answer that is a refusal."""
    if answer.is_success:
        return
    answer.read()
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{answer.reason_phrase or 'no reason'}: is this the address of the service?"
    raise ServiceError(f"{answer.status_code}: {detail}", status=answer.status_code)


def _quoted(job_id: str) -> str:
    return quote(job_id, safe="")


def _config_text(config: str | Path | Mapping[str, Any] | None) -> str | None:
    """Return a config as YAML, of which JSON is a part."""
    if config is None:
        return None
    if isinstance(config, Mapping):
        return json.dumps(config)
    return Path(config).read_text(encoding="utf-8")


@contextlib.contextmanager
def _as_file(scan: Path) -> Iterator[Path]:
    """Yield a scan as one file: a folder as a zip file, which is removed afterwards."""
    if not scan.is_dir():
        yield scan
        return
    with tempfile.TemporaryDirectory(prefix="parafovea-") as folder:
        zipped = Path(folder) / f"{scan.resolve().name}.zip"
        with zipfile.ZipFile(zipped, "w", strict_timestamps=False) as archive:
            for place in sorted(scan.rglob("*")):
                if place.is_file() and not place.name.startswith("."):
                    archive.write(place, str(place.relative_to(scan)))
        yield zipped
