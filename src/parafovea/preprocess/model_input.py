"""A sample's source as the input of a model: opened, checked, and read as normalized values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.metadata import SourceMetadata, parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.recorded_place import place_of
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box, Grid, Vector
from parafovea.geometry.resample import resample_box
from parafovea.geometry.scale import check_scale
from parafovea.preprocess.normalization import ValueMap, is_wide
from parafovea.preprocess.source_statistics import Statistics
from parafovea.settings.quantities import Range


@dataclass(frozen=True)
class ModelInput:
    """A source that a model is applied to.

    Parameters
    ----------
    path : str
        Its location, as in the sample sheet.
    source : Source
        The opened source.
    said : SourceMetadata
        What the sheet says of it.
    grid : Grid
        Its grid in the unit of the model.
    target : Grid
        Grid of the model's local view.
    """

    path: str
    source: Source
    said: SourceMetadata
    grid: Grid
    target: Grid

    @classmethod
    def open(
        cls,
        path: str,
        *,
        metadata: str = "",
        folder: Path = Path(),
        spacing: Vector,
        unit: str,
        bands: Sequence[str] = (),
        ranges: Mapping[str, Range] | None = None,
        is_ct: bool = False,
    ) -> ModelInput:
        """Open a source.

        Parameters
        ----------
        path : str
            Its location, as in the sample sheet.
        metadata : str
            The sheet's `metadata` of the sample.
        folder : Path
            Base folder of relative sidecar paths.
        spacing : tuple of float
            Voxel size of the model's local view along z, y, x.
        unit : str
            Unit of `spacing`.
        bands : sequence of str
            Names of the model's input channels; empty for a single-channel volume.
        ranges : mapping, optional
            What 0 and 1 of the model's input are, for bands that are no reflectance.
        is_ct : bool
            Whether it has to be a CT.

        Raises
        ------
        SourceError
            If the source cannot be read, is invalid, or of another scale than the model.
        """
        said = parse_metadata(metadata, folder=folder).for_input(ranges)
        opened = open_source(path, metadata=said, finer_than=spacing, unit=unit, bands=tuple(bands))
        check_scale(path, opened.grid, spacing=spacing, unit=unit, scan=is_ct, image=bool(bands))
        grid = opened.grid.converted(unit)
        return cls(path, opened, said, grid, grid.resampled(spacing))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the source."""
        return np.dtype(self.source.array.dtype)

    @property
    def stored(self) -> type[np.float32] | type[np.float16]:
        """Data type of normalized values: reflectance of bands has steps of 1e-4."""
        return np.float32 if self.source.bands else np.float16

    def normalized(self, box: Box, values: ValueMap) -> NDArray[Any]:
        """Return the normalized values ([band,] z, y, x) of a box of the target, as stored."""
        # the offset is subtracted before conversion to float32, in which voxels are resampled
        wide = is_wide(self.dtype)

        def read(part: Box) -> NDArray[Any]:
            found = values.finite(self.source.read(part))
            return values.above_low(found) if wide else found

        resampled = resample_box(read, self.grid, self.target, box)
        return (values.of_shifted(resampled) if wide else values(resampled)).astype(self.stored)

    def record(self, statistics: Statistics) -> dict[str, Any]:
        """Return the record of the source.

        Parameters
        ----------
        statistics : Statistics
            Statistics of its voxels.
        """
        opened = self.source
        said = SourceMetadata() if opened.bands else self.said
        positions = [None if each is None else asdict(each) for each in opened.positions]
        return {
            "path": self.path,
            "series": opened.series,
            "sha256": statistics.sha256,
            "dtype": str(self.dtype),
            **place_of(opened, said),
            **({"planes": list(opened.planes)} if opened.planes else {}),
            **({"positions": positions} if any(positions) else {}),
        }

    def conditions(self) -> dict[str, Any]:
        """Return the record of the known conditions of each plane, if the source states them."""
        conditions = self.source.conditions
        if conditions is None:
            return {}
        return {"conditions": {name: list(values) for name, values in conditions.items()}}
