"""The WebSockets of `parafovea serve`: how much of a message is held, and when a client is dead.

A message is in memory until it is complete. Only who uploads a scan may send a large one, and only
while it is admitted to that.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Most bytes of a message of a client that has no scan to send, or is not admitted to it.
SMALL = 4096

#: Bytes of a frame before its content.
HEADER = 14


class ServiceWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that tells its application what comes, and is told whether a scan may.

    `scope["state"]` has two functions: `received` returns how many bytes have come, those of an
    incomplete message included, and `admit_scan` takes whether large messages may come.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._received = self._at_ping = 0
        self._admit_scan(admitted=False)

    def _admit_scan(self, *, admitted: bool) -> None:
        self._admitted = admitted
        self.conn.max_message_size = self.config.ws_max_size if admitted else SMALL

    def data_received(self, data: bytes) -> None:
        """Count what comes, and take no more of a large message that may not."""
        self._received += len(data)
        super().data_received(data)
        # begun while a scan might come; its client may still read why it was refused
        if not self._admitted and len(self.conn.reader.buffer) > SMALL + HEADER:
            self.transport.pause_reading()

    def handle_connect(self, event: Any) -> None:
        """Give the application its functions."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["state"]["received"] = lambda: self._received
            self.scope["state"]["admit_scan"] = self._admit_scan

    def send_keepalive_ping(self) -> None:
        """Ask whether the client lives."""
        self._at_ping = self._received
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """End a connection of which nothing came: an answer waits behind a large message."""
        if self._received > self._at_ping:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()
