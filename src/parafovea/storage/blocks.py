"""Sizes of the blocks in which arrays are stored and processed, for stages and for planning.

Imports no array library, since the workflow uses these numbers to plan jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.geometry.grid import Box, Shape, Vector, shape3
from parafovea.geometry.windows import divided_box

#: Chunk along z, y, x: voxels that are compressed together and read as a whole.
CHUNK: Shape = (32, 64, 64)

#: Shard of the normalized volume: a file, which is resampled at once.
VOLUME_SHARD: Shape = (64, 256, 256)

#: Shard of the prediction: a file, which is blended at once.
PREDICTION_SHARD: Shape = (64, 128, 128)

#: Shard of labels: a file, whose components are labelled at once.
LABEL_SHARD: Shape = (64, 256, 256)

#: Planes that are read at once where whole planes are needed.
SLAB_PLANES = 32

#: Shard of the coarser levels of a pyramid, at most: a file, whose eightfold is read at once.
COARSE_SHARD: Shape = (32, 128, 128)

#: Voxels whose statistics are computed at once.
SCANNED_VOXELS = 2**24

#: Rows and columns of a mosaic's prediction that are held while its pixels are written.
EXPORTED_SIDE = 1024

#: Rows and columns of the blocks in which a mosaic is measured and drawn.
MEASURED_SIDE = 256

#: Rows of a plane that are read at once to be drawn.
DRAWN_ROWS = 256

#: Batches of tiles that are prefetched, and that may wait for more tiles of their size.
BATCHES_AHEAD, BATCHES_WAITING = 2, 6


def divided(shape: Sequence[int], shard: Sequence[int], count: int) -> list[Box]:
    """Return `count` boxes that partition an array, each of whole shards; some may be empty.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array along z, y, x.
    shard : sequence of int
        Voxels of a file along z, y, x.
    count : int
        Number of boxes.
    """
    whole = Box.whole(shape)
    files = Box.whole([-(-n // s) for n, s in zip(shape, shard, strict=True)])
    return [part.scaled(shape3(shard)).intersection(whole) for part in divided_box(files, count)]


def share_of(number: int, block: int, blocks: int) -> range:
    """Return the share of a number of things that a block takes, from 1; shares are consecutive."""
    return range(number * (block - 1) // blocks, number * block // blocks)


def output_block(scale: Vector) -> Shape:
    """Return the block of the prediction that is blended at once and stored in one file.

    It corresponds to at most `PREDICTION_SHARD` voxels of the volume, except for blocks of 8 voxels
    along an axis.
    """
    z, y, x = (
        n if s >= 1 else min(n, max(8, int(n * s) // 8 * 8))
        for n, s in zip(PREDICTION_SHARD, scale, strict=True)
    )
    return z, y, x
