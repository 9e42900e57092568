"""Messages that a library logs about absent data, before it goes on without them, as errors."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

from parafovea.errors import SourceError


class _Complaints(logging.Handler):
    """The messages of this thread that match a pattern."""

    def __init__(self, absent: re.Pattern[str]) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []
        self._absent = absent
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message about absent data."""
        text = record.getMessage()
        if record.thread == self._thread and self._absent.search(f"{record.levelname} {text}"):
            self.found.append(text)


@contextlib.contextmanager
def no_complaints(path: str, name: str, absent: re.Pattern[str]) -> Iterator[None]:
    """Raise `SourceError` at the end of the block if a library logged that data are absent.

    Parameters
    ----------
    path : str
        Used in the error message.
    name : str
        Name of the library's logger.
    absent : pattern
        Found in its messages about absent data, each after the name of its level and a space.
    """
    handler, log = _Complaints(absent), logging.getLogger(name)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    if handler.found:
        reason = re.sub(r"^<[^>]*> *", "", " ".join(handler.found[0].split()))
        raise SourceError(
            f"{path} is damaged or truncated ({reason[:200]}): copy or write it again"
        )
