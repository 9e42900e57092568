"""Results of the workflow as Python values: arrays on grids, tables, JSON documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.errors import StoreError
from parafovea.storage.store import Stored, open_stored

#: Separator of a table, by the ending of its file.
SEPARATORS = {".tsv": "\t", ".csv": ","}


def open_result(path: str | Path) -> Stored | pd.DataFrame | dict[str, Any]:
    """Open a result of the workflow.

    Parameters
    ----------
    path : str or Path
        An array (`volume.ome.zarr`, `prediction.ome.zarr`, `features.zarr`, …), a table (`.tsv`,
        `.csv`) or a document (`.json`). Open NIfTI and GeoTIFF results with
        `parafovea.open_source`.

    Returns
    -------
    Stored, DataFrame or dict
        Of an array: `array` (lazy, ([channel,] z, y, x)), `grid`, `channels` and `attributes`
        (its provenance), and `read(box)`.

    Raises
    ------
    StoreError
        If there is no such result, it is damaged, or it is of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path} does not exist: give a file or store in results/SAMPLE")
    if path.is_dir() and path.suffix == ".zarr":
        return open_stored(path)
    try:
        if path.suffix in SEPARATORS:
            return pd.read_csv(path, sep=SEPARATORS[path.suffix])
        if path.suffix == ".json":
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return document
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}; run its stage again") from error
    raise StoreError(
        f"{path} is not an array, table or JSON file of the workflow: give a path that ends with "
        ".zarr, .tsv, .csv or .json, or use open_source for NIfTI and GeoTIFF"
    )
