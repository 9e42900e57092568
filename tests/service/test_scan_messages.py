"""A scan that comes in messages is complete when all of it has come, however slowly."""

from __future__ import annotations

import asyncio
import json

import pytest

from parafovea.service import scan_messages
from parafovea.service.refusal import Refusal
from parafovea.service.scan_messages import received_scan
from parafovea.service.uploads import ClientGone, Limits

LIMITS = Limits(size=10_000, patience=0.2, rate=100, free=lambda: 10**9)


class Connection:
    """Messages that come after a while each, a tenth of a second at a time."""

    def __init__(self, *messages: tuple[int, str | bytes], rate: int = 100) -> None:
        self.count = 0
        self._messages = iter(messages)
        self._rate = rate

    def received(self) -> int:
        return self.count

    async def receive(self):
        steps, content = next(self._messages, (0, None))
        if content is None:
            await asyncio.Event().wait()
        for _ in range(steps):
            await asyncio.sleep(0.1)
            self.count += self._rate
        kind = "text" if isinstance(content, str) else "bytes"
        return {"type": "websocket.receive", kind: content}


def taken(connection, folder, *, told=True, limits=LIMITS):
    """Return the bytes of the scan, and its header."""
    counted = connection.received if told else None
    header = asyncio.run(received_scan(connection, folder, limits, received=counted))
    return (folder / "upload/file").read_bytes(), header


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(scan_messages, "QUIET", 0.2)


def test_a_message_may_take_longer_than_the_patience_while_it_comes(tmp_path):
    words = json.dumps({"size": 6, "metadata": "spacing=1,1,1"})
    found, header = taken(Connection((0, words), (8, b"abc"), (8, b"def")), tmp_path)
    assert found == b"abcdef"
    assert header.metadata == "spacing=1,1,1"


def test_a_scan_of_unknown_size_goes_on_while_a_message_comes(tmp_path):
    connection = Connection((0, b"abc"), (8, b"def"))
    assert taken(connection, tmp_path)[0] == b"abcdef"
    # a server that does not tell what comes can only wait
    connection = Connection((0, b"abc"), (8, b"def"))
    (tmp_path / "other").mkdir()
    assert taken(connection, tmp_path / "other", told=False)[0] == b"abc"


@pytest.mark.parametrize("rate", [0, 1])
def test_a_message_that_waits_or_trickles_ends_the_upload(tmp_path, rate):
    with pytest.raises(Refusal, match="no scan has come"):
        taken(Connection((50, b"abc"), rate=rate), tmp_path)
    assert not (tmp_path / "upload").exists()


def test_small_messages_that_trickle_end_the_upload(tmp_path, monkeypatch):
    from parafovea.service import uploads

    monkeypatch.setattr(uploads, "GRACE", 0.3)
    connection = Connection((0, json.dumps({"size": 10_000})), *[(1, b"a")] * 50)
    with pytest.raises(Refusal, match="too slow"):
        taken(connection, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "no json",
        "[" * 100_000,
        '{"size": 0}',
        '{"size": 1e400}',
        '{"path": "/etc/passwd"}',
        json.dumps({"metadata": "a" * 5000}),
        '{"size": ' + "9" * 5000 + "}",
    ],
)
def test_words_before_a_scan_that_are_none_are_refused(tmp_path, words):
    with pytest.raises(Refusal, match="the text before a scan is JSON with"):
        taken(Connection((0, words), (0, b"abc")), tmp_path)


def test_a_client_that_goes_away_is_no_error(tmp_path):
    class Gone:
        async def receive(self):
            return {"type": "websocket.disconnect"}

    with pytest.raises(ClientGone):
        asyncio.run(received_scan(Gone(), tmp_path, LIMITS))
