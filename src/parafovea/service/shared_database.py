"""A database of SQLite that several processes and threads share, and that survives their deaths."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self


class SharedDatabase:
    """A database, open until it is closed; a context manager.

    Parameters
    ----------
    path : Path
        The database; created if missing.
    schema : str
        Statements of SQL that make what is missing of its tables.
    clock : callable
        Returns the seconds since 1970.
    """

    def __init__(self, path: Path, schema: str, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._database = sqlite3.connect(
            path, timeout=60, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        # what was confirmed survives the loss of power
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Hold the only right to write; raise `OSError` if the disk is full."""
        with self._lock, disk_errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # a full disk may have ended it already
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise SQLite's errors of a full or damaged disk as those of the system.

    Raises
    ------
    OSError
        With ENOSPC or EIO.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        # extended codes have the primary one in their last byte
        code = error.sqlite_errorcode & 0xFF
        if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise
        number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(number, os.strerror(number)) from error
