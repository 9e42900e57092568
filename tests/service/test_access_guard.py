"""Who may call: without keys this machine alone, with keys those who have one; no foreign page."""

from __future__ import annotations

import asyncio
import base64

import pytest

from parafovea.errors import ConfigError
from parafovea.service.access_guard import KEY_PROTOCOL, PROTOCOL, AccessGuard, is_loopback
from parafovea.service.http_server import require_keys
from parafovea.service.keys import Keys, read_keys

KEY, OTHER = "a" * 32, "b" * 32


def asked(keys=(), origins=(), *, path="/api/v1/tasks", client="127.0.0.1", kind="http", **headers):
    """Return the status of a request, or the owner of its jobs if it is passed on."""
    found = []

    async def app(scope, receive, send):
        found.append(scope["state"]["owner"])

    async def send(message):
        found.append(message.get("status") or message.get("code"))

    given = {"host": "localhost:8000", **headers}
    scope = {
        "type": kind,
        "path": path,
        "client": (client, 1),
        "server": ("127.0.0.1", 8000),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
    }
    asyncio.run(AccessGuard(app, Keys(keys), origins)(scope, None, send))
    return found[0]


def test_without_keys_only_this_machine_is_served():
    assert asked() == ""
    assert asked(host="[::1]:8000") == ""
    assert asked(client="192.0.2.7") == 401
    assert asked(client="192.0.2.7", kind="websocket") == 1008
    # through a proxy on this machine
    assert asked(x_forwarded_for="192.0.2.7") == 401
    assert asked(forwarded="for=192.0.2.7") == 401
    # a name that a foreign page had resolved to this machine
    assert asked(host="evil.example") == 421
    assert asked(host="127.0.0.1.evil.example") == 421


def test_with_keys_each_is_another_owner_from_anywhere():
    keys = (KEY, OTHER)
    owner = asked(keys, client="192.0.2.7", host="scans.example", authorization=f"Bearer {KEY}")
    assert len(owner) == 32
    assert KEY not in owner
    assert asked(keys, x_api_key=KEY) == owner
    assert asked(keys, x_api_key=OTHER) not in (owner, 401)
    assert asked(keys) == 401
    assert asked(keys, authorization="Bearer " + KEY[:-1]) == 401
    assert asked(keys, authorization=f"Basic {KEY}") == 401
    assert asked(keys, path="/metrics") == 401
    assert asked(keys, kind="websocket") == 1008
    # what says nothing of jobs
    assert asked(keys, path="/healthz") == ""


def test_pages_of_other_origins_are_refused_unless_they_are_named():
    assert asked(origin="http://localhost:8000") == ""
    for origin in ("https://evil.example", "null", "http://localhost:9000"):
        assert asked(origin=origin) == 403
        assert asked((KEY,), origin=origin, x_api_key=KEY) == 403
        assert asked(origin=origin, kind="websocket") == 1008
    assert asked(origins=("https://viewer.example/",), origin="https://Viewer.example") == ""


def connected(*protocols, keys=(KEY,), query=b"", **headers):
    """Return the messages to a WebSocket, and what the application saw of it."""
    sent, seen = [], []

    async def app(scope, receive, send):
        seen.append(scope)
        await send({"type": "websocket.accept", "subprotocol": None})

    async def send(message):
        sent.append(message)

    given = {"host": "scans.example", "sec-websocket-protocol": ", ".join(protocols), **headers}
    scope = {
        "type": "websocket",
        "path": "/api/v1/inference/stream",
        "query_string": query,
        "client": ("192.0.2.7", 1),
        "server": ("127.0.0.1", 8000),
        "subprotocols": list(protocols),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    asyncio.run(AccessGuard(app, Keys(keys))(scope, None, send))
    return sent[0], seen


def encoded(key: str) -> str:
    return KEY_PROTOCOL + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


@pytest.mark.parametrize("key", [KEY, "~key/with+all=of._them-", "k" * 17, "k" * 18])
def test_a_page_gives_its_key_as_a_subprotocol_which_is_neither_chosen_nor_passed_on(key):
    answer, (seen,) = connected(PROTOCOL, encoded(key), keys=(key,))
    assert answer == {"type": "websocket.accept", "subprotocol": PROTOCOL}
    assert seen["state"]["owner"] == asked((key,), x_api_key=key)
    assert seen["subprotocols"] == [PROTOCOL]
    assert encoded(key) not in str(seen)
    # without a protocol to choose, none is chosen
    answer, (seen,) = connected(encoded(key), keys=(key,))
    assert answer == {"type": "websocket.accept", "subprotocol": None}


def test_a_key_in_the_address_or_of_a_foreign_page_opens_no_websocket():
    for answer, seen in (
        connected(),
        connected(PROTOCOL),
        connected(PROTOCOL, encoded(OTHER)),
        connected(PROTOCOL, KEY_PROTOCOL),
        connected(PROTOCOL, KEY_PROTOCOL + "A"),
        connected(PROTOCOL, KEY_PROTOCOL + "_____"),
        connected(PROTOCOL, KEY),
        connected(PROTOCOL, query=f"key={KEY}&token={KEY}".encode()),
        connected(PROTOCOL, encoded(KEY), origin="https://evil.example"),
    ):
        assert (answer["type"], answer["code"]) == ("websocket.close", 1008)
        assert KEY not in str(answer)
        assert seen == []
    # a request is no WebSocket
    assert asked((KEY,), sec_websocket_protocol=encoded(KEY)) == 401


def test_a_key_is_compared_with_all_keys_in_constant_time(monkeypatch):
    from parafovea.service import keys as module

    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    found = Keys((KEY, OTHER))
    assert found.owner(KEY)
    assert found.owner("x") is None
    # whatever is given, two hashes of one length
    assert compared == [(32, 32)] * 4


def test_keys_come_from_a_file_of_its_owner_and_from_the_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# one\n{KEY}\n\n")
    file.chmod(0o600)
    assert len(read_keys(file, f"{OTHER}, {OTHER}")) == 2
    assert len(read_keys(None, "")) == 0
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody may read it: `chmod 600"):
        read_keys(file)
    file.chmod(0o600)
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys(file)
    with pytest.raises(ConfigError, match="does not exist"):
        read_keys(tmp_path / "other")
    with pytest.raises(ConfigError, match="key 1 has 5 characters") as caught:
        read_keys(None, "short")
    assert "short" not in str(caught.value)


def test_other_machines_are_served_with_keys_alone():
    for host in ("127.0.0.1", "::1", "localhost"):
        require_keys(host, Keys())
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "192.0.2.7", "scans.example"):  # noqa: S104
        require_keys(host, Keys((KEY,)))
        with pytest.raises(ConfigError, match="no key is set"):
            require_keys(host, Keys())
