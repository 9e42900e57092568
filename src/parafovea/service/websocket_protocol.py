"""The WebSockets of `parafovea serve`: how much of a message is held, and when a client is dead.

A message is in memory until it is complete. Only who uploads a scan, and was admitted to it, may
send a large one.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Where scans come in.
SCAN_STREAM = "/api/v1/inference/stream"

#: Most bytes of a message of a client that has no scan to send, or is not admitted yet.
SMALL = 4096


class ServiceWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that tells its application how many bytes have come.

    `scope["state"]["received"]` returns them, those of an incomplete message included.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._received = self._at_ping = 0
        self.conn.max_message_size = SMALL

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self._received += len(data)
        super().data_received(data)

    def handle_connect(self, event: Any) -> None:
        """Tell the application where the count is."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["state"]["received"] = lambda: self._received

    async def send(self, message: Any) -> None:
        """Allow a scan from when it is admitted."""
        if message["type"] == "websocket.accept" and self.scope["path"] == SCAN_STREAM:
            self.conn.max_message_size = self.config.ws_max_size
        await super().send(message)

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
