"""One stage of a large volume, in a process of its own; prints its peak and seconds as JSON.

Run by `large_volume`: `python -m benchmarks.volume_worker TASK FOLDER --edge N`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.balls import Balls
from benchmarks.memory_worker import peak_bytes
from parafovea.geometry.grid import Grid, Vector
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, ContextSpec, NetworkSpec, Recipe

UNIT = "nanometer"
SPACING: Vector = (8.0, 8.0, 8.0)
SOURCE, MODEL = "source.ome.zarr", "model"

#: Voxels of a window: as those of the shipped model.
WINDOW = (64, 64, 64)

#: Two filters, a coarse view and the smallest useful network: what is measured is the chain.
_FILTERS = BackboneSpec(
    name="filterbank",
    arguments={"scales": [1.0, 2.0], "kinds": ["gaussian", "laplacian"], "stride": 4},
)
RECIPE = Recipe(
    spacing=SPACING,
    unit=UNIT,
    backbone=_FILTERS,
    context=ContextSpec(spacing=(32.0, 32.0, 32.0), backbone=_FILTERS),
    network=NetworkSpec(base_channels=4, max_channels=8),
    classes=("background", "ball"),
    window=(32, 32, 32),
)

#: Of the small volumes that the network learns from and is chosen by.
LEARNED = (64, 128, 128)


def grid_of(edge: int) -> Grid:
    """Return the grid of a cube."""
    return Grid((edge, edge, edge), SPACING, unit=UNIT)


def inputs_of(folder: Path) -> ModelInputs:
    """Return where a sample's volume and features are."""
    return ModelInputs(
        folder / "volume.ome.zarr", folder / "features.zarr", folder / "context.zarr"
    )


def source(folder: Path, edge: int) -> None:
    """Write the volume of balls."""
    Balls((edge, edge, edge)).write(folder / SOURCE, grid_of(edge))


def train(folder: Path, edge: int) -> None:
    """Train the network on two small volumes of other seeds."""
    from parafovea.settings.training import TrainingSettings
    from parafovea.stages.train_model import train_model

    samples: list[dict[str, str]] = []
    learned: list[ModelInputs] = []
    for seed in (1, 2):
        place = folder / f"learned_{seed}"
        place.mkdir()
        grid = Grid(LEARNED, SPACING, unit=UNIT)
        balls = Balls(LEARNED, seed=seed)
        balls.write(place / SOURCE, grid)
        truth = place / "truth.ome.zarr"
        balls.write(truth, grid, truth=True)
        for stage in (resample, features, context):
            stage(place, 0)
        samples.append({"name": place.name, "truth": str(truth)})
        learned.append(inputs_of(place))
    settings = TrainingSettings(
        recipe=RECIPE,
        samples=(samples[0]["name"],),
        validation=(samples[1]["name"],),
        steps=100,
        validate_every=100,
        learning_rate=1e-2,
    )
    train_model(
        [each.volume for each in learned],
        [each.features for each in learned],
        [each.context for each in learned if each.context is not None],
        model=folder / MODEL,
        name="balls",
        samples=samples,
        settings=settings,
        checkpoints=folder / "checkpoints",
        objective="parafovea.training.objectives.segmentation:SegmentationObjective",
    )


def resample(folder: Path, edge: int) -> None:
    """Stage resample."""
    from parafovea.stages.resample_volume import resample_volume

    resample_volume(
        inputs_of(folder).volume,
        source=str(folder / SOURCE),
        spacing=RECIPE.spacing,
        unit=RECIPE.unit,
        normalization=RECIPE.normalization,
    )


def _extract(folder: Path, output: Path | None, spacing: Vector, backbone: BackboneSpec) -> None:
    from parafovea.stages.extract_features import extract_features

    assert output is not None
    extract_features(
        inputs_of(folder).volume, output, spacing=spacing, backbone=backbone, dimensions=3
    )


def features(folder: Path, edge: int) -> None:
    """Stage features."""
    _extract(folder, inputs_of(folder).features, RECIPE.spacing, RECIPE.backbone)


def context(folder: Path, edge: int) -> None:
    """Stage context."""
    assert RECIPE.context is not None
    _extract(folder, inputs_of(folder).context, RECIPE.context.spacing, RECIPE.context.backbone)


def infer(folder: Path, edge: int) -> None:
    """Stage infer, as one shard, without overlap: 1024³ voxels are 4,096 windows."""
    from parafovea.stages.infer_shard import infer_shard

    inputs = inputs_of(folder)
    infer_shard(
        inputs.volume,
        inputs.features,
        inputs.context,
        sums=folder / "1.zarr",
        model=folder / MODEL,
        shard=1,
        settings=InferenceSettings(window=WINDOW, overlap=0, shards=1),
    )


def blend(folder: Path, edge: int) -> None:
    """Stage blend."""
    from parafovea.stages.blend_shards import blend_shards

    blend_shards([folder / "1.zarr"], folder / "prediction.ome.zarr")


def segment(folder: Path, edge: int) -> None:
    """Stage postprocess."""
    from parafovea.settings.postprocess import ClassSettings
    from parafovea.stages.segment_objects import segment_objects

    segment_objects(
        folder / "prediction.ome.zarr",
        folder / "classes.ome.zarr",
        folder / "objects.ome.zarr",
        folder / "objects.tsv",
        method="argmax",
        class_settings={"ball": ClassSettings(min_voxels=100)},
    )


TASKS: dict[str, Callable[[Path, int], None]] = {
    "source": source,
    "train": train,
    "resample": resample,
    "features": features,
    "context": context,
    "infer": infer,
    "blend": blend,
    "segment": segment,
}


def main() -> None:
    """Do the task; print its peak in bytes and its seconds, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, required=True)
    given = parser.parse_args()
    start = time.perf_counter()
    TASKS[given.task](given.folder, given.edge)
    seconds = round(time.perf_counter() - start, 2)
    sys.stdout.write(json.dumps({"peak_bytes": peak_bytes(), "seconds": seconds}))


if __name__ == "__main__":
    main()
