"""Training of a refinement: from folders of tiles to a model that undoes what was done to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mosaic_sample import reflectance, write_mosaic
from pydantic import ValidationError
from rasterio.transform import Affine
from scipy import ndimage
from tiny_sample import BANDS, tiny_refinement, tiny_spec
from tiny_training import opened, train

from parafovea.errors import SourceError
from parafovea.formats.tiles.npz import write_tile
from parafovea.geometry.grid import Box
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.stages.extract_features import extract_features
from parafovea.stages.resample_volume import resample_volume
from parafovea.training.objectives.refinement import RefinementObjective, psnr
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
    return taken(folder / "volume.ome.zarr", folder / "given", folder / "truth", recipe)


def taken(volume: Path, source: Path, truth: Path, recipe: Recipe) -> TrainingSample:
    """Return a sample of a source and its truth, with its volume and features."""
    folder = volume.parent
    resample_volume(
        volume,
        source=str(source),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
        bands=recipe.bands,
    )
    inputs = ModelInputs(volume, folder / "features.zarr")
    extract_features(
        volume, inputs.features, spacing=recipe.spacing, backbone=recipe.backbone, dimensions=2
    )
    return TrainingSample(folder.name, inputs, str(truth))


def trained_in(folder: Path, recipe: Recipe) -> Path:
    """Train a refinement on two samples, and return its model."""
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


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_refinement(context=False)


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_in(tmp_path_factory.mktemp("refinement"), recipe)


def test_a_refinement_learns_what_the_month_did(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    # An error of 0.1 everywhere is 20 dB; without the month, nothing tells its sign.
    assert card["training"]["validation_scores"]["psnr"] > 24
    assert card["input_channels"] == 4 + 8
    assert set(card["training"]["validation_scores"]) == {
        "psnr",
        "ndvi_rmse",
        "rmse",
        *(f"rmse.{band}" for band in BANDS),
    }


def test_the_history_has_the_psnr_of_the_input_beside(trained: Path) -> None:
    history = pd.read_csv(trained / "history.tsv", sep="\t")
    np.testing.assert_allclose(history["psnr.input"], 20.0, atol=0.05)
    assert history["validation_psnr"].iloc[-1] > 24


def test_a_filter_learns_what_the_month_did_and_what_error_is_left(tmp_path: Path) -> None:
    plain = tiny_refinement(context=False)
    network = plain.fused.model_copy(update={"correction": "filter", "dropout": 0.0})
    recipe = tiny_refinement(context=False, network=network)
    model = trained_in(tmp_path, recipe)
    card = json.loads((model / "model.json").read_text())
    assert card["network"]["correction"] == "filter"
    assert card["training"]["validation_scores"]["psnr"] > 24


def test_a_filter_is_of_a_residual_refinement_of_images() -> None:
    network = tiny_refinement().fused.model_copy(update={"correction": "filter"})
    with pytest.raises(ValidationError, match="correction: filter is for a residual refinement"):
        tiny_refinement(network=network, residual=False)


def test_a_truth_of_other_tiles_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    sample = sample_of(tmp_path / "sample", recipe, seed=2)
    for ending in ("npz",):
        old = tmp_path / "sample" / "truth" / f"tile_3.{ending}"
        old.rename(old.with_name(f"other.{ending}"))
    with pytest.raises(SourceError, match="differ from those of its sample, such as other"):
        opened(sample, recipe)


PLACE = {"crs": "EPSG:32633", "x": 500000.0, "y": 5000000.0, "pixel_size": 10.0}


def test_a_truth_of_another_place_is_refused_and_a_finer_one_is_not(
    recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "sample"
    write_tiles(folder, seed=2)
    for name in ("given", "truth"):
        for number in range(4):
            place = PLACE | {"x": 500000.0 + 480 * number}
            sidecar = folder / name / f"tile_{number}.json"
            sidecar.write_text(json.dumps({"position": place}))
    sample = taken(folder / "volume.ome.zarr", folder / "given", folder / "truth", recipe)
    opened(sample, recipe)
    sidecar = folder / "truth/tile_2.json"
    sidecar.write_text(json.dumps({"position": PLACE | {"x": 501000.0}}))
    with pytest.raises(SourceError, match=r"not of the same place as tile 'tile_2'.*501000, 5000"):
        opened(sample, recipe)
    sidecar.write_text(json.dumps({"position": PLACE | {"crs": "EPSG:32632", "x": 500960.0}}))
    with pytest.raises(SourceError, match=r"coordinate system EPSG:32632 instead of EPSG:32633"):
        opened(sample, recipe)
    sidecar.unlink()  # a truth that states no place fits anywhere
    opened(sample, recipe)


def test_a_mosaic_is_not_learned_from_a_truth_of_another_place(
    recipe: Recipe, tmp_path: Path
) -> None:
    values = reflectance(64, 64)
    source = write_mosaic(tmp_path / "given", values)
    volume = tmp_path / "volume.ome.zarr"
    sample = taken(volume, source, write_mosaic(tmp_path / "truth", values), recipe)
    opened(sample, recipe)
    write_mosaic(tmp_path / "truth", values, transform=Affine(10, 0, 500_640, 0, -10, 5_000_000))
    with pytest.raises(SourceError, match=r"is not of the same place as the source .*given"):
        opened(sample, recipe)


@pytest.mark.parametrize("form", ["tiles", "mosaic"])
def test_pixels_of_unknown_truth_teach_nothing_and_score_nothing(
    recipe: Recipe, tmp_path: Path, form: str
) -> None:
    values = reflectance(48, 48)
    truth = values + np.float32(0.05)
    truth[:, :, :20] = np.nan
    if form == "tiles":
        write_tile(tmp_path / "given", "a", {"opt_v1": values})
        write_tile(tmp_path / "truth", "a", {"opt_v2": truth})
        paths = tmp_path / "given", tmp_path / "truth"
    else:
        paths = (
            write_mosaic(tmp_path / "given", values),
            write_mosaic(tmp_path / "truth", truth, nodata=np.nan),
        )
    sample = opened(taken(tmp_path / "volume.ome.zarr", *paths, recipe), recipe)
    box = Box((0, 0, 0), (1, 48, 48))
    window = sample.window(box, 0)
    assert np.isnan(window.target[:4, ..., :20]).all()
    np.testing.assert_allclose(window.target[:4, 0, :, 20:], truth[:, :, 20:], atol=1e-6)
    aim = RefinementObjective(tiny_spec(recipe), {"a": sample.truth})
    logits = torch.zeros((1, 4, 1, 48, 48), requires_grad=True)
    targets = aim.target(window)[None]
    loss = aim.loss(logits, targets)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert not logits.grad[..., :20].any()
    assert logits.grad[..., 20:].all()
    aim.observe([window], logits.detach())
    assert aim.scores()["validation_psnr"] == pytest.approx(psnr(0.05**2), abs=1e-3)


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


def test_the_dice_of_a_batch_is_refused_for_bands(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="batch_dice is for segmentations, not for a refinement"):
        TrainingSettings(recipe=recipe, samples=("a",), validation=("b",), batch_dice=True)


def test_the_psnr_is_that_of_a_range_of_one() -> None:
    assert psnr(0.01) == pytest.approx(20.0)
