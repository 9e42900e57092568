"""What an archive can be asked for, however it is spoken to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from parafovea.errors import ParafoveaError

if TYPE_CHECKING:
    from parafovea.pacs.retrieved_series import RetrievedSeries, SeriesEntry


class ArchiveError(ParafoveaError, ConnectionError):
    """An archive that cannot be reached, refuses, or does not do what it should.

    The message names the peer as the config does, and no value of what was sent.
    """


class Archive(Protocol):
    """A peer that can be asked."""

    def echo(self) -> None:
        """Ask whether it is there."""

    def series(self, study: str) -> list[SeriesEntry]:
        """List the series of a study."""

    def retrieve(self, entry: SeriesEntry, target: RetrievedSeries) -> None:
        """Retrieve a series to a folder."""

    def store(self, path: Path) -> None:
        """Send a DICOM file, and return once the archive has stored it."""

    def close(self) -> None:
        """Close what is open."""


#: Returns the archive that is a peer, by its name.
FindArchive = Callable[[str], Archive]
