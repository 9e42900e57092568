"""WebSockets of slow, large and many clients, against a running service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
import websockets
from live_server import LiveServer, make_project, wait_for

STREAM = "/api/v1/inference/stream"


@contextlib.contextmanager
def handshaken(server: LiveServer, path: str = STREAM) -> Iterator[socket.socket]:
    """Yield a WebSocket as bare as it is, so that frames may be sent in pieces."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as found:
        found.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = found.recv(1)
            assert piece, answer
            answer += piece
        assert answer.startswith(b"HTTP/1.1 101"), answer
        yield found


def frame(size: int, *, code: int = 2) -> bytes:
    """Return what stands before a message of so many bytes, whose mask changes nothing."""
    return bytes([0x80 | code, 0x80 | 127]) + struct.pack(">Q", size) + bytes(4)


def said(connection: socket.socket) -> dict[str, object]:
    """Return the next message of the server, which is short of 64 kB."""
    kind, length = connection.recv(2)
    assert kind == 0x81
    if length == 126:
        (length,) = struct.unpack(">H", connection.recv(2))
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return dict(json.loads(data))


@pytest.fixture(scope="module")
def project_scan(project):
    return (project / "scan.nii.gz").read_bytes()


def test_a_message_that_takes_longer_than_the_patience_arrives_while_it_comes(server, project_scan):
    # 10 s in all, where 4 s of silence end it
    count = 20
    step = -(-len(project_scan) // count)
    with handshaken(server) as slow:
        slow.sendall(frame(len(project_scan)))
        for start in range(0, len(project_scan), step):
            slow.sendall(project_scan[start : start + step])
            time.sleep(10 / count)
        state = said(slow)
    assert state["status"] in ("queued", "running")
    stored = server.folder / "spool/jobs" / str(state["job_id"]) / "upload/scan.nii.gz"
    assert stored.read_bytes() == project_scan
    httpx.delete(f"{server.url}/api/v1/inference/{state['job_id']}")


def test_a_scan_in_several_messages_of_which_one_takes_its_time_is_one_scan(server, project_scan):
    half = len(project_scan) // 2
    with handshaken(server) as slow:
        slow.sendall(frame(half) + project_scan[:half])
        # longer on its way than the silence that ends a scan of unknown size
        slow.sendall(frame(len(project_scan) - half))
        for start in range(half, len(project_scan), half // 6):
            time.sleep(0.5)
            slow.sendall(project_scan[start : start + half // 6])
        state = said(slow)
    stored = server.folder / "spool/jobs" / str(state["job_id"]) / "upload/scan.nii.gz"
    assert stored.read_bytes() == project_scan
    httpx.delete(f"{server.url}/api/v1/inference/{state['job_id']}")


@pytest.mark.parametrize("trickle", [b"", b"x"])
def test_a_message_that_trickles_or_waits_is_refused_and_leaves_nothing(server, trickle):
    before = set((server.folder / "spool/jobs").iterdir())
    with handshaken(server) as slow:
        slow.sendall(frame(2**20) + b"\x1f\x8b")
        begin = time.monotonic()
        slow.settimeout(0.5)
        answer = b""
        while not answer and time.monotonic() - begin < 30:
            with contextlib.suppress(TimeoutError):
                answer = slow.recv(65536)
            slow.sendall(trickle)
        assert b"no scan has come" in answer
        assert time.monotonic() - begin < 15
    # jobs of other tests may go meanwhile
    wait_for(lambda: set((server.folder / "spool/jobs").iterdir()) <= before, "its removal")


def test_who_only_watches_sends_no_large_message(server, project):
    job = server.submit(project / "scan.nii.gz")
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    with handshaken(server, f"/api/v1/inference/{job}/stream") as watcher:
        with contextlib.suppress(ConnectionError):
            watcher.sendall(frame(30 * 2**20))
            for _ in range(30):
                watcher.sendall(bytes(2**20))
        seen = b""
        with contextlib.suppress(ConnectionError):
            while piece := watcher.recv(65536):
                seen += piece
    assert process.memory_info().rss - before < 20 * 2**20
    httpx.delete(f"{server.url}/api/v1/inference/{job}")


def test_behind_a_scan_no_other_large_message_is_held(server, project_scan):
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    header = json.dumps({"size": len(project_scan), "filename": "scan.nii.gz"}).encode()
    with handshaken(server) as greedy:
        greedy.sendall(frame(len(header), code=1) + header + frame(len(project_scan)))
        # in one piece with the end of the scan
        greedy.sendall(project_scan + frame(30 * 2**20) + bytes(1000))
        state = said(greedy)
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                greedy.sendall(bytes(2**20))
                time.sleep(0.02)
    assert process.memory_info().rss - before < 20 * 2**20
    assert server.finished(str(state["job_id"]))["status"] == "completed"


def test_so_many_scans_come_at_once_and_so_many_connections_are_open(tmp_path):
    folder = make_project(tmp_path / "project")
    server = LiveServer(
        folder, workers="0", patience="3", min_rate="0", max_streams="2", max_connections="12"
    ).start()
    base = f"ws://127.0.0.1:{server.port}"
    job = f"{base}/api/v1/inference/{server.submit(folder / 'scan.nii.gz')}/stream"

    async def held(closed: asyncio.Event) -> None:
        async with websockets.connect(f"{base}{STREAM}") as busy:
            await busy.send(json.dumps({"size": 10**6}))
            while not closed.is_set():
                await busy.send(b"\x1f\x8b")
                await asyncio.sleep(0.5)

    async def third() -> tuple[dict[str, object], int | None]:
        closed = asyncio.Event()
        others = [asyncio.create_task(held(closed)) for _ in range(2)]
        await asyncio.sleep(1)
        async with websockets.connect(f"{base}{STREAM}") as late:
            refusal = json.loads(await late.recv())
            await late.wait_closed()
        closed.set()
        await asyncio.gather(*others)
        # there is room again
        async with websockets.connect(f"{base}{STREAM}") as next_one:
            await next_one.send(b"no scan")
            return refusal, late.close_code or len(await next_one.recv())

    async def watchers(count: int) -> list[int]:
        statuses = []
        async with contextlib.AsyncExitStack() as open_ones:
            for _ in range(count):
                try:
                    await open_ones.enter_async_context(websockets.connect(job))
                    statuses.append(101)
                except websockets.exceptions.InvalidStatus as error:
                    statuses.append(error.response.status_code)
        return statuses

    try:
        refusal, code = asyncio.run(third())
        assert refusal["error"] == "too many scans come by WebSocket: try again later"
        assert code == 1013
        statuses = asyncio.run(watchers(20))
        assert set(statuses) == {101, 503}
        assert statuses.count(101) <= 12
        wait_for(
            lambda: httpx.get(f"{server.url}/healthz").status_code == 200, "the end of the crowd"
        )
        assert "Traceback" not in server.log.read_text()
    finally:
        server.stop()
