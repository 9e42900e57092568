"""How well water is found in tiles: by a model, and by the NDWI of the same tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parafovea.errors import MissingSourceError
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.npz import UNKNOWN
from parafovea.quality.segmentation.overlap import confusion_matrix
from parafovea.quality.tiles.image_metrics import GREEN, NIR
from parafovea.quality.tiles.tile_arrays import TileFiles

LAND, WATER = 0, 1


@dataclass(frozen=True)
class WaterScores:
    """Intersection over union of water, all pixels of a folder together.

    Parameters
    ----------
    model : float
        Of the classes that were predicted.
    ndwi : float
        Of (B03 - B08) / (B03 + B08) > 0 in the tiles that the classes were predicted from
        (McFeeters 1996, "The use of the Normalized Difference Water Index (NDWI) in the
        delineation of open water features", International Journal of Remote Sensing 17).
    pixels : int
        With a known class.
    """

    model: float
    ndwi: float
    pixels: int


def score_water(results: Path, truth: Path) -> WaterScores:
    """Score the folder of a sample that segments land (0) and water (1).

    Parameters
    ----------
    results : Path
        Folder of the sample's results.
    truth : Path
        Folder of tiles of classes; pixels of 255 do not count.

    Raises
    ------
    StoreError
        If a result is missing.
    MissingSourceError
        If a tile has no truth.
    """
    by_model, by_index = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64)
    files = TileFiles(truth=truth)
    for entry in read_ledger(results / "tiles.tsv"):
        true = files.read_class_truth(entry)
        if true is None:
            raise MissingSourceError(
                f"{truth} has no {entry.name}.npz: give the truth of each tile"
            )
        known = true != UNKNOWN
        image = files.read_input(entry)
        # the sign of the index is that of its numerator
        index = image[GREEN] > image[NIR]
        by_model += confusion_matrix(true[known], files.read_classes(entry)[known], 2)
        by_index += confusion_matrix(true[known], index[known].astype(np.uint8), 2)
    return WaterScores(_iou(by_model), _iou(by_index), int(by_model.sum()))


def _iou(confusion: np.ndarray) -> float:
    hit = confusion[WATER, WATER]
    either = confusion[WATER].sum() + confusion[:, WATER].sum() - hit
    return float(hit / either) if either else float("nan")
