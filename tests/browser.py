"""A headless Chromium that is driven over its own protocol: opened, turned, clicked, asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


#: What Chromium answers to a question that it was asked while another page took its place.
REPLACED = ("Inspected target navigated or closed", "Execution context was destroyed")


class ReplacedError(AssertionError):
    """The page was replaced by another one before it could answer."""


class Page:
    """One open page.

    Parameters
    ----------
    socket : ClientWebSocketResponse
        To the page's target.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if "method" in message:
                self._note(message["method"], message["params"])
            if message.get("id") == self._number:
                if message.get("error", {}).get("message", "").startswith(REPLACED):
                    raise ReplacedError(message)
                assert "error" not in message, message
                return message["result"]

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.problems.append(str(said["exceptionDetails"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(said["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and said["type"] == "error":
            self.problems.append(str(said["args"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    async def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true, on this page or on the one that takes its place."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(ReplacedError):
                if await self.ask(f"Boolean({expression})"):
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} did not come true in {seconds} s: {self.problems}")

    async def mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        """Move, press or release the mouse."""
        button = "none" if kind == "mouseMoved" and not held else "left"
        await self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button=button,
            buttons=int(held),
            clickCount=0 if kind == "mouseMoved" else 1,
        )

    async def press(self, key: str) -> None:
        """Press and release a key in the focused element: "Enter", "Tab" or "ArrowRight"."""
        code = {"Enter": 13, "Tab": 9, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    async def choose(self, selector: str, *paths: Path) -> None:
        """Choose files, or a folder, in an `<input type="file">`."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        found = await self.call("DOM.querySelector", nodeId=root, selector=selector)
        files = [str(path.resolve()) for path in paths]
        await self.call("DOM.setFileInputFiles", nodeId=found["nodeId"], files=files)

    async def picture(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        found = await self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(found["data"]))

    async def prefer(self, scheme: str) -> None:
        """Let the system prefer a colour scheme: "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def resize(self, width: int, height: int) -> None:
        """Give the window another size, in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )


@contextlib.asynccontextmanager
async def opened(page: Path | str, profile: Path) -> AsyncIterator[Page]:
    """Yield a page that is open in a browser of its own, without a network beyond this machine.

    Parameters
    ----------
    page : Path or str
        A file, or an address of this machine.
    profile : Path
        Folder of the browser's own files, which must not exist.
    """
    address = page if isinstance(page, str) else page.resolve().as_uri()
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--proxy-server=127.0.0.1:9",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--window-size=1100,750",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                targets = await answer.json()
            target = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            async with session.ws_connect(target, max_msg_size=2**27) as socket:
                driven = Page(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await driven.call(f"{domain}.enable")
                await driven.call("Page.navigate", url=address)
                yield driven
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> int:
    for _ in range(300):
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise AssertionError("the browser did not open its port in 30 s")
