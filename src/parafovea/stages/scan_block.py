"""Stage scan_block: counts the values of one block of a source, in one of several passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import vector3
from parafovea.preprocess.model_input import ModelInput, naming_channel
from parafovea.preprocess.normalization import is_spread, percentiles_of
from parafovea.preprocess.source_statistics import SourceScan, load_counts, save_counts, slabs_of
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
    channels: Sequence[str] = (),
    ranges: Mapping[str, Range] | None = None,
    check_hounsfield: bool = False,
    block: int,
    blocks: int,
) -> None:
    """Count the values of a share of a source's slabs.

    Parameters
    ----------
    counts : Path
        .npz to write: see `save_counts`. Empty if the passes so far are enough.
    scans : sequence of Path
        Counts of each earlier pass over the whole source, as `merge_scan` wrote them.
    source, metadata, folder, spacing, unit, normalization
        As for `resample_volume`.
    bands, channels, ranges, check_hounsfield
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
            channels=channels,
            ranges=ranges,
            is_ct=check_hounsfield,
        )
        count = len(opened.source.bands)
        wanted = Normalization.model_validate(normalization)
        percentiles, spread = percentiles_of(wanted), is_spread(wanted)
        shape = opened.grid.shape
        slabs = slabs_of(shape, count)
        numbers = share_of(len(slabs), block, blocks)
        earlier = [load_counts(path) for path in scans]
        found, reads = [], []
        for channel, (name, each) in enumerate(opened.by_channel):
            dtype = np.dtype(each.array.dtype)
            passes = SourceScan(dtype, shape, bands=count, percentiles=percentiles, spread=spread)
            with naming_channel(name):
                for tables in earlier:
                    if not passes.is_complete:
                        passes.keep(tables[channel])
            found.append(passes.begin())
            if not passes.is_complete:
                reads += [(passes, found[-1], each, number) for number in numbers]
        for passes, table, each, number in tracked(reads, len(reads), "slabs"):
            passes.count(table, number, each.read(slabs[number]))
        opened.check()
        check()
    with replacing(counts) as partial:
        save_counts(partial, found)
