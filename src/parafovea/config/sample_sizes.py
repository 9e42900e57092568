"""Size of a sample, as far as it is known before the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parafovea.config.checks import PHANTOM
from parafovea.config.sample_files import is_phantom
from parafovea.config.schema import ChestSettings, LandscapeSettings, Phantoms, PhantomSettings
from parafovea.config.sheet import Sample
from parafovea.errors import GridError, SourceError
from parafovea.formats.channels import input_grid, open_input
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.region import region_box
from parafovea.formats.source_placement import Stated, settle
from parafovea.formats.zarr.ome_zarr import choose_level
from parafovea.geometry.drawn_slices import drawn_slices
from parafovea.geometry.grid import Grid, Vector
from parafovea.geometry.scale import check_scale
from parafovea.geometry.scan_orientation import axis_flips
from parafovea.kinds.kind import kind_named
from parafovea.settings.recipe import Recipe
from parafovea.storage.pyramids import level_strides


def sample_grid(sample: Sample, recipe: Recipe, *, phantoms: Phantoms, results: str) -> Grid:
    """Return the grid of a sample's source, in the unit of its model.

    Parameters
    ----------
    sample : Sample
        Line of the sheet.
    recipe : Recipe
        Recipe of the sample's model.
    phantoms : Phantoms
        Settings of the phantoms, which need not exist yet.
    results : str
        Results folder.

    Raises
    ------
    SourceError
        If the source cannot be opened, is of another scale than the model, or has its axes in
        another order than the model's network takes.
    """
    said = parse_metadata(sample.metadata, folder=Path())

    def of_phantom(path: str) -> Grid | None:
        if not path.startswith(f"{results}/phantoms/"):
            return None
        found = PHANTOM.fullmatch(path.rpartition("/")[2])
        if found is None or found["kind"] not in Phantoms.kinds():
            return None
        grid = phantom_grid(phantoms.of(found["kind"]), seed=int(found["seed"]))
        return _cut(grid, path, said)

    grid = input_grid(
        sample.source,
        bands=recipe.image_bands,
        channels=recipe.volume_channels,
        metadata=said,
        finer_than=recipe.spacing,
        unit=recipe.unit,
        known=of_phantom,
    )
    check_scale(
        sample.source,
        grid,
        spacing=recipe.spacing,
        unit=recipe.unit,
        scan=recipe.is_ct,
        image=recipe.is_image,
    )
    if recipe.orientation and not is_phantom(sample.source, results):
        _check_orientation(sample.source, recipe, said)
    return grid.converted(recipe.unit)


def _check_orientation(path: str, recipe: Recipe, said: SourceMetadata) -> None:
    """Raise `SourceError` if the axes of a scan are in another order than its network takes."""
    source = open_input(
        path,
        bands=recipe.image_bands,
        channels=recipe.volume_channels,
        metadata=said,
        finer_than=recipe.spacing,
        unit=recipe.unit,
    )[0].source
    if source.affine is None:
        return
    try:
        axis_flips(source.affine, recipe.orientation)
    except GridError as error:
        raise SourceError(f"{path}: {error}") from error


def unknown_grid(recipe: Recipe) -> Grid:
    """Return the grid that stands for a source whose grid is unknown: one window of its model.

    Nothing is planned or requested by it; a sample without a grid has no jobs.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the sample's model.
    """
    return Grid(recipe.window, recipe.spacing, unit=recipe.unit)


def result_grid(source: Grid, recipe: Recipe, *, output_scale: Vector) -> Grid:
    """Return the grid of a sample's main result, which need not exist.

    Parameters
    ----------
    source : Grid
        Grid of the sample's source, in the unit of its model.
    recipe : Recipe
        Recipe of its model.
    output_scale : tuple of float
        Voxels of the prediction per voxel of the model's grid along z, y, x.

    Returns
    -------
    Grid
        Grid of the prediction; of the source for results that lie on it, such as heatmaps and
        refined mosaics.
    """
    if kind_named(recipe.kind).on_source_grid:
        return source
    volume = source.resampled(recipe.spacing)
    if all(scale == 1 for scale in output_scale):
        return volume
    return volume.resampled([s / k for s, k in zip(volume.spacing, output_scale, strict=True)])


def placed(grid: Grid, metadata: str) -> Grid:
    """Return the grid of a result; a sample's metadata takes precedence."""
    said = parse_metadata(metadata, folder=Path())
    stated = Stated(grid.spacing, grid.unit, grid.origin)
    return _cut(Grid(grid.shape, *settle("the result", stated, said)), "the result", said)


def _cut(grid: Grid, path: str, said: SourceMetadata) -> Grid:
    box = region_box(path, grid, grid, said)
    return grid if box is None else grid.crop(box)


def read_level(result: Grid, placed_result: Grid, recipe: Recipe) -> Grid:
    """Return the grid of the level of a result that a sample reads, as the format chooses it.

    Parameters
    ----------
    result : Grid
        Grid of a result that is stored as a pyramid.
    placed_result : Grid
        The same voxels where the sample's metadata place them.
    recipe : Recipe
        Recipe of the sample's model.
    """
    levels = [placed_result.coarsened(stride) for stride in level_strides(result)]
    spacings = [level.spacing for level in levels]
    return levels[choose_level((spacings, placed_result.unit), recipe.spacing, recipe.unit)]


def tile_grid(sizes: Mapping[tuple[int, int], int], recipe: Recipe) -> Grid:
    """Return the grid of tiles stacked as planes of a volume for training.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of tiles of each height and width.
    recipe : Recipe
        Recipe of the model, with the pixel size of the tiles.
    """
    height, width = (max((size[axis] for size in sizes), default=1) for axis in (0, 1))
    return Grid((max(1, sum(sizes.values())), height, width), recipe.spacing, unit=recipe.unit)


def phantom_grid(phantom: PhantomSettings | LandscapeSettings, *, seed: int) -> Grid:
    """Return the grid of the phantom of a kind and seed.

    A folder of tiles has one plane per tile.
    """
    if isinstance(phantom, LandscapeSettings):
        side, pixel = max(phantom.sizes), phantom.pixel_size
        return Grid((sum(phantom.tiles), side, side), (pixel, pixel, pixel), unit="meter")
    grid = Grid(phantom.shape, phantom.spacing, unit=phantom.unit)
    return drawn_slices(grid, seed, phantom.variety) if isinstance(phantom, ChestSettings) else grid
