"""The stages as the benchmarks call them; each is loaded when it is first called.

A process that measures the peak of one stage so loads no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.field_types import SpacingTuple
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.postprocess import ClassSettings
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage.layout import SampleResults


def resample(source: Path, inputs: ModelInputs, recipe: Recipe) -> None:
    """Write the volume of a source on a model's grid."""
    from parafovea.stages.resample_volume import resample_volume

    resample_volume(
        inputs.volume,
        source=str(source),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
    )


def extract_local(inputs: ModelInputs, recipe: Recipe) -> None:
    """Write a sample's local features."""
    _extract(inputs.volume, inputs.features, recipe, recipe.spacing, recipe.backbone)


def extract_context(inputs: ModelInputs, recipe: Recipe) -> None:
    """Write a sample's context features, where the model takes some."""
    wide = recipe.context
    if wide is not None and inputs.context is not None:
        _extract(inputs.volume, inputs.context, recipe, wide.spacing, wide.backbone)


def _extract(
    volume: Path, output: Path, recipe: Recipe, spacing: SpacingTuple, backbone: BackboneSpec
) -> None:
    from parafovea.stages.extract_features import extract_features

    extract_features(
        volume,
        output,
        spacing=spacing,
        backbone=backbone,
        dimensions=recipe.network.dimensions,
    )


def infer(inputs: ModelInputs, model: Path, sums: Path, settings: InferenceSettings) -> None:
    """Write the sums of all windows, as one shard."""
    from parafovea.stages.infer_shard import infer_shard

    infer_shard(
        inputs.volume,
        inputs.features,
        inputs.context,
        sums=sums,
        model=model,
        shard=1,
        settings=settings,
    )


def blend(sums: Path, prediction: Path) -> None:
    """Write the prediction of one shard's sums."""
    from parafovea.stages.blend_shards import blend_shards

    blend_shards([sums], prediction)


def segment(folder: Path, *, name: str, settings: ClassSettings) -> None:
    """Write the classes, objects and table of a prediction with one class, all in `folder`."""
    from parafovea.stages.segment_objects import segment_objects

    segment_objects(
        folder / "prediction.ome.zarr",
        folder / "classes.ome.zarr",
        folder / "objects.ome.zarr",
        folder / "objects.tsv",
        method="argmax",
        class_settings={name: settings},
    )


def train(
    model: Path,
    samples: Sequence[tuple[str, ModelInputs, Path]],
    settings: TrainingSettings,
    *,
    checkpoints: Path,
) -> None:
    """Train a network.

    Parameters
    ----------
    model : Path
        Model folder to write.
    samples : sequence of tuple
        Name, inputs and truth of each sample to learn from, then of each that chooses the best
        network, in the order of `settings`.
    settings : TrainingSettings
        The training.
    checkpoints : Path
        Folder of its checkpoints.
    """
    from parafovea.stages.train_model import train_model

    inputs = [each for _, each, _ in samples]
    train_model(
        [each.volume for each in inputs],
        [each.features for each in inputs],
        [each.context for each in inputs if each.context is not None],
        model=model,
        samples=[{"name": name, "truth": str(truth)} for name, _, truth in samples],
        settings=settings,
        objective="parafovea.training.objectives.segmentation:SegmentationObjective",
        name=model.name,
        checkpoints=checkpoints,
    )


def refine_tiles(source: Path, model: Path, out: Path, settings: InferenceSettings) -> None:
    """Predict a folder of tiles; results and ledger go to `out`."""
    from parafovea.stages.predict_tiles import predict_tiles

    ledger = SampleResults(out).tile_share(1)
    predict_tiles(ledger, source=str(source), model=str(model), settings=settings, shard=1)
