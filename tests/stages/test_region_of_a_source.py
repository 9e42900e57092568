"""A run of a region agrees with one of the whole source, inside by the margin of a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiny_sample import infer, smooth_volume, tiny_model, tiny_recipe

from parafovea.geometry.grid import Box, Grid
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import Stored, open_stored

SAID = "spacing=8,8,8 unit=nm origin=100,0,-40"

#: Values of the source that become 0 and 1: percentiles of a part would be others.
FIXED = {"method": "window", "low": 0, "high": 200}


def predicted(folder: Path, source: Path, model: Path, recipe: Recipe, words: str) -> Stored:
    """Return the prediction of a source, all stages one after the other."""
    folder.mkdir()
    volume, features = folder / "volume.ome.zarr", folder / "features.zarr"
    resample_volume(
        volume,
        source=str(source),
        metadata=f"{SAID} {words}",
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
    )
    extract_features(
        volume, features, spacing=recipe.spacing, backbone=recipe.backbone, dimensions=3
    )
    settings: dict[str, Any] = {"shard": 1, "settings": InferenceSettings(shards=1, overlap=0.5)}
    infer(ModelInputs(volume, features), model, folder / "1.zarr", **settings)
    blend_shards([folder / "1.zarr"], folder / "prediction.ome.zarr")
    return open_stored(folder / "prediction.ome.zarr")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Recipe]:
    """Return a folder, a stack of (48, 128, 128) voxels, a model without context, its recipe."""
    folder = tmp_path_factory.mktemp("region")
    image = (smooth_volume((48, 128, 128)) * 200).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack")
    recipe = tiny_recipe(context=False, normalization=FIXED)
    return folder, folder / "a.tif", tiny_model(folder / "model", recipe), recipe


def test_a_region_agrees_with_the_whole_inside_by_the_margin_of_a_window(
    case: tuple[Path, Path, Path, Recipe],
) -> None:
    folder, source, model, recipe = case
    whole = predicted(folder / "whole", source, model, recipe, "")
    # from a window's step on, (8, 16, 16), so that both have the same windows
    region = Box((8, 16, 32), (48, 128, 128))
    part = predicted(folder / "part", source, model, recipe, "region=8:48,16:128,32:128")
    assert part.grid == whole.grid.crop(region)
    assert part.grid == Grid((40, 112, 96), (8, 8, 8), (164, 128, 216))
    assert part.attributes["source"]["region"] == [[8, 48], [16, 128], [32, 128]]
    inside = Box((16, 32, 32), part.grid.shape)
    there = inside.shifted(region.start)
    found = np.asarray(part.array[(slice(None), *inside.slices)])
    expected = np.asarray(whole.array[(slice(None), *there.slices)])
    np.testing.assert_array_equal(found, expected)
    # at the faces where it was cut, the network sees less
    near = Box((0, 0, 0), (8, 8, 8))
    assert not np.array_equal(
        part.array[(slice(None), *near.slices)],
        whole.array[(slice(None), *near.shifted(region.start).slices)],
    )


def test_the_voxels_of_a_region_are_those_of_the_whole(
    case: tuple[Path, Path, Path, Recipe], tmp_path: Path
) -> None:
    _, source, _, recipe = case
    for name, words in (("whole", ""), ("part", "roi=120:300,80:400,0:600")):
        resample_volume(
            tmp_path / name,
            source=str(source),
            metadata=f"{SAID} {words}",
            spacing=recipe.spacing,
            unit=recipe.unit,
            normalization=recipe.normalization,
        )
    whole, part = open_stored(tmp_path / "whole"), open_stored(tmp_path / "part")
    start = [round(i) for i in whole.grid.index(part.grid.origin)]
    box = Box.sized(start, part.grid.shape)
    assert part.grid == whole.grid.crop(box)
    np.testing.assert_array_equal(part.read(), np.asarray(whole.array[box.slices]))
