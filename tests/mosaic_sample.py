"""A mosaic, and a prediction of it: through a small network, or made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.transform import Affine
from scipy import ndimage
from tile_files import write_tif
from tiny_sample import BANDS, infer, tiny_refinement, tiny_spec

from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.export_mosaic import export_mosaic
from parafovea.stages.extract_features import extract_features
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import create, open_stored

#: Where mosaics lie: a CRS, and the transform of their pixels.
PLACES: dict[str, tuple[str, Affine]] = {
    "10 m": ("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000)),
    "degrees": ("EPSG:4326", Affine(9e-5, 0, -3.9, 0, -9e-5, 40.1)),
    "20 m": ("EPSG:32633", Affine(20, 0, 500_000, 0, -20, 5_000_000)),
}


def reflectance(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return (4, y, x) float32 in [0.02, 0.9] that differs from pixel to pixel."""
    noise = np.random.default_rng(seed).normal(size=(4, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 6, 6)) / 0.047 + 0.3 * noise
    return np.clip(0.3 + 0.12 * smooth, 0.02, 0.9).astype(np.float32)


def write_mosaic(
    folder: Path, values: np.ndarray[Any, Any], *, place: str = "10 m", **profile: Any
) -> Path:
    """Write `mosaic.tif` from (4, y, x)."""
    crs, transform = PLACES[place]
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"crs": crs, "transform": transform, **profile}
    return write_tif(folder, values, "mosaic", **where).path


def still_model(folder: Path, recipe: Recipe, bias: float = 0.0) -> Path:
    """Write a model whose scores are the same number everywhere."""
    spec = tiny_spec(recipe)
    network = FusedUNet.from_spec(spec).eval()
    with torch.no_grad():
        network.final_conv.weight.zero_()
        network.final_conv.bias.fill_(bias)
    save_model(folder, spec, network)
    return folder


@dataclass(frozen=True)
class Mosaic:
    """Where the results of a mosaic lie."""

    source: Path
    folder: Path

    @property
    def volume(self) -> Path:
        return self.folder / "volume.ome.zarr"

    @property
    def prediction(self) -> Path:
        return self.folder / "prediction.ome.zarr"

    @property
    def refined(self) -> Path:
        return self.folder / "refined.tif"

    @property
    def ledger(self) -> Path:
        return self.folder / "tiles.tsv"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine.tsv"

    def resample(self, recipe: Recipe, metadata: str = "") -> Mosaic:
        """Write the volume."""
        resample_volume(
            self.volume,
            source=str(self.source),
            metadata=metadata,
            spacing=recipe.spacing,
            unit=recipe.unit,
            normalization=recipe.normalization,
            bands=recipe.bands,
        )
        return self

    def predict(self, model: Path, recipe: Recipe, **settings: Any) -> Mosaic:
        """Write the prediction of a model, through all stages."""
        views = [(self.folder / "features.zarr", recipe.spacing, recipe.backbone)]
        if recipe.context is not None:
            wide = recipe.context
            views.append((self.folder / "context.zarr", wide.spacing, wide.backbone))
        for path, spacing, backbone in views:
            extract_features(self.volume, path, spacing=spacing, backbone=backbone, dimensions=2)
        inputs = ModelInputs(self.volume, *(path for path, *_ in views))
        chosen = InferenceSettings(**{"precision": "float32", "shards": 1, **settings})
        assert isinstance(chosen.shards, int)
        shards = [self.folder / f"shards/{n}.zarr" for n in range(1, chosen.shards + 1)]
        for number, shard in enumerate(shards, start=1):
            infer(inputs, model, shard, shard=number, settings=chosen)
        blend_shards(shards, self.prediction, output_scale=chosen.output_scales)
        return self

    def invent(self, added: float = 0.0) -> Mosaic:
        """Write a prediction without a model: the volume and a number."""
        volume = open_stored(self.volume)
        facts = {
            "source": volume.attributes["source"],
            "model": {"name": "none", "sha256": "0" * 64, "activation": "residual"},
        }
        with create(
            self.prediction, volume.grid, dtype=np.float32, channels=BANDS, attributes=facts
        ) as array:
            for box in volume.grid.box.tiles((1, 512, 512)):
                values = np.clip(volume.read(box) + np.float32(added), 0, 1)
                array[(slice(None), *box.slices)] = values
        return self

    def export(self, metadata: str = "") -> Mosaic:
        """Write the refined image and its ledger."""
        export_mosaic(
            self.volume,
            self.prediction,
            self.refined,
            self.ledger,
            self.quarantine,
            source=str(self.source),
            metadata=metadata,
        )
        return self


def invented(folder: Path, source: Path, added: float = 0.0, metadata: str = "") -> Mosaic:
    """Return a mosaic that was refined without a network."""
    mosaic = Mosaic(source, folder / "results").resample(tiny_refinement(), metadata)
    return mosaic.invent(added).export(metadata)
