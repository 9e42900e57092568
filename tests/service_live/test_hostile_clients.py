"""Clients that are slow, large or foreign, against a running service."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import websockets
from live_server import LiveServer, make_project, wait_for

KEY, OTHER = "k" * 32, "o" * 32


def connected(server: LiveServer) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    found.settimeout(30)
    return found


def seconds_until_closed(connection: socket.socket) -> float:
    begin = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - begin


def test_connections_that_send_no_whole_request_end(server):
    with connected(server) as silent, connected(server) as slow:
        slow.sendall(b"POST /api/v1/inference HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert seconds_until_closed(silent) < 15
        assert seconds_until_closed(slow) < 15


def test_a_header_that_trickles_gains_no_time(server):
    with connected(server) as slow:
        begin = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - begin < 25:
                slow.sendall(b"G")
                time.sleep(0.3)
        assert time.monotonic() - begin < 15


def test_an_upload_that_stops_is_refused_and_leaves_nothing(server, project):
    before = set((project / "spool/jobs").iterdir())
    head = (
        b"POST /api/v1/inference HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\nabc'
    )
    with connected(server) as stopped:
        stopped.sendall(head)
        wait_for(lambda: set((project / "spool/jobs").iterdir()) > before, "the upload's folder")
        answer = stopped.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert set((project / "spool/jobs").iterdir()) == before


def test_a_client_that_takes_nothing_of_a_large_answer_is_left(server, project):
    job = server.submit(project / "scan.nii.gz")
    server.finished(job)
    place = next((project / "spool/jobs" / job).glob("attempt-*/scan/heatmap.nii.gz"))
    place.write_bytes(bytes(50 * 2**20))
    with connected(server) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = f"/api/v1/inference/{job}/results/heatmap.nii.gz"
        idle.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(8)
        # it was reset with most of the answer unsent
        taken = 0
        with pytest.raises(ConnectionError):
            while piece := idle.recv(2**20):
                taken += len(piece)
        assert taken < 45 * 2**20
    httpx.delete(f"{server.url}/api/v1/inference/{job}")


@pytest.mark.parametrize("stated", [True, False])
def test_an_upload_beyond_the_limit_is_refused_while_it_comes(server, project, stated):
    before = set((project / "spool/jobs").iterdir())
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\n'
    size = 60 * 2**20

    def body():
        yield head
        for _ in range(60):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if stated:
        headers["Content-Length"] = str(len(head) + size + 9)
    answer = httpx.post(
        f"{server.url}/api/v1/inference", content=body(), headers=headers, timeout=60
    )
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith(f"an upload may have {40 * 2**20} bytes")
    assert set((project / "spool/jobs").iterdir()) == before


def test_a_message_beyond_the_limit_closes_the_websocket(server):
    async def sent():
        address = f"ws://127.0.0.1:{server.port}/api/v1/inference/stream"
        async with websockets.connect(address, max_size=None) as connection:
            with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
                await connection.send(os.urandom(41 * 2**20))
                await connection.recv()
            return caught.value.rcvd.code

    assert asyncio.run(sent()) == 1009


def nifti_header(shape: tuple[int, int, int], spacing: float) -> bytes:
    """Return the header of a NIfTI file of int16, 352 bytes."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, *(spacing,) * 3, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<f", header, 112, 1)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    for row in range(3):
        numbers = [spacing if column == row else 0 for column in range(4)]
        struct.pack_into("<4f", header, 280 + 16 * row, *numbers)
    header[344:348] = b"n+1\0"
    return bytes(header)


def test_headers_that_promise_too_much_fail_without_the_memory(server, tmp_path):
    # voxels that are not there, and few of them that are metres large
    most = (32000, 32000, 32000)
    (tmp_path / "promise.nii.gz").write_bytes(gzip.compress(nifti_header(most, 1)))
    voxels = np.zeros(16**3, np.int16).tobytes()
    (tmp_path / "metres.nii").write_bytes(nifti_header((16, 16, 16), 900.0) + voxels)
    (worker,) = server.workers()
    before = worker.memory_info().rss
    for name in ("promise.nii.gz", "metres.nii"):
        state = server.finished(server.submit(tmp_path / name))
        assert state["status"] == "failed"
        assert "the uploaded file" in state["error"]
        assert name.partition(".")[0] not in state["error"]
        assert str(server.folder) not in state["error"]
    assert worker.is_running()
    assert worker.memory_info().rss - before < 2**29


