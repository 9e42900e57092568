"""A client whose answer waits behind a large message is alive; a silent one is not."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import threading
import time

import pytest
from uvicorn import Config, Server

from parafovea.service.websocket_protocol import SMALL, ServiceWebSocket


@pytest.fixture
def port():
    """Yield the port of a server that asks ten times a second whether its clients live."""

    async def app(scope, receive, send):
        if scope["type"] != "websocket":
            return
        await receive()
        state = scope["state"]
        state["admit_scan"](admitted=b"large" in scope["query_string"])
        await send({"type": "websocket.accept"})
        message = await receive()
        if message["type"] == "websocket.receive":
            length = len(message["bytes"])
            assert state["received"]() > length
            await send({"type": "websocket.send", "text": str(length)})

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number = found.getsockname()[1]
    config = Config(
        app, port=number, ws=ServiceWebSocket, ws_max_size=2**20, lifespan="off",
        ws_ping_interval=0.1, ws_ping_timeout=0.3, ws_per_message_deflate=False,
        log_level="critical",
    )  # fmt: skip
    server = Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield number
    server.should_exit = True
    thread.join()


@contextlib.contextmanager
def connected(port: int, query: str):
    """Yield a WebSocket that answers no ping."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as found:
        found.sendall(
            f"GET /?{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += found.recv(1)
        yield found


def begin(size: int) -> bytes:
    """Return what stands before a message of so many bytes."""
    return bytes([0x82, 0x80 | 127]) + struct.pack(">Q", size) + bytes(4)


def everything(connection: socket.socket) -> bytes:
    """Return all that comes until the end."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


def test_a_client_that_answers_no_ping_within_a_message_is_alive(port):
    with connected(port, "large") as slow:
        slow.sendall(begin(20_000))
        for _ in range(20):
            time.sleep(0.1)
            slow.sendall(bytes(1000))
        assert b"\x81\x0520000" in everything(slow)


def test_a_client_of_which_nothing_comes_is_ended(port):
    with connected(port, "large") as silent:
        silent.sendall(begin(20_000))
        assert b"20000" not in everything(silent)


def test_a_large_message_needs_to_be_admitted(port):
    with connected(port, "large") as admitted:
        admitted.sendall(begin(2 * SMALL) + bytes(2 * SMALL))
        assert str(2 * SMALL).encode() in everything(admitted)
    with connected(port, "small") as watcher:
        watcher.sendall(begin(SMALL) + bytes(SMALL))
        assert str(SMALL).encode() in everything(watcher)
    with connected(port, "small") as greedy:
        greedy.sendall(begin(SMALL + 1))
        assert struct.pack(">H", 1009) in everything(greedy)
    with connected(port, "large") as greedy:
        greedy.sendall(begin(2**20 + 1))
        assert struct.pack(">H", 1009) in everything(greedy)
