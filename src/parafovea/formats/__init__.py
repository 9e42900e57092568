"""Readers: every source becomes a lazy array (z, y, x) on a Grid.

`open_source` imports the reader of a format when it meets one, so that the workflow can ask for
`source_files` and `parse_metadata` without loading the libraries of all formats.
"""

from __future__ import annotations

from dataclasses import replace

from parafovea.errors import ConfigError, SourceError
from parafovea.formats.location import Location, locate, source_files, stem
from parafovea.formats.metadata import SourceMetadata, parse_metadata
from parafovea.formats.source import LazyArray, Source
from parafovea.formats.tiles.folders import is_tile_folder
from parafovea.geometry.grid import METRES, Vector

__all__ = [
    "LazyArray",
    "Source",
    "SourceMetadata",
    "open_source",
    "parse_metadata",
    "source_files",
]

_NOTHING = SourceMetadata()

#: Voxel size along z, y, x of images that do not say it, in metres.
_PIXEL: Vector = (1.0, 10.0, 10.0)


def open_source(
    path: str,
    *,
    metadata: SourceMetadata = _NOTHING,
    finer_than: Vector | None = None,
    unit: str | None = None,
    bands: tuple[str, ...] = (),
    truth: bool = False,
) -> Source:
    """Open a volume of any known format, without reading its voxels.

    Parameters
    ----------
    path : str
        An OME-Zarr image (0.4, 0.5), a Zarr array, a TIFF stack, a folder or a pattern of TIFF or
        PNG slices, a NIfTI, NRRD or MetaImage file, a folder or .zip of a DICOM series, or a
        dataset as `file.h5:dataset`.
    metadata : SourceMetadata
        What the user says; it wins over the file.
    finer_than : tuple of float, optional
        For pyramids: read the coarsest level whose spacing is at most this along z, y, x; the
        finest where none is.
    unit : str, optional
        Of `finer_than`; the source's own by default.
    bands : tuple of str
        Names of the channels to read: of a GeoTIFF, or of a folder of tiles, whose planes are then
        the tiles. Such a folder without bands is one of class indices.
    truth : bool
        Of a folder of tiles, take refined bands before those of a first stage.

    Returns
    -------
    Source
        The lazy array with its grid, the name of its series, and the affine where the format has
        one.

    Raises
    ------
    MissingSourceError
        If nothing is there.
    SpacingError
        If neither the file nor the user says the voxel size.
    VoxelError
        If an axis has no length.
    SourceError
        If the source is damaged, of an unknown format, or no volume of numbers.
    """
    if unit is not None and unit not in METRES:
        raise ConfigError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
    pixels = finer_than or metadata.spacing or _PIXEL
    if is_tile_folder(path, images=bool(bands)):
        from parafovea.formats.tiles.stack import open_tile_stack

        return open_tile_stack(
            path,
            bands=bands,
            options=metadata.tiles,
            spacing=pixels,
            unit=unit or "meter",
            truth=truth,
        )
    location = locate(path)
    if bands:
        return _open_mosaic(path, location, metadata, bands, pixels, unit or "meter")
    source = _open(path, location, metadata, finer_than, unit)
    return replace(source, series=source.series or metadata.series or stem(path))


def _open_mosaic(
    path: str,
    location: Location,
    metadata: SourceMetadata,
    bands: tuple[str, ...],
    pixels: Vector,
    unit: str,
) -> Source:
    if location.format != "tiff":
        raise SourceError(
            f"{path} is no GeoTIFF and no folder of tiles, which alone have the bands "
            f"{', '.join(bands)}: give one of these, or a model that takes one channel"
        )
    from parafovea.formats.geo.mosaic import open_mosaic

    return open_mosaic(
        path,
        bands=bands,
        options=metadata.tiles,
        spacing=pixels,
        unit=unit,
        month=metadata.month,
        biome=metadata.biome,
    )


def _open(
    path: str,
    location: Location,
    metadata: SourceMetadata,
    finer_than: Vector | None,
    unit: str | None,
) -> Source:
    if location.format == "zarr":
        from parafovea.formats.zarr_nodes import open_zarr

        return open_zarr(path, metadata=metadata, finer_than=finer_than, unit=unit)
    if location.format == "hdf5":
        from parafovea.formats.hdf5 import open_hdf5

        return open_hdf5(path, location.files[0], location.dataset, metadata=metadata)
    if location.format == "nifti":
        from parafovea.formats.nifti import open_nifti

        return open_nifti(path, metadata=metadata)
    if location.format == "dicom":
        from parafovea.formats.dicom.series import open_dicom

        return open_dicom(path, metadata=metadata)
    if location.format == "nrrd":
        from parafovea.formats.nrrd import open_nrrd

        return open_nrrd(path, metadata=metadata)
    if location.format == "metaimage":
        from parafovea.formats.metaimage import open_metaimage

        return open_metaimage(path, metadata=metadata)
    if location.format == "tiff":
        from parafovea.formats.tiff import open_tiff

        return open_tiff(path, metadata=metadata)
    from parafovea.formats.image_stacks import open_slices

    return open_slices(path, location.slices, metadata=metadata)
