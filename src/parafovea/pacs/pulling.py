"""Series of a study, retrieved from an archive to folders of slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from parafovea.errors import ConfigError, SourceError
from parafovea.pacs.archive import Archive
from parafovea.pacs.received_objects import is_uid
from parafovea.pacs.retrieved_series import RetrievedSeries, SeriesEntry
from parafovea.settings.pacs import PacsSettings

#: Called with a series and the number of its objects that are there.
Progress = Callable[[SeriesEntry, int], object]


def require_uid(text: str, what: str) -> str:
    """Return a UID of the command line, or raise `ConfigError` if it is none."""
    if not is_uid(text):
        raise ConfigError(f"{what} is no UID: it has numbers with dots between them, at most 64")
    return text


def chosen_series(
    archive: Archive, study: str, *, only: str | None, settings: PacsSettings
) -> list[SeriesEntry]:
    """Return the series of a study that are predicted.

    Parameters
    ----------
    archive : Archive
        Where the study is.
    study : str
        StudyInstanceUID.
    only : str, optional
        SeriesInstanceUID, if only one is wanted.
    settings : PacsSettings
        Which modalities are predicted.

    Raises
    ------
    SourceError
        If there is none.
    """
    listed = archive.series(study)
    if not listed:
        raise SourceError(
            f"study {study} is not there, or has no series: check its UID, or choose another peer "
            "with --from"
        )
    if only is not None:
        found = [each for each in listed if each.series == only]
        if not found:
            raise SourceError(
                f"study {study} has no series {only}: its series are "
                f"{', '.join(_described(each) for each in listed[:20])}"
            )
        return found
    found = [each for each in listed if each.modality in settings.modalities]
    if not found:
        raise SourceError(
            f"study {study} has no series of {', '.join(settings.modalities)}, but "
            f"{', '.join(_described(each) for each in listed[:20])}: see pacs.modalities"
        )
    return found


def _described(entry: SeriesEntry) -> str:
    return f"{entry.series} ({entry.modality or 'no modality'})"


def retrieve_series(
    archive: Archive,
    study: str,
    entry: SeriesEntry,
    folder: Path,
    *,
    settings: PacsSettings,
    min_free: int,
    progress: Progress = lambda entry, count: None,
) -> Path:
    """Retrieve a series to a folder, and return the folder.

    Parameters
    ----------
    archive : Archive
        Where it is.
    study : str
        StudyInstanceUID.
    entry : SeriesEntry
        The series.
    folder : Path
        Created.
    settings : PacsSettings
        Limits.
    min_free : int
        Bytes of the disk that stay free.
    progress : callable, optional
        Called as objects come.

    Raises
    ------
    ArchiveError
        If the archive does not send it.
    SourceError
        If it has no slices, or more than the limits allow.
    """
    folder.mkdir(mode=0o700, parents=True)
    target = RetrievedSeries(
        folder, study, entry.series, settings, min_free, lambda count: progress(entry, count)
    )
    archive.retrieve(entry, target)
    target.require_complete(entry)
    return folder
