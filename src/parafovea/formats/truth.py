"""The truth of a sample: placed by its own metadata, else by its sample's."""

from __future__ import annotations

from pathlib import Path

from parafovea.errors import SpacingError
from parafovea.formats.metadata import SourceMetadata, parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source


def open_truth(path: str | None, *, metadata: str, folder: Path = Path()) -> Source | None:
    """Open a truth volume, placed by its own metadata, else by its sample's.

    Parameters
    ----------
    path : str or None
        Where the truth is; None where there is none.
    metadata : str
        The sheet's `metadata` of the sample. Its spacing, unit and origin describe the source;
        they hold for a truth whose file states no spacing, such as a plain TIFF. Its channel is
        the source's alone.
    folder : Path
        Folder that relative sidecar paths count from.

    Returns
    -------
    Source or None
        The truth on its grid.

    Raises
    ------
    SourceError
        If the truth cannot be read, or its spacing is stated nowhere.
    """
    if path is None:
        return None
    try:
        return open_source(path, metadata=SourceMetadata(), labels=True)
    except SpacingError:
        stated = parse_metadata(metadata, folder=folder).model_copy(
            update={"channel": None, "objects": None}
        )
        return open_source(path, metadata=stated, labels=True)


def open_truth_objects(metadata: str, *, folder: Path = Path()) -> Source | None:
    """Open the true objects that a sample's metadata names, if it names any.

    Parameters
    ----------
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Folder that relative sidecar paths count from.

    Returns
    -------
    Source or None
        Object ids on their grid.

    Raises
    ------
    SourceError
        As `open_truth`.
    """
    objects = parse_metadata(metadata, folder=folder).objects
    return open_truth(objects, metadata=metadata, folder=folder)
