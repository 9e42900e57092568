"""Where an error arose, without what it says: messages may hold names of files and of patients."""

from __future__ import annotations

import json
import logging
import traceback
from http import HTTPStatus
from pathlib import Path

from parafovea.service.access_guard import App, Message, Receive, Scope, Send

LOGGER = logging.getLogger("parafovea.service")


def error_places(error: BaseException) -> str:
    """Return the type of an error, and the lines of code that it went through, the last one last.

    Parameters
    ----------
    error : BaseException
        An error that nobody foresaw.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames]
    return f"{type(error).__name__} at {' > '.join(lines[-8:]) or 'an unknown place'}"


class QuietErrors:
    """An ASGI application around another one, whose errors it logs without their messages.

    Parameters
    ----------
    app : callable
        The other application.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; answer 500 if it fails and has no answer yet."""
        begun = False

        async def answered(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, answered)
        except Exception as error:
            if scope["type"] not in ("http", "websocket"):
                raise
            LOGGER.error("a request failed: %s", error_places(error))
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1011})
            elif not begun:
                await _failed(send)


async def _failed(send: Send) -> None:
    content = json.dumps({"detail": "the service failed at this request: tell its operator"})
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content.encode()})
