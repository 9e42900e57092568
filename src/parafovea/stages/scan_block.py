"""Stage scan_block: counts the values of one block of a source, in one of several passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import vector3
from parafovea.preprocess.model_input import ModelInput
from parafovea.preprocess.normalization import percentiles_of
from parafovea.preprocess.source_statistics import Counts, SourceScan, slabs_of
from parafovea.runtime.progress import tracked
from parafovea.settings.quantities import Range
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import share_of
from parafovea.storage.store import replacing


def scan_block(
    counts: Path,
    *,
    scans: Sequence[Path] = (),
    source: str,
    metadata: str = "",
    folder: Path = Path(),
    spacing: Sequence[float],
    unit: str,
    normalization: Normalization | Mapping[str, Any],
    bands: Sequence[str] = (),
    ranges: Mapping[str, Range] | None = None,
    check_hounsfield: bool = False,
    block: int,
    blocks: int,
) -> None:
    """Count the values of a share of a source's slabs.

    Parameters
    ----------
    counts : Path
        .npz to write: see `Counts`. Empty if the passes so far are enough.
    scans : sequence of Path
        Counts of each earlier pass over the whole source, as `merge_scan` wrote them.
    source, metadata, folder, spacing, unit, normalization, bands, ranges, check_hounsfield
        As for `resample_volume`.
    block, blocks : int
        Number of the share, from 1, and number of shares.

    Raises
    ------
    SourceError
        If the source cannot be read or is invalid.
    """
    with unchanged(source, bands=bool(bands)) as check:
        opened = ModelInput.open(
            source,
            metadata=metadata,
            folder=folder,
            spacing=vector3(spacing),
            unit=unit,
            bands=bands,
            ranges=ranges,
            is_ct=check_hounsfield,
        )
        count = len(opened.source.bands)
        passes = SourceScan(
            opened.dtype,
            opened.grid.shape,
            bands=count,
            percentiles=percentiles_of(Normalization.model_validate(normalization)),
        )
        for path in scans:
            passes.keep(Counts.load(path))
        found = passes.begin()
        if not passes.is_complete:
            slabs = slabs_of(opened.grid.shape, count)
            numbers = share_of(len(slabs), block, blocks)
            for number in tracked(numbers, len(numbers), "slabs"):
                passes.count(found, number, opened.source.read(slabs[number]))
        if opened.source.check is not None:
            opened.source.check()
        check()
    with replacing(counts) as partial:
        found.save(partial)
