"""A small sample with its cached features, and an untrained model that fits it: for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from parafovea.geometry.grid import Grid
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.preprocess.body_masks import BodyMasks, label_images, volume_body
from parafovea.settings.recipe import ModelSpec, Recipe
from parafovea.stages.extract_features import extract_features
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.provenance import record
from parafovea.storage.store import LabelImage, Stored, create

BACKBONE = {"name": "filterbank", "arguments": {"scales": [1.0], "kinds": ["gaussian", "gradient"]}}
CLASSES = ("background", "dark", "bright")
BANDS = ("B02", "B03", "B04", "B08")


def tiny_recipe(*, dimensions: int = 3, context: bool = True, **changes: Any) -> Recipe:
    """Return a recipe of 8 nm voxels, a small network and, with context, a 16 nm wide view."""
    wide = {"spacing": (8 if dimensions == 2 else 16, 16, 16), "backbone": BACKBONE}
    values = {
        "spacing": (8, 8, 8),
        "backbone": BACKBONE,
        "context": wide if context else None,
        "network": {
            "dimensions": dimensions,
            "base_channels": 4,
            "max_channels": 8,
            "fusion": "attention" if context else "none",
        },
        "classes": CLASSES,
        "window": (1, 32, 32) if dimensions == 2 else (16, 32, 32),
        **changes,
    }
    return Recipe.model_validate(values)


def tiny_refinement(*, context: bool = True, **changes: Any) -> Recipe:
    """Return a recipe that refines four bands of 10 m pixels, told month and biome."""
    network = {
        "dimensions": 2,
        "base_channels": 4,
        "max_channels": 8,
        "fusion": "attention" if context else "none",
        "conditions": ["month", "biome"],
    }
    values = {
        "kind": "refinement",
        "bands": BANDS,
        "classes": BANDS,
        "unit": "meter",
        "spacing": (1, 10, 10),
        "normalization": {"method": "none"},
        "backbone": BACKBONE,
        "context": {"spacing": (1, 20, 20), "backbone": BACKBONE} if context else None,
        "network": network,
        "window": (1, 32, 32),
        **changes,
    }
    return Recipe.model_validate(values)


def smooth_volume(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray[Any, Any]:
    """Return (z, y, x) float16 in 0 to 1: smoothed noise."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float16)


def store_volume(
    path: Path, voxels: np.ndarray[Any, Any], grid: Grid | None = None, sha256: str = "5" * 64
) -> Path:
    """Write voxels as `resample_volume` does, 8 nm where no grid is given."""
    grid = grid or Grid(voxels.shape, (8, 8, 8))
    facts = record("resample_volume", source={"path": path.name, "sha256": sha256})
    with create(path, grid, dtype=np.float16, attributes=facts, levels="mean") as array:
        array[:] = voxels
    return path


def store_scan(
    path: Path, voxels: np.ndarray[Any, Any], grid: Grid, *, zero: float = 0.0, one: float = 1.0
) -> Path:
    """Write normalized voxels with the body in them; `zero` and `one` are the HU of 0 and 1."""
    facts = record(
        "resample_volume",
        source={"path": "ct", "sha256": "6" * 64},
        normalization={"zero": zero, "one": one},
    )
    labels: dict[str, LabelImage] = {}
    with create(path, grid, dtype=np.float16, attributes=facts, label_images=labels) as array:
        array[:] = voxels
        body = volume_body(Stored(array, grid, None, facts))
        labels |= label_images(BodyMasks(body, None), body)
    return path


def store_images(path: Path, shape: tuple[int, int, int], *, seed: int = 0) -> Path:
    """Write four bands of images (z, y, x) of 10 m pixels as `resample_volume` does."""
    facts = record(
        "resample_volume",
        source={"path": path.name, "sha256": "6" * 64},
        conditions={
            "month": [1 + n % 12 for n in range(shape[0])],
            "biome": [n % 16 for n in range(shape[0])],
        },
    )
    grid = Grid(shape, (1, 10, 10), unit="meter")
    with create(path, grid, dtype=np.float16, channels=BANDS, attributes=facts) as array:
        array[:] = np.stack([smooth_volume(shape, seed + n) for n in range(len(BANDS))])
    return path


def tiny_inputs(folder: Path, shape: tuple[int, int, int], recipe: Recipe) -> ModelInputs:
    """Write a sample's volume, features and, where the recipe has one, context."""
    volume = folder / "volume.ome.zarr"
    if recipe.bands:
        store_images(volume, shape)
    elif recipe.kind == "detection":
        store_scan(volume, smooth_volume(shape), Grid(shape, recipe.spacing, unit=recipe.unit))
    else:
        store_volume(volume, smooth_volume(shape))
    dimensions = recipe.network.dimensions
    features, context = folder / "features.zarr", folder / "context.zarr"
    extract_features(
        volume,
        features,
        spacing=recipe.spacing,
        backbone=recipe.backbone,
        dimensions=dimensions,
    )
    if recipe.context is None:
        return ModelInputs(volume, features)
    extract_features(
        volume,
        context,
        spacing=recipe.context.spacing,
        backbone=recipe.context.backbone,
        dimensions=dimensions,
        concentric_window=None if recipe.context_ratio is None else recipe.window,
    )
    return ModelInputs(volume, features, context)


def random_network(network: FusedUNet, seed: int = 0) -> FusedUNet:
    """Return the network with random weights and statistics, so that every layer matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(0.3, 0.2)
            elif tensor.is_floating_point():
                tensor.normal_(0, 1.5 / tensor[0].numel() ** 0.5)
    return network.eval()


def tiny_spec(recipe: Recipe, **changes: Any) -> ModelSpec:
    """Return the description of a model for `tiny_inputs`, with a hash to be filled."""
    bands = recipe.channels
    channels = {"input_channels": (2 + int(recipe.raw_input)) * bands}
    channels["context_channels"] = 0 if recipe.context is None else 2 * bands
    facts = {"name": "tiny", "weights_sha256": "0" * 64, **channels, **changes}
    return ModelSpec(**{**recipe.model_dump(), **facts})


def tiny_model(folder: Path, recipe: Recipe, **changes: Any) -> Path:
    """Write a model folder with random weights."""
    spec = tiny_spec(recipe, **changes)
    save_model(folder, spec, random_network(FusedUNet.from_spec(spec)))
    return folder


def infer(
    inputs: ModelInputs,
    model: Path,
    sums: Path,
    *,
    views: Sequence[ModelInputs] = (),
    **arguments: Any,
) -> None:
    """Run `infer_shard` on a sample's inputs and on those of its augmented views."""
    infer_shard(
        inputs.volume,
        inputs.features,
        inputs.context,
        sums=sums,
        view_features=[view.features for view in views],
        view_contexts=[view.context for view in views if view.context is not None],
        model=model,
        **arguments,
    )
