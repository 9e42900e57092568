"""Blocks in which arrays are stored and jobs hold them: stages work by these, planning counts them.

No array library is imported here: the workflow plans with these numbers.
"""

from __future__ import annotations

from parafovea.geometry.grid import Shape

#: Voxels along z, y, x that are packed together, and that are read whole.
CHUNK: Shape = (32, 64, 64)

#: Voxels of a file of the normalized volume, which are resampled at once.
VOLUME_SHARD: Shape = (64, 256, 256)

#: Voxels of a file of the prediction, which are blended at once.
PREDICTION_SHARD: Shape = (64, 128, 128)

#: Planes of a volume that are seen at once, and of a file of labels: slabs are whole files.
SLAB_PLANES = 32
LABEL_SHARD: Shape = (SLAB_PLANES, 256, 256)

#: Voxels whose statistics are taken at once.
SCANNED_VOXELS = 2**24

#: Rows and columns of the prediction of a mosaic that are held while its pixels are written.
EXPORTED_SIDE = 1024

#: Rows and columns of the blocks by which a mosaic is measured and drawn.
MEASURED_SIDE = 256

#: Batches of tiles that are read before they are needed, and that may wait for others of their
#: size.
BATCHES_AHEAD, BATCHES_WAITING = 2, 6
