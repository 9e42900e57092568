"""A page in a browser opens WebSockets with its key, as docs/service.md shows it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from browser import CHROMIUM, opened
from live_server import LiveServer, make_project

KEY = "~key+with/all=characters_of-keys."

#: The lines of the page, which say what came of the socket.
SCRIPT = """
const key = {key!r}, job = {job!r};
window.said = null;
{shown}
socket.onmessage = message => {{ window.said = [socket.protocol, message.data]; }};
socket.onclose = event => {{ window.said ??= ["closed", event.code]; }};
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_lines_of_the_page_watch_a_job_of_their_key_and_no_foreign_page_does(tmp_path):
    guide = (Path(__file__).parents[2] / "docs/service.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```js\n(.*?)```", guide, flags=re.DOTALL)
    folder = make_project(tmp_path / "project")
    (folder / "keys.txt").write_text(KEY)
    (folder / "keys.txt").chmod(0o600)
    server = LiveServer(folder, keys_file="keys.txt", workers="0").start()
    try:
        job = server.submit(folder / "scan.nii.gz", headers={"X-API-Key": KEY})
        shown = shown.replace("wss://scans.example", f"ws://127.0.0.1:{server.port}")

        async def said(key: str, *, own: bool) -> list[object]:
            (tmp_path / "page.html").write_text("<title>foreign</title>")
            async with opened(
                tmp_path / "page.html", tmp_path / f"profile_{len(key)}_{own}"
            ) as page:
                if own:
                    await page.call("Page.navigate", url=f"{server.url}/healthz")
                    await page.until(f"location.port == '{server.port}'")
                await page.ask(f"{{{SCRIPT.format(key=key, job=job, shown=shown)}}} 1")
                await page.until("window.said !== null")
                return list(await page.ask("window.said"))

        protocol, message = asyncio.run(said(KEY, own=True))
        assert protocol == "parafovea"
        assert '"status":"queued"' in str(message).replace(" ", "")
        # a handshake that fails
        assert asyncio.run(said("x" * 32, own=True)) == ["closed", 1006]
        assert asyncio.run(said(KEY, own=False)) == ["closed", 1006]
        log = server.log.read_text()
        assert KEY not in log
        assert "base64url" not in log
        assert httpx.get(f"{server.url}/api/v1/tasks").status_code == 401
    finally:
        server.stop()
