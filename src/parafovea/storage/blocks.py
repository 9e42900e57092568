"""Sizes of the blocks in which arrays are stored and processed, for stages and for planning.

Imports no array library, since the workflow uses these numbers to plan jobs.
"""

from __future__ import annotations

from parafovea.geometry.grid import Shape

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

#: Voxels whose statistics are computed at once.
SCANNED_VOXELS = 2**24

#: Rows and columns of a mosaic's prediction that are held while its pixels are written.
EXPORTED_SIDE = 1024

#: Rows and columns of the blocks in which a mosaic is measured and drawn.
MEASURED_SIDE = 256

#: Batches of tiles that are prefetched, and that may wait for more tiles of their size.
BATCHES_AHEAD, BATCHES_WAITING = 2, 6
