"""Small arrays by name in one .npz, in which jobs of blocks pass on what they found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import StoreError

Array = np.ndarray[Any, Any]

#: Name of the file of all blocks among those of each.
ALL = "all"


def block_file(folder: Path, block: int | str, ending: str = "npz") -> Path:
    """Return the path of a block's file in a folder; blocks are counted from 1."""
    return folder / f"{block}.{ending}"


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays by name, whole or not at all."""
    # loads zarr, which planning does not need
    from parafovea.storage.store import replacing

    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def loaded_arrays(path: Path) -> Iterator[Mapping[str, Array]]:
    """Yield the arrays that `save_arrays` wrote.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or lacks an array that is asked for.
    """
    refused = f"{path} is missing or damaged: delete it and run again"
    try:
        # opened here, since NumPy leaves a damaged archive open
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except MemoryError:
        raise
    except Exception as error:
        raise StoreError(refused) from error
    try:
        yield arrays
    except KeyError as error:
        raise StoreError(refused) from error
