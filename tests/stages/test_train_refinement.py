"""Training of a refinement: from folders of tiles to a model that undoes what was done to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from tiny_sample import BANDS, tiny_refinement
from tiny_training import opened, train

from parafovea.errors import SourceError
from parafovea.formats.tiles.npz import write_tile
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages.extract_features import extract_features
from parafovea.stages.resample_volume import resample_volume
from parafovea.training.objectives.refinement import psnr
from parafovea.training.samples import TrainingSample

SIZE, MONTHS = 48, (1, 7)


def write_tiles(folder: Path, *, seed: int, count: int = 4) -> None:
    """Write smooth tiles, darker in January than they should be, and what they should be."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        noise = ndimage.gaussian_filter(rng.normal(size=(4, SIZE, SIZE)), (0, 2, 2))
        truth = (0.5 + 0.3 * noise / np.abs(noise).max()).astype(np.float32)
        month = MONTHS[number % 2]
        given = truth - (0.1 if month == 1 else -0.1)
        name = f"tile_{number}"
        write_tile(folder / "given", name, {"opt_v1": given.astype(np.float32)}, {"month": month})
        write_tile(folder / "truth", name, {"opt_v2": truth})


def sample_of(folder: Path, recipe: Recipe, *, seed: int) -> TrainingSample:
    write_tiles(folder, seed=seed)
    volume = folder / "volume.ome.zarr"
    resample_volume(
        volume,
        source=str(folder / "given"),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
        bands=recipe.bands,
    )
    inputs = ModelInputs(volume, folder / "features.zarr")
    extract_features(
        volume, inputs.features, spacing=recipe.spacing, backbone=recipe.backbone, dimensions=2
    )
    return TrainingSample(folder.name, inputs, str(folder / "truth"))


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_refinement(context=False)


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refinement")
    settings = TrainingSettings.model_validate(
        {
            "recipe": recipe,
            "samples": ["learn"],
            "validation": ["check"],
            "steps": 60,
            "batch_size": 4,
            "learning_rate": 0.01,
            "validate_every": 30,
            "augmentation": {"jitter": 0},
        }
    )
    learn, check = (
        sample_of(folder / name, recipe, seed=seed) for seed, name in enumerate(("learn", "check"))
    )
    return train(folder, [learn], [check], settings)


def test_a_refinement_learns_what_the_month_did(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    # An error of 0.1 everywhere is 20 dB; without the month, nothing tells its sign.
    assert card["training"]["validation_scores"]["psnr"] > 24
    assert card["input_channels"] == 4 + 8
    assert set(card["training"]["validation_scores"]) == {
        "psnr",
        "rmse",
        *(f"rmse.{band}" for band in BANDS),
    }


def test_the_history_has_the_psnr_of_the_input_beside(trained: Path) -> None:
    history = pd.read_csv(trained / "history.tsv", sep="\t")
    np.testing.assert_allclose(history["psnr.input"], 20.0, atol=0.05)
    assert history["validation_psnr"].iloc[-1] > 24


def test_a_truth_of_other_tiles_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    sample = sample_of(tmp_path / "sample", recipe, seed=2)
    for ending in ("npz",):
        old = tmp_path / "sample" / "truth" / f"tile_3.{ending}"
        old.rename(old.with_name(f"other.{ending}"))
    with pytest.raises(SourceError, match="differ from those of its sample, such as other"):
        opened(sample, recipe)


def test_warps_that_would_blur_the_truth_are_refused(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"augmentation.zoom interpolates pixels"):
        TrainingSettings.model_validate(
            {
                "recipe": recipe,
                "samples": ["a"],
                "validation": ["b"],
                "augmentation": {"zoom": 0.1},
            }
        )


def test_the_psnr_is_that_of_a_range_of_one() -> None:
    assert psnr(0.01) == pytest.approx(20.0)
