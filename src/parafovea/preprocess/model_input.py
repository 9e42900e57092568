"""A sample's source as the input of a model: opened, checked, and read as normalized values."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import VoxelError
from parafovea.formats.channels import open_input
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.recorded_place import place_of
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box, Grid, Vector
from parafovea.geometry.resample import resample_box
from parafovea.geometry.scale import check_scale
from parafovea.preprocess.normalization import ValueMap, is_wide
from parafovea.preprocess.source_statistics import Statistics
from parafovea.settings.quantities import Range


@contextlib.contextmanager
def naming_channel(name: str) -> Iterator[None]:
    """Name the channel in an error about its voxels, if it is one of several: "" is none."""
    try:
        yield
    except VoxelError as error:
        if not name:
            raise
        raise VoxelError(f"channel {name}: {error}") from error


@dataclass(frozen=True)
class ModelInput:
    """A source that a model is applied to.

    Parameters
    ----------
    path : str
        Its location, as in the sample sheet.
    sources : tuple of Source
        The opened source; of a volume of several channels one for each, on one grid.
    said : SourceMetadata
        What the sheet says of it.
    grid : Grid
        Its grid in the unit of the model.
    target : Grid
        Grid of the model's local view.
    names : tuple of str
        Names of the bands of an image, or of the channels of a volume; empty for one channel.
    """

    path: str
    sources: tuple[Source, ...]
    said: SourceMetadata
    grid: Grid
    target: Grid
    names: tuple[str, ...] = ()

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
        channels: Sequence[str] = (),
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
            Names of the bands that are read from an image; empty for a volume.
        channels : sequence of str
            Names of the channels of a volume; empty for one unnamed channel.
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
        found = open_input(
            path, bands=bands, channels=channels, metadata=said, finer_than=spacing, unit=unit
        )
        sources = tuple(each.source for each in found)
        there = sources[0].grid
        check_scale(path, there, spacing=spacing, unit=unit, scan=is_ct, image=bool(bands))
        grid = there.converted(unit)
        names = tuple(channels) or sources[0].bands
        return cls(path, sources, found[0].metadata, grid, grid.resampled(spacing), names)

    @property
    def source(self) -> Source:
        """The source, of a volume of several channels that of the first."""
        return self.sources[0]

    @property
    def by_channel(self) -> tuple[tuple[str, Source], ...]:
        """Each source with the name of its channel, "" for a source that is not one of several."""
        names = ("",) if self.names == self.source.bands else self.names
        return tuple(zip(names, self.sources, strict=True))

    def check(self) -> None:
        """Raise `SourceError` if the voxels that were read cannot be right as a whole."""
        for source in self.sources:
            if source.check is not None:
                source.check()

    @property
    def stored(self) -> type[np.float32] | type[np.float16]:
        """Data type of normalized values: reflectance of an image has steps of 1e-4."""
        return np.float32 if self.source.bands else np.float16

    def normalized(self, box: Box, values: Sequence[ValueMap]) -> NDArray[Any]:
        """Return the normalized values of a box of the target, as stored.

        Parameters
        ----------
        box : Box
            Within the target.
        values : sequence of ValueMap
            The map of each of the sources.

        Returns
        -------
        ndarray
            ([channel,] z, y, x) of the dtype `stored`.
        """
        pairs = zip(self.sources, values, strict=True)
        found = [self._normalized(box, source, each) for source, each in pairs]
        return found[0] if self.names == self.source.bands else np.stack(found)

    def _normalized(self, box: Box, source: Source, values: ValueMap) -> NDArray[Any]:
        # the offset is subtracted before conversion to float32, in which voxels are resampled
        wide = is_wide(np.dtype(source.array.dtype)) and not values.keep_zero

        def read(part: Box) -> NDArray[Any]:
            found = values.finite(source.read(part))
            return values.above_low(found) if wide else found

        resampled = resample_box(read, self.grid, self.target, box)
        return (values.of_shifted(resampled) if wide else values(resampled)).astype(self.stored)

    def record(self, statistics: Sequence[Statistics]) -> dict[str, Any]:
        """Return the record of the source.

        Parameters
        ----------
        statistics : sequence of Statistics
            Statistics of the voxels of each of the sources.

        Returns
        -------
        dict
            Of a volume of several channels, `channels` has the path and the hash of each, and
            `sha256` is that of these hashes.
        """
        opened = self.source
        each = [found.sha256 for found in statistics]
        channels = [
            {"name": name, "path": source.path, "sha256": sha256, "dtype": str(source.array.dtype)}
            for (name, source), sha256 in zip(self.by_channel, each, strict=True)
        ]
        several = bool(self.names) and not opened.bands
        said = SourceMetadata() if opened.bands else self.said
        positions = [None if each is None else asdict(each) for each in opened.positions]
        return {
            "path": self.path,
            "series": opened.series,
            "sha256": hashlib.sha256("".join(each).encode()).hexdigest() if several else each[0],
            "dtype": str(opened.array.dtype),
            **({"channels": channels} if several else {}),
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
