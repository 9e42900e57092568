"""The HTTP server of `parafovea serve`: uvicorn, whose silent connections end."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from parafovea.errors import ConfigError
from parafovea.service.access_guard import App, is_loopback
from parafovea.service.keys import Keys
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.websocket_protocol import ServiceWebSocket

#: Answer to a WebSocket where there are too many connections.
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

#: Seconds in which requests have to end when the server stops.
LAST = 10


def patient_protocol(patience: float) -> type[H11Protocol]:
    """Return uvicorn's protocol with two more timeouts, which it does not have itself.

    A connection ends if its next request is not complete, or if nothing of an answer is taken, for
    so long. Bodies of requests are timed where they are read.

    Parameters
    ----------
    patience : float
        Seconds.
    """

    class PatientProtocol(H11Protocol):
        """A connection that does not wait for ever."""

        _silent: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Wait for a request."""
            super().connection_made(transport)
            self._expect_request()

        def data_received(self, data: bytes) -> None:
            """Wait on while a request is incomplete; many small pieces of it gain no time."""
            super().data_received(data)
            if not self._waits():
                self._forget_silence()
            elif self._silent is None:
                self._expect_request()

        def handle_websocket_upgrade(self, event: Any) -> None:
            """Count WebSockets as the other connections, which uvicorn does not."""
            if self.limit_concurrency is not None and (
                len(self.connections) > self.limit_concurrency
            ):
                self.transport.write(_BUSY)
                self.transport.close()
                return
            super().handle_websocket_upgrade(event)

        def pause_writing(self) -> None:
            """Wait until the client takes something."""
            super().pause_writing()
            self._stalled = self.loop.call_later(patience, self._reset)

        def resume_writing(self) -> None:
            """Wait no more."""
            super().resume_writing()
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

        def connection_lost(self, exc: Exception | None) -> None:
            """Wait no more."""
            self._forget_silence()
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None
            super().connection_lost(exc)

        def _waits(self) -> bool:
            """Return whether no request is being answered."""
            here = self.transport.get_protocol() is self
            return here and (self.cycle is None or self.cycle.response_complete)

        def _expect_request(self) -> None:
            self._silent = self.loop.call_later(patience, self._end_silence)

        def _end_silence(self) -> None:
            self._silent = None
            if self._waits():
                self._reset()

        def _reset(self) -> None:
            """End the connection at once; the system forgets what the client did not take."""
            connection = self.transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

        def _forget_silence(self) -> None:
            if self._silent is not None:
                self._silent.cancel()
                self._silent = None

    return PatientProtocol


def require_keys(host: str, keys: Keys) -> None:
    """Refuse to listen to other machines without keys.

    Raises
    ------
    ConfigError
        If there is no key and the address is not a loopback one.
    """
    if not len(keys) and not is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached by other machines, and no key is set: give --keys FILE "
            "with one key a line (`openssl rand -hex 32`), or use --host 127.0.0.1"
        )


def serve(
    app: App,
    settings: ServiceSettings,
    *,
    host: str,
    port: int,
    forwarded: str | None = None,
) -> None:
    """Serve an application until the process is interrupted or terminated.

    Parameters
    ----------
    app : callable
        The application.
    settings : ServiceSettings
        Its limits.
    host : str
        Address to listen at.
    port : int
        Port.
    forwarded : str, optional
        Addresses of proxies whose headers are believed.
    """
    options: dict[str, Any] = {} if forwarded is None else {"forwarded_allow_ips": forwarded}
    config = Config(
        app,
        host=host,
        port=port,
        http=patient_protocol(settings.patience),
        ws=ServiceWebSocket,
        ws_max_size=min(settings.max_upload, settings.max_message),
        ws_max_queue=2,
        ws_per_message_deflate=False,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=LAST,
        server_header=False,
        proxy_headers=forwarded is not None,
        **options,
    )
    Server(config).run()
