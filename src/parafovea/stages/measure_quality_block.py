"""Stage measure_quality_block: counts for the metrics of one block of a segmentation."""

from __future__ import annotations

from pathlib import Path

from parafovea.quality.segmentation.segmented_sample import SegmentedSample
from parafovea.storage.blocks import VOLUME_SHARD, divided
from parafovea.storage.store import replacing


def measure_quality_block(
    prediction: Path,
    classes: Path,
    objects: Path,
    counts: Path,
    *,
    truth: str | None,
    metadata: str = "",
    block: int,
    blocks: int,
) -> None:
    """Count what the metrics of a sample need in one of its blocks.

    Memory is bounded by the blocks in which the results are read, and by the tables.

    Parameters
    ----------
    prediction, classes, objects, truth, metadata
        As for `measure_quality`.
    counts : Path
        .npz to write: see `PartCounts`.
    block, blocks : int
        Number of the block, from 1, and number of blocks.

    Raises
    ------
    SourceError
        If the truth cannot be read, covers another region, or holds values that are not labels.
    StoreError
        If a result of an earlier stage is missing or incomplete.
    """
    sample = SegmentedSample.open(prediction, classes, objects, truth=truth, metadata=metadata)
    part = divided(sample.prediction.grid.shape, VOLUME_SHARD, blocks)[block - 1]
    found = sample.count(part)
    with replacing(counts) as partial:
        found.save(partial)
