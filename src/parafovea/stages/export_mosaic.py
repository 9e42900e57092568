"""Stage export_mosaic: writes the prediction of a mosaic on its own pixels, as a GeoTIFF."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea import __version__
from parafovea.errors import StoreError
from parafovea.formats.geo.cog import write_cog
from parafovea.formats.geo.geotiff import RECORD
from parafovea.formats.geo.raster import Raster, open_raster
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import resample_box
from parafovea.quality.tiles.mosaic_blocks import MosaicBlocks
from parafovea.runtime.progress import tracked
from parafovea.settings.quantities import Range
from parafovea.storage.blocks import EXPORTED_SIDE
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, open_stored

logger = logging.getLogger(__name__)

#: Maximum number of rows and columns written at once.
BLOCK = 512

Floats = NDArray[np.float32]


def export_mosaic(
    volume: Path,
    prediction: Path,
    mosaic: Path,
    tiles: Path,
    quarantine: Path,
    *,
    source: str,
    metadata: str = "",
    ranges: Mapping[str, Range] | None = None,
) -> None:
    """Write the refined bands of a mosaic on its own pixel grid, block by block.

    If the model adds a residual to its input, only this residual is interpolated from the model's
    grid, and added to the source pixels: a network that changes nothing reproduces the source at
    any pixel size. Otherwise, the prediction is interpolated. Both are interpolated linearly, at
    pixel centres.

    Parameters
    ----------
    volume, prediction : Path
        Stores written by `resample_volume` and `blend_shards`.
    mosaic : Path
        Cloud-optimized GeoTIFF to write: (band, y, x) float32 in [0, 1], NaN where the source has
        no measurement, with the source's CRS, transform and size. Its tag `PARAFOVEA` is JSON with
        its provenance.
    tiles, quarantine : Path
        Tables to write, as by `collect_tiles`: a row for each block of 256 x 256 pixels of which at
        least half were measured; the quarantine has no rows, since a mosaic is valid or invalid as
        a whole. Values that the scale puts outside [0, 1] are counted for each block, and logged as
        a warning from one percent of the mosaic.
    metadata : str
        The sheet's `metadata` of the sample.
    ranges : mapping, optional
        What 0 and 1 of the model's input are, for bands that are no reflectance.

    Raises
    ------
    SourceError
        If the source cannot be read, or changes during the stage.
    StoreError
        If volume or prediction are missing, or were not made from this source.
    """
    said = parse_metadata(metadata, folder=Path()).for_input(ranges)
    with unchanged(source, bands=True) as check:
        refined = _RefinedMosaic(source, open_stored(volume), open_stored(prediction), said)
        raster = refined.raster
        made = refined.record()
        write_cog(
            mosaic,
            refined.blocks(),
            shape=(len(refined.bands), *raster.shape[1:]),
            crs=raster.crs,
            transform=raster.transform,
            nodata=float("nan"),
            descriptions=refined.bands,
            tags={
                "TIFFTAG_SOFTWARE": f"parafovea {__version__}",
                RECORD: json.dumps(made, sort_keys=True),
            },
        )
        check()
    refined.counted.write(
        tiles, quarantine, raster=raster, output=mosaic, input_sha256=made["source"]["sha256"]
    )


class _RefinedMosaic:
    """A mosaic and its prediction."""

    def __init__(
        self, source: str, volume: Stored, prediction: Stored, said: SourceMetadata
    ) -> None:
        taken, self.bands = volume.channels or (), prediction.channels or ()
        self.raster: Raster = open_raster(source, bands=taken, options=said.tiles)
        self._volume, self._prediction = volume, prediction
        self._said = said
        made = prediction.attributes
        self._grid = _source_grid(source, self.raster, volume, made)
        self._base: list[int] | None = None
        if made.get("model", {}).get("activation") == "residual":
            self._base = [taken.index(band) for band in self.bands]
        self.counted = MosaicBlocks.of(self.raster.shape[1:], **self._conditions())

    def _conditions(self) -> dict[str, Any]:
        """Return month and biome, and which of them are defaults."""
        known = self._volume.attributes.get("conditions") or {}
        names = ("month", "biome")
        values = {name: known[name][0] if name in known else "" for name in names}
        return values | {"assumed": [n for n in names if getattr(self._said, n) is None]}

    def record(self) -> dict[str, Any]:
        """Return the provenance of the refined image."""
        made = self._prediction.attributes
        blended = made.get("blending", {})
        return record(
            "export_mosaic",
            **lineage(made),
            precision=made.get("precision"),
            blending={name: blended[name] for name in ("mode", "output_scale") if name in blended},
            bands=list(self.bands),
        )

    def blocks(self) -> Iterator[tuple[int, int, Floats]]:
        """Yield row, column and (band, y, x) of every block, NaN where nothing was measured."""
        side = _block_side(self._grid, self._prediction.grid)
        boxes = list(self._grid.box.tiles((1, side, side)))
        for box in tracked(boxes, len(boxes), "blocks"):
            (row, column), (_, rows, columns) = box.start[1:], box.slices
            found, valid = self.raster.read_counted(rows, columns)
            refined = self._refined(box, found.values)
            self.counted.add(row, column, box.shape[1:], valid, found.clipped)
            if valid is not None:
                refined[:, ~valid] = np.nan
            yield row, column, refined

    def _refined(self, box: Box, values: Floats) -> Floats:
        grid = self._prediction.grid
        read = self._prediction.read if self._base is None else self._residual
        found = resample_box(read, grid, self._grid, box, antialias=False)[:, 0]
        if self._base is not None:
            found += values[self._base]
        return np.clip(found, 0, 1)

    def _residual(self, box: Box) -> Floats:
        """Return the residual that the network added, (band, z, y, x), in a box of voxels."""
        before = resample_box(self._base_bands, self._volume.grid, self._prediction.grid, box)
        residual: Floats = np.asarray(self._prediction.read(box), np.float32) - before
        return residual

    def _base_bands(self, box: Box) -> NDArray[Any]:
        found: NDArray[Any] = self._volume.read(box)[self._base]
        return found


def _source_grid(source: str, raster: Raster, volume: Stored, made: dict[str, Any]) -> Grid:
    """Return the source grid in the volume's unit; raises if a result has another source."""
    facts = volume.attributes.get("source", {})
    if made.get("source") != facts or tuple(facts["grid"]["shape"][1:]) != raster.shape[1:]:
        raise StoreError(
            f"{source} is not the source that was predicted: run resample_volume again"
        )
    return Grid.from_dict(facts["grid"]).converted(volume.grid.unit)


def _block_side(source: Grid, prediction: Grid) -> int:
    """Return the block side at which a block covers at most `EXPORTED_SIDE` prediction voxels."""
    finer = max(s / p for s, p in zip(source.spacing[1:], prediction.spacing[1:], strict=True))
    side = BLOCK
    while side > 16 and side * finer > EXPORTED_SIDE:
        side //= 2
    return side
