"""Binary masks of several classes, merged into one volume of class indices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile

from parafovea.errors import ConfigError, SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Box
from parafovea.storage.store import replacing

# Masks are merged voxel by voxel, so that their true spacing does not matter.
ANY_SPACING = SourceMetadata(spacing=(1.0, 1.0, 1.0), unit="nanometer")

LARGEST_CLASS = 255


def merge_masks(
    masks: Mapping[str, str], output: Path, *, threshold: float = 0
) -> dict[str, tuple[int, int]]:
    """Write a TIFF stack of class indices: 0 is background, the masks are numbered from 1.

    Where masks overlap, the later one takes precedence. One plane is held in memory at a time.

    Parameters
    ----------
    masks : mapping of str to str
        Source of each class's mask, by class name: a pattern or folder of slices, a TIFF stack,
        or any other source; (z, y, x) of any numeric type.
    output : Path
        TIFF file to write, (z, y, x) uint8; written atomically.
    threshold : float
        Values above it belong to the class.

    Returns
    -------
    dict of str to (int, int)
        Class index and final number of voxels of each class, by class name.

    Raises
    ------
    ConfigError
        If there are no masks, or more than a uint8 can number.
    SourceError
        If a mask cannot be read, or two masks differ in shape.
    """
    if not 0 < len(masks) <= LARGEST_CLASS:
        raise ConfigError(f"{len(masks)} masks given: give 1 to {LARGEST_CLASS}")
    sources = {name: open_source(path, metadata=ANY_SPACING) for name, path in masks.items()}
    first, shape = next((name, source.grid.shape) for name, source in sources.items())
    for name, source in sources.items():
        if source.grid.shape != shape:
            raise SourceError(
                f"mask {name!r} ({source.path}) has shape {source.grid.shape}, but {first!r} has "
                f"{shape} along z, y, x: give masks of the same voxels"
            )
    counts = np.zeros(len(masks) + 1, np.int64)
    with replacing(output) as partial, tifffile.TiffWriter(partial, bigtiff=True) as writer:
        for plane in Box.whole(shape).tiles((1, *shape[1:])):
            merged = np.zeros(shape[1:], np.uint8)
            for index, source in enumerate(sources.values(), start=1):
                merged[source.read(plane)[0] > threshold] = index
            counts += np.bincount(merged.ravel(), minlength=len(counts))
            writer.write(
                merged,
                compression="zlib",
                photometric="minisblack",
                contiguous=False,
                metadata=None,
                software=False,
            )
    return {name: (i, int(counts[i])) for i, name in enumerate(masks, start=1)}
