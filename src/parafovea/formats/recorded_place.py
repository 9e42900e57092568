"""The place of a source as results record it, for truths that lie on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.source import Source


def place_of(source: Source, metadata: SourceMetadata) -> dict[str, Any]:
    """Return the place of a source, JSON-serializable, for truths that lie on it.

    Parameters
    ----------
    source : Source
        The opened source.
    metadata : SourceMetadata
        User metadata that it was opened with.

    Returns
    -------
    dict
        `grid` and `affine` of the whole source; `region`, the voxels of it that are the sample, if
        these are not all; of a stack of slices its `gaps`. If the user's words move the source,
        and its file alone states a place, also `stated`: the `grid` and `affine` by the file alone,
        of the finest level, and `moved`, the grid by the words.
    """
    if source.whole is not None and source.box is not None:
        box = source.box
        region = [list(ends) for ends in zip(box.start, box.stop, strict=True)]
        return {**place_of(source.whole, metadata.uncut), "region": region}
    place: dict[str, Any] = {"grid": source.grid.to_dict(), "affine": _plain(source.affine)}
    if source.gaps is not None:
        place["gaps"] = [list(gap) for gap in source.gaps]
    if (metadata.spacing, metadata.unit, metadata.origin) == (None, None, None):
        return place
    silent = metadata.model_copy(update={"spacing": None, "unit": None, "origin": None})
    try:
        if source.affine is None:
            grid, affine = source_grid(source.path, metadata=silent), None
        else:
            alone = open_source(source.path, metadata=silent)
            grid, affine = alone.grid, alone.affine
        moved = source_grid(source.path, metadata=metadata)
    except SourceError:
        # the file states no place of its own
        return place
    stated = {"grid": grid.to_dict(), "affine": _plain(affine), "moved": moved.to_dict()}
    return {**place, "stated": stated}


def _plain(affine: NDArray[Any] | None) -> list[list[float]] | None:
    return None if affine is None else np.asarray(affine, float).tolist()
