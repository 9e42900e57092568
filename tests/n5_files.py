"""Datasets of N5 written by its specification, for tests."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def write_dataset(
    path: Path,
    voxels: np.ndarray[Any, Any],
    block: tuple[int, ...] = (8, 8, 4),
    *,
    packing: str = "gzip",
    **attributes: Any,
) -> Path:
    """Write voxels (z, y, x) as a dataset with blocks (x, y, z), those at the end cropped."""
    values = voxels.T
    compression: dict[str, Any] = {"type": packing}
    if packing == "zlib":
        compression = {"type": "gzip", "useZlib": True}
    facts = {
        "dimensions": list(values.shape),
        "blockSize": list(block),
        "dataType": voxels.dtype.name,
        "compression": compression,
        **attributes,
    }
    path.mkdir(parents=True)
    (path / "attributes.json").write_text(json.dumps(facts))
    counts = [math.ceil(n / k) for n, k in zip(values.shape, block, strict=True)]
    for index in itertools.product(*map(range, counts)):
        part = values[tuple(slice(i * k, (i + 1) * k) for i, k in zip(index, block, strict=True))]
        file = path.joinpath(*map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        header = struct.pack(f">HH{part.ndim}I", 0, part.ndim, *part.shape)
        data = part.astype(voxels.dtype.newbyteorder(">")).tobytes(order="F")
        file.write_bytes(header + PACKED[packing](data))
    return path
