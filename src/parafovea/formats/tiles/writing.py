"""Tiles as files: `NAME.npz` with arrays, `NAME.json` with what belongs to them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The earliest time that a zip archive can state: the same arrays give the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_tile(
    folder: Path,
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any] | None = None,
    *,
    compressed: bool = False,
) -> Path:
    """Write a tile, each of its two files whole or not at all, the arrays last.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    name : str
        Of the tile, a plain file name without an ending.
    arrays : mapping of str to ndarray
        Content of `NAME.npz`, by key; the same arrays give the same bytes.
    metadata : mapping, optional
        Content of `NAME.json`; without it there is no such file.
    compressed : bool
        Deflate the arrays: smaller, and several times slower.

    Returns
    -------
    Path
        Of the NPZ file: it is there only once the tile is complete.
    """
    return place_tile(folder, name, npz_bytes(arrays, compressed=compressed), metadata)


def place_tile(folder: Path, name: str, content: bytes, metadata: Mapping[str, Any] | None) -> Path:
    """Write a tile whose archive is made already; as `write_tile`."""
    folder.mkdir(parents=True, exist_ok=True)
    if metadata is not None:
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        _place(folder / f"{name}.json", text.encode())
    target = folder / f"{name}.npz"
    _place(target, content)
    return target


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """Return arrays as an NPZ archive; the same arrays give the same bytes."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for key, values in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            entry.compress_type = method
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(values), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def _place(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