def test_names_and_fields_of_patients_are_neither_logged_nor_in_errors(server, tmp_path):
    name = "MUSTERMANN_ERIKA_19640812"
    (tmp_path / f"{name}.nii.gz").write_bytes(gzip.compress(name.encode() * 50))
    state = server.finished(server.submit(tmp_path / f"{name}.nii.gz"))
    assert state["status"] == "failed"
    assert "MUSTERMANN" not in json.dumps(state)
    for file, task, code in ((f"{name}.exe", "nodules", 415), ("a.nii", name, 422)):
        answer = httpx.post(
            f"{server.url}/api/v1/inference", files={"file": (file, b"x")}, data={"task": task}
        )
        assert answer.status_code == code
        assert "MUSTERMANN" not in answer.text
    assert "MUSTERMANN" not in server.log.read_text()


def test_pages_of_other_origins_get_nothing(server):
    address = f"{server.url}/api/v1/inference"
    foreign = {"Origin": "https://evil.example"}
    own = {"Origin": server.url}
    assert httpx.post(address, headers=foreign, files={"file": ("a.nii", b"x")}).status_code == 403
    assert httpx.get(address, headers=own).status_code == 200
    # a name that was resolved to this machine
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 421

    async def connect(origin: str) -> None:
        socket = f"ws://127.0.0.1:{server.port}/api/v1/inference/stream"
        async with websockets.connect(socket, origin=origin):
            pass

    with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
        asyncio.run(connect("https://evil.example"))
    asyncio.run(connect(server.url))


def test_a_server_for_other_machines_does_not_start_without_a_key(project):
    code = "from parafovea.cli.main import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--host", "0.0.0.0"],  # noqa: S104
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no key is set: give --keys FILE" in done.stderr


def test_each_key_sees_its_own_jobs_and_results_expire(tmp_path):
    folder = make_project(tmp_path / "project")
    (folder / "keys.txt").write_text(f"# two clients\n{KEY}\n{OTHER}\n")
    (folder / "keys.txt").chmod(0o600)
    server = LiveServer(
        folder, keys_file="keys.txt", workers="0", max_queued="1", keep_seconds="4"
    ).start()
    try:
        jobs = f"{server.url}/api/v1/inference"
        own, other = ({"Authorization": f"Bearer {key}"} for key in (KEY, OTHER))
        for headers in ({}, {"Authorization": "Bearer " + "x" * 32}, {"X-API-Key": "é" * 20}):
            encoded = {name: value.encode() for name, value in headers.items()}
            assert httpx.get(jobs, headers=encoded).status_code == 401
            assert httpx.get(f"{server.url}/metrics", headers=encoded).status_code == 401
        job = server.submit(folder / "scan.nii.gz", headers=own)
        assert httpx.get(f"{jobs}/{job}", headers=own).json()["status"] == "queued"
        assert [each["job_id"] for each in httpx.get(jobs, headers=own).json()] == [job]
        assert httpx.get(jobs, headers=other).json() == []
        for method, address in (
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/results"),
            ("GET", "/events"),
        ):
            answer = httpx.request(method, f"{jobs}/{job}{address}", headers=other)
            assert answer.status_code == 404
        with (folder / "scan.nii.gz").open("rb") as scan:
            full = httpx.post(jobs, headers=own, files={"file": scan})
        assert full.status_code == 429
        assert int(full.headers["Retry-After"]) > 0

        async def connect(key: str) -> dict[str, object]:
            address = f"ws://127.0.0.1:{server.port}/api/v1/inference/{job}/stream"
            headers = {"Authorization": f"Bearer {key}"}
            async with websockets.connect(address, additional_headers=headers) as connection:
                return dict(json.loads(await connection.recv()))

        assert asyncio.run(connect(KEY))["position"] == 0
        for key in (OTHER, "x" * 32):
            with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
                asyncio.run(connect(key))
        # an invalid scan of its own worker would do as well: the age alone counts
        from parafovea.service.job_queue import JobQueue

        with JobQueue(folder / "spool/queue.sqlite3") as queue:
            found = queue.claim("test", lease=60, attempts=3)
            assert queue.fail(found, "no", size=1)
        address = f"{jobs}/{job}/results"
        assert httpx.get(address, headers=own).status_code == 409
        wait_for(lambda: httpx.get(address, headers=own).status_code == 410, "its end", seconds=30)
        # first it is told, then its files go
        wait_for(lambda: not (folder / "spool/jobs" / job).exists(), "no files", seconds=30)
        assert KEY not in server.log.read_text()
        assert KEY.encode() not in (folder / "spool/queue.sqlite3").read_bytes()
    finally:
        server.stop()
