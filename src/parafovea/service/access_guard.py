"""Who may call the service: keys, origins of pages, and names of the machine.

Without keys, only this machine is served: by its loopback address, under its own names, and not
through a proxy. Pages of other origins are refused with and without keys.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from parafovea.service.keys import NOBODY, Keys
from parafovea.service.refusal import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Addresses that need a key, where there are keys.
GUARDED = ("/api/", "/metrics")

#: Headers that a proxy adds.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")

#: Close code of a WebSocket that breaks a rule.
POLICY = 1008

#: Subprotocol that the WebSockets of the service have, and what one begins with that is no
#: protocol, but the key of a page: a browser sets no other header. The key follows in base64url
#: without padding, as Kubernetes does it.
PROTOCOL, KEY_PROTOCOL = "parafovea", "base64url.bearer.parafovea."

#: Headers of every answer: nothing is run, framed or kept that should not be.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is that of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class AccessGuard:
    """An ASGI application before another one, which it calls for those who may.

    The owner of the jobs that a request may see is in `scope["state"]["owner"]`.

    Parameters
    ----------
    app : callable
        The other application.
    keys : Keys
        Keys of the clients; none for clients of this machine.
    origins : iterable of str
        Origins of other pages that may call, such as "https://viewer.example.org".
    """

    def __init__(self, app: App, keys: Keys, origins: Iterable[str] = ()) -> None:
        self._app = app
        self._keys = keys
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            owner = self._owner(scope)
        except Refusal as refusal:
            await _refuse(scope, send, refusal)
            return
        scope.setdefault("state", {})["owner"] = owner
        chosen = _without_key(scope) if scope["type"] == "websocket" else None

        async def answered(message: Message) -> None:
            if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
                message = {**message, "subprotocol": chosen}
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", ())}
                extra = [pair for pair in _HEADERS if pair[0] not in given]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        await self._app(scope, receive, answered)

    def _owner(self, scope: Scope) -> str:
        headers: list[tuple[bytes, bytes]] = list(scope.get("headers", ()))
        self._check_origin(headers)
        if not len(self._keys):
            _require_this_machine(scope, headers)
            return NOBODY
        if not scope["path"].startswith(GUARDED):
            return NOBODY
        offered = _offered_key(scope) if scope["type"] == "websocket" else ""
        owner = self._keys.owner(_presented(headers) or offered)
        if owner is None:
            raise Refusal(
                HTTPStatus.UNAUTHORIZED,
                "a key is needed: send the header Authorization: Bearer KEY",
            )
        return owner

    def _check_origin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Refuse requests of pages that are not of this service."""
        for origin in _values(headers, b"origin"):
            host = next(iter(_values(headers, b"host")), "")
            same = urlsplit(origin).netloc.lower() == host.lower() != ""
            if not same and origin.lower() not in self._origins:
                raise Refusal(
                    HTTPStatus.FORBIDDEN,
                    "pages of this origin may not call the service: its operator can allow it "
                    "with --origin",
                )


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _presented(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the key of a request, empty without one."""
    for value in _values(headers, b"authorization"):
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer":
            return key.strip()
    return next(iter(_values(headers, b"x-api-key")), "")


def _offered_key(scope: Scope) -> str:
    """Return the key among the subprotocols that a WebSocket offers, empty without one."""
    for name in scope.get("subprotocols", ()):
        if name.startswith(KEY_PROTOCOL):
            text = name.removeprefix(KEY_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except (binascii.Error, ValueError):
                return ""
    return ""


def _without_key(scope: Scope) -> str | None:
    """Take the key out of the subprotocols, and return the one to choose, if it is offered."""
    offered = [name for name in scope.get("subprotocols", ()) if not name.startswith(KEY_PROTOCOL)]
    scope["subprotocols"] = offered
    scope["headers"] = [
        pair for pair in scope.get("headers", ()) if pair[0].lower() != b"sec-websocket-protocol"
    ]
    return PROTOCOL if PROTOCOL in offered else None


def _require_this_machine(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    client, server = scope.get("client"), scope.get("server")
    near = all(each is None or is_loopback(str(each[0])) for each in (client, server))
    if not near or any(key.lower() in _FORWARDED for key, _ in headers):
        raise Refusal(
            HTTPStatus.UNAUTHORIZED,
            "this service has no keys and serves its own machine alone: its operator can start it "
            "with --keys",
        )
    # a foreign page may have had its own name resolved to the loopback address
    hosts = [re.sub(r":\d+$", "", host) for host in _values(headers, b"host")]
    if len(hosts) > 1 or not all(map(is_loopback, hosts)):
        raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "this is not a name of this machine")


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY, "reason": refusal.detail[:120]})
        return
    content = json.dumps({"detail": refusal.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        *_HEADERS,
    ]
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": content})
