"""A series that is retrieved from an archive: a folder of slices, counted as they come."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from parafovea.errors import SourceError
from parafovea.pacs.received_objects import ReceivedObject, RefusedObject, is_uid
from parafovea.settings.pacs import PacsSettings

#: Bytes after which the disk is looked at again.
_LOOK = 16 * 2**20


def number_of(text: str) -> int | None:
    """Return the whole number that an archive states, None if it states none.

    It has at most 12 digits, as an integer string of DICOM.
    """
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """A series as an archive lists it.

    Parameters
    ----------
    series : str
        SeriesInstanceUID.
    modality : str
        Modality, empty if it is not stated.
    instances : int or None
        Number of objects, None if it is not stated.
    """

    series: str
    modality: str
    instances: int | None

    @classmethod
    def listed(cls, series: str, *, modality: str, instances: str) -> SeriesEntry | None:
        """Return the entry of what an archive answers, None if its UID is none.

        Parameters
        ----------
        series, modality, instances : str
            SeriesInstanceUID, Modality and NumberOfSeriesRelatedInstances; empty if not stated.
        """
        return cls(series, modality, number_of(instances)) if is_uid(series) else None


@dataclass
class RetrievedSeries:
    """A folder that takes the objects of one series.

    Parameters
    ----------
    folder : Path
        Existing folder; each object goes to a file named after its UID.
    study, series : str
        UIDs; objects of others are refused.
    settings : PacsSettings
        Limits.
    min_free : int
        Bytes of the disk that stay free.
    progress : callable
        Called with the number of objects that are there.
    """

    folder: Path
    study: str
    series: str
    settings: PacsSettings
    min_free: int
    progress: Callable[[int], object] = lambda count: None
    names: set[str] = field(default_factory=set)
    size: int = 0
    _looked: int = -_LOOK
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def count(self, size: int) -> None:
        """Count bytes that come, and refuse them if there are too many.

        Raises
        ------
        RefusedObject
            If the series is larger than the limit, or the disk is almost full.
        """
        with self._lock:
            self.size += size
            if self.size > self.settings.max_series_bytes:
                raise RefusedObject(
                    f"the series has more than {self.settings.max_series_bytes} bytes: raise "
                    "pacs.max_series_bytes",
                    full=True,
                )
            if self.size - self._looked >= _LOOK:
                self._looked = self.size
                facts = os.statvfs(self.folder)
                if facts.f_bavail * facts.f_frsize < self.min_free + size:
                    raise RefusedObject("the disk is almost full: free some of it", full=True)

    def check(self, found: ReceivedObject) -> Path | None:
        """Return the path for an object, None if it is there already or is no slice.

        Raises
        ------
        RefusedObject
            If it is of another series or study, or one too many.
        """
        with self._lock:
            if (found.study, found.series) != (self.study, self.series):
                raise RefusedObject("an object is of another series than asked for", full=False)
            if found.instance in self.names or not found.is_slice(self.settings.modalities):
                return None
            if len(self.names) >= self.settings.max_series_instances:
                raise RefusedObject(
                    f"the series has more than {self.settings.max_series_instances} objects: raise "
                    "pacs.max_series_instances",
                    full=True,
                )
            self.names.add(found.instance)
            self.progress(len(self.names))
        return self.folder / f"{found.instance}.dcm"

    def add(self, peer: str, found: ReceivedObject, data: bytes, *, association: int) -> bool:
        """Take an object as a receiver of C-STORE gets it; see `SeriesIntake.add`."""
        self.count(len(data))
        place = self.check(found)
        if place is None:
            return False
        place.write_bytes(data)
        return True

    def released(self, association: int) -> None:
        """Nothing to do: the archive says when all has been sent."""

    def require_complete(self, entry: SeriesEntry) -> None:
        """Make sure that slices came.

        Raises
        ------
        SourceError
            If none did.
        """
        if not self.names:
            raise SourceError(
                f"series {entry.series} has no slices of {', '.join(self.settings.modalities)}: "
                "choose another one with --series, or see pacs.modalities"
            )
