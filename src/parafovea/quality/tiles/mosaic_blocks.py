"""A mosaic as a table of blocks, which are measured and drawn as tiles are."""

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
from parafovea.formats.tiles.tile import Position
from parafovea.storage.blocks import MEASURED_SIDE

if TYPE_CHECKING:
    from parafovea.formats.geo.raster import Raster

logger = logging.getLogger(__name__)

#: What is left at an edge joins the last block if it is less than the side of the smallest tile.
LEAST = 16

#: Share of its pixels that must be measured, or a block is left out.
MEASURED = 0.5


#: Pixels by which the corners of a mosaic and of its truth may lie apart.
APART = 1e-3


@dataclass(frozen=True)
class MosaicBlocks:
    """The blocks of a mosaic, and how many of their pixels were measured.

    Parameters
    ----------
    rows, columns : tuple of int
        Where blocks begin, and where the last one ends.
    valid : ndarray
        (row of blocks, column of blocks) int64, measured pixels so far.
    clipped : ndarray
        (row of blocks, column of blocks) int64, values so far that the scale put outside [0, 1].
    month, biome : int or str
        Of the mosaic; "" where the model takes none.
    assumed : sequence of str
        Which of them are defaults.
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
        """Return the blocks of a mosaic of a height and a width."""
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
        """Count the pixels of a part of the mosaic, which begins at `row` and `column`.

        Parameters
        ----------
        row, column : int
            Of the part's first pixel.
        size : sequence of int
            Its height and width.
        valid : ndarray or None
            (y, x) bool; None where all pixels were measured.
        clipped : ndarray, optional
            (y, x) uint8, in how many bands of a pixel the scale gave a value outside [0, 1].
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
        """Write the ledger of the blocks, and a quarantine without a line.

        Parameters
        ----------
        tiles : Path
            Columns as those of a folder of tiles, and `row` and `column` of the first pixel.
        quarantine : Path
            Has its header alone.
        raster : Raster
            The source.
        output : Path
            The refined image.
        input_sha256 : str
            Of the source's values.
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
                **position_cells(_position(raster, row, column)),
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
        """Yield row, column, height, width, measured pixels and clipped values of good blocks."""
        for (i, j), valid in np.ndenumerate(self.valid):
            (top, bottom), (left, right) = self.rows[i : i + 2], self.columns[j : j + 2]
            if valid >= MEASURED * (bottom - top) * (right - left):
                size = bottom - top, right - left
                yield top, left, *size, int(valid), int(self.clipped[i, j])


def require_same_pixels(truth: Raster, result: Raster) -> None:
    """Raise `SourceError` where a truth is not on the pixel grid of the result."""
    sides = np.abs(np.array(result.transform)[[0, 4]]).min()
    apart = np.abs(np.array(truth.transform) - result.transform)
    # the sides of pixels add up over the image
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


def _position(raster: Raster, row: int, column: int) -> Position | None:
    if raster.crs is None:
        return None
    a, _, c, _, e, f = raster.transform
    return Position(raster.crs, x=c + a * column, y=f + e * row, pixel_size=(a * -e) ** 0.5)
