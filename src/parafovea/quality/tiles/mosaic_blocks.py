"""Division of a mosaic into blocks, which are measured and drawn like tiles."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.ground import same_crs
from parafovea.formats.reflectance import warn_of_clipped
from parafovea.formats.tiles.ledger import (
    BLOCK_COLUMNS,
    Row,
    position_cells,
    write_ledger,
    write_quarantine,
)
from parafovea.storage.blocks import MEASURED_SIDE

if TYPE_CHECKING:
    from parafovea.formats.geo.raster import Raster

logger = logging.getLogger(__name__)

#: A remainder at an edge is merged into the last block if smaller than the smallest tile.
LEAST = 16

#: Minimum share of measured pixels in a block; other blocks are omitted.
MEASURED = 0.5


#: Tolerated distance in pixels between the corners of a mosaic and its truth.
APART = 1e-3


@dataclass(frozen=True)
class MosaicBlocks:
    """The blocks of a mosaic, and their numbers of measured pixels.

    Parameters
    ----------
    rows, columns : tuple of int
        Starts of the blocks, and the end of the last one.
    valid : ndarray
        (block row, block column) int64, measured pixels so far.
    clipped : ndarray
        (block row, block column) int64, values so far that the scale puts outside [0, 1].
    month, biome : int or str
        Of the mosaic; "" if the model does not use it.
    assumed : sequence of str
        Which of month and biome are defaults.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    valid: NDArray[np.int64] = field(repr=False)
    clipped: NDArray[np.int64] = field(repr=False)
    month: int | str = ""
    biome: int | str = ""
    assumed: Sequence[str] = ()

    @classmethod
    def of(cls, size: Sequence[int], **known: Any) -> MosaicBlocks:
        """Return the blocks of a mosaic with a given height and width."""
        rows, columns = (_bounds(length) for length in size)
        counts = np.zeros((len(rows) - 1, len(columns) - 1), np.int64)
        return cls(rows, columns, counts, counts.copy(), **known)

    def add(
        self,
        row: int,
        column: int,
        size: Sequence[int],
        valid: NDArray[np.bool_] | None,
        clipped: NDArray[np.uint8] | None = None,
    ) -> None:
        """Count the pixels of a part of the mosaic that starts at `row` and `column`.

        Parameters
        ----------
        row, column : int
            Position of the part's first pixel.
        size : sequence of int
            Height and width of the part.
        valid : ndarray or None
            (y, x) bool; None if all pixels were measured.
        clipped : ndarray, optional
            (y, x) uint8, number of bands in which the scale puts a pixel outside [0, 1].
        """
        down, across = (
            np.searchsorted(bounds, start + np.arange(length), side="right") - 1
            for bounds, start, length in zip(
                (self.rows, self.columns), (row, column), size, strict=True
            )
        )
        place = down[:, None] * self.valid.shape[1] + across
        chosen = place.ravel() if valid is None else place[valid]
        self.valid[...] += np.bincount(chosen, minlength=self.valid.size).reshape(self.valid.shape)
        if clipped is not None:
            counts = np.bincount(place.ravel(), clipped.ravel(), self.valid.size)
            self.clipped[...] += counts.astype(np.int64).reshape(self.valid.shape)

    def write(
        self, tiles: Path, quarantine: Path, *, raster: Raster, output: Path, input_sha256: str
    ) -> None:
        """Write the ledger of the blocks, and an empty quarantine.

        Parameters
        ----------
        tiles : Path
            Table with the columns of a folder of tiles, and `row` and `column` of the first pixel.
        quarantine : Path
            Table with only a header.
        raster : Raster
            The source.
        output : Path
            The refined image.
        input_sha256 : str
            Hash of the source's values.
        """
        warn_of_clipped(
            f"the mosaic {raster.path}",
            int(self.clipped.sum()),
            int(self.valid.sum()) * raster.shape[0],
        )
        kept = list(self._kept())
        logger.info(
            "%d of %d blocks are measured; in the others less than half of the pixels are valid",
            len(kept),
            self.valid.size,
        )
        if not kept:
            logger.warning(
                "%s: no block of %d x %d pixels has half of its pixels measured, so that its "
                "quality is not measured and nothing of it is drawn; the image is complete",
                raster.path,
                MEASURED_SIDE,
                MEASURED_SIDE,
            )
        digits = max(4, len(str(max(raster.shape[1:]))))
        common = {
            "month": self.month,
            "biome": self.biome,
            "assumed": "+".join(self.assumed),
            "input": raster.path,
            "output": output,
            "input_sha256": input_sha256,
        }
        rows: list[Row] = [
            {
                **common,
                **position_cells(raster.position(row, column)),
                "name": f"r{row:0{digits}d}_c{column:0{digits}d}",
                "height": height,
                "width": width,
                "row": row,
                "column": column,
                "clipped": clipped,
                "measured": valid * raster.shape[0],
            }
            for row, column, height, width, valid, clipped in kept
        ]
        write_quarantine(quarantine, ())
        write_ledger(tiles, rows, BLOCK_COLUMNS)

    def _kept(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Yield row, column, height, width, measured pixels and clipped values of kept blocks."""
        for (i, j), valid in np.ndenumerate(self.valid):
            (top, bottom), (left, right) = self.rows[i : i + 2], self.columns[j : j + 2]
            if valid >= MEASURED * (bottom - top) * (right - left):
                size = bottom - top, right - left
                yield top, left, *size, int(valid), int(self.clipped[i, j])


def require_same_pixels(truth: Raster, result: Raster) -> None:
    """Raise `SourceError` if a truth is not on the pixel grid of the result."""
    sides = np.abs(np.array(result.transform)[[0, 4]]).min()
    apart = np.abs(np.array(truth.transform) - result.transform)
    # differences in pixel size accumulate over the image
    far = max(apart[[2, 5]].max(), apart[[0, 1, 3, 4]].max() * max(result.shape[1:]))
    for what, same, own, other in (
        ("pixels (y, x)", truth.shape == result.shape, truth.shape[1:], result.shape[1:]),
        ("coordinate system", same_crs(truth.crs, result.crs), truth.crs, result.crs),
        ("transform", far <= APART * sides, truth.transform, result.transform),
    ):
        if not same:
            raise SourceError(
                f"the truth {truth.path} has the {what} {own}, but its source {other}: warp it to "
                "the pixels of the source, for example with gdalwarp"
            )


def _bounds(length: int) -> tuple[int, ...]:
    starts = [
        start for start in range(0, length, MEASURED_SIDE) if not start or length - start >= LEAST
    ]
    return (*starts, length)
