"""Opening a source of any registered format; only the module of its format is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.errors import ConfigError
from parafovea.formats.location import locate, stem
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.region import cut, region_box
from parafovea.formats.registry import format_named
from parafovea.formats.source import ReadableArray, Request, Source, channel_count, readable
from parafovea.geometry.grid import METRES, Box, Grid, Vector

if TYPE_CHECKING:
    from typing import Any

    from parafovea.formats.geo.raster import Raster
    from parafovea.formats.metadata.tile_options import TileOptions

_NOTHING = SourceMetadata()


def open_source(
    path: str | Path,
    *,
    metadata: SourceMetadata | str = _NOTHING,
    finer_than: Vector | None = None,
    unit: str | None = None,
    bands: tuple[str, ...] = (),
    truth: bool = False,
    labels: bool = False,
    channels: bool = False,
) -> Source:
    """Open a volume of any known format, without reading its voxels.

    Parameters
    ----------
    path : str or Path
        An OME-Zarr image (0.4, 0.5), a Zarr array, a TIFF stack, a folder or a pattern of TIFF or
        PNG slices, a NIfTI, NRRD or MetaImage file, a folder or .zip of a DICOM series, or a
        dataset as `file.h5:dataset`.
    metadata : SourceMetadata or str
        User metadata; overrides the file. Text as in the sample sheet: "spacing=50,4,4". With a
        `region` or `roi`, the source is that part.
    finer_than : tuple of float, optional
        For pyramids: read the coarsest level whose spacing is at most this along z, y, x; if no
        level is that fine, the finest one.
    unit : str, optional
        Unit of `finer_than`; by default that of the source.
    bands : tuple of str
        Names of the channels to read from a GeoTIFF, or from a folder of tiles, in which case the
        planes are the tiles. Without bands, a folder of tiles is read as class indices.
    truth : bool
        For a folder of tiles, prefer refined bands to those of a first stage.
    labels : bool
        Whether the voxels are class indices or object ids: palettes are then ignored, and no
        voxel may be missing.
    channels : bool
        Whether the file is one of channels, of which the one in `metadata` is read; see
        `parafovea.formats.channels`. A series in time is then refused.

    Returns
    -------
    Source
        The lazy array with its grid, the name of its series, and the affine if the format has one.

    Raises
    ------
    MissingSourceError
        If the source does not exist.
    SpacingError
        If neither the file nor the user states the voxel size.
    VoxelError
        If an axis has no length.
    SourceError
        If the source is damaged, of an unknown format, or not a numeric volume.
    """
    path = str(path)
    if isinstance(metadata, str):
        metadata = parse_metadata(metadata, folder=Path())
    request = _request(metadata, finer_than, unit, bands, truth, labels, channels)
    with readable(path):
        location = locate(path, bands=bool(bands))
        source: Source = format_named(location.format).load().open_volume(location, request)
    named = replace(
        source,
        array=ReadableArray(source.array, path),
        series=source.series or metadata.series or stem(path),
        channel_names=source.channel_names or ("",) * channel_count(source.array),
    )
    return cut(named, _part(path, named.grid, request, bool(bands)))


def source_grid(
    path: str,
    *,
    metadata: SourceMetadata = _NOTHING,
    finer_than: Vector | None = None,
    unit: str | None = None,
    bands: tuple[str, ...] = (),
) -> Grid:
    """Return the grid of the source that `open_source` would open, reading as little as possible.

    It is cheap enough for planning: if the light module of a format can read the header, no
    library is imported; other formats are opened without reading a voxel.

    Parameters
    ----------
    path, metadata, finer_than, unit, bands
        As for `open_source`.

    Raises
    ------
    SourceError
        As `open_source`, for problems that the header reveals.
    """
    request = _request(metadata, finer_than, unit, bands)
    with readable(path):
        location = locate(path, bands=bool(bands))
        from_header = format_named(location.format).light_function("grid")
        grid: Grid | None = None if from_header is None else from_header(location, request)
    if grid is not None:
        box = _part(path, grid, request, bool(bands))
        return grid if box is None else grid.crop(box)
    return open_source(path, metadata=metadata, finer_than=finer_than, unit=unit, bands=bands).grid


def _part(path: str, grid: Grid, request: Request, is_image: bool) -> Box | None:
    """Return the voxels that the user takes from a source, None for all."""
    said = request.metadata
    if said.uncut is said:
        return None
    finest = grid
    if request.finer_than is not None and format_named(locate(path, bands=is_image).format).levels:
        finest = source_grid(path, metadata=said.uncut)
    return region_box(path, grid, finest, said)


def _request(
    metadata: SourceMetadata,
    finer_than: Vector | None,
    unit: str | None,
    bands: Sequence[str],
    truth: bool = False,
    labels: bool = False,
    channels: bool = False,
) -> Request:
    if unit is not None and unit not in METRES:
        raise ConfigError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
    return Request(metadata, finer_than, unit, tuple(bands), truth, labels, channels)


def open_raster(path: str, *, bands: Sequence[str], options: TileOptions) -> Raster:
    """Open a GeoTIFF larger than memory, to be read window by window.

    Parameters
    ----------
    path, bands, options
        As for `parafovea.formats.geo.raster.open_raster`, whose library is only imported here.
    """
    raster: Raster = format_named("mosaic").load().open_raster(path, bands=bands, options=options)
    return raster


def require_same_images(truth: Source, facts: Mapping[str, Any]) -> None:
    """Raise `SourceError` if a truth has other images than its sample, or lies elsewhere.

    Parameters
    ----------
    truth : Source
        The truth, opened for the sample.
    facts : mapping
        The sample's `source` as recorded by `resample_volume`, with `planes` and `positions`.
    """
    if truth.planes or truth.positions:
        reader = format_named("tiles" if truth.planes else "mosaic").load()
        reader.require_same_images(truth, facts)


def mosaic_record(path: Path) -> dict[str, Any]:
    """Return the record of a refined mosaic; see `parafovea.formats.geo.geotiff.mosaic_record`."""
    record: dict[str, Any] = format_named("mosaic").load().mosaic_record(path)
    return record
