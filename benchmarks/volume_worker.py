"""One stage of a large volume, in a process of its own; prints its peak and seconds as JSON.

Run by `large_volume`: `python -m benchmarks.volume_worker TASK FOLDER --edge N --steps N --seed N`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import stages
from benchmarks.balls import Balls
from benchmarks.memory_worker import peak_bytes
from parafovea.geometry.grid import Grid, Vector
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.postprocess import ClassSettings
from parafovea.settings.recipe import BackboneSpec, ContextSpec, Recipe
from parafovea.settings.training import TrainingSettings


class Cube(NamedTuple):
    """Voxels of an edge, and the steps and the seed of the training of its network."""

    edge: int
    steps: int
    seed: int


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
    network=FusedUNetSpec(base_channels=4, max_channels=8),
    classes=("background", "ball"),
    window=(32, 32, 32),
)

#: Of the small volumes that the network learns from and is chosen by.
LEARNED = (64, 128, 128)


def inputs_of(folder: Path) -> ModelInputs:
    """Return where a sample's volume and features are."""
    return ModelInputs(
        folder / "volume.ome.zarr", folder / "features.zarr", folder / "context.zarr"
    )


def source(folder: Path, cube: Cube) -> None:
    """Write the volume of balls."""
    grid = Grid((cube.edge,) * 3, SPACING, unit=UNIT)
    Balls(grid.shape).write(folder / SOURCE, grid)


def train(folder: Path, cube: Cube) -> None:
    """Train the network on two small volumes of other seeds."""
    samples = []
    for seed in (1, 2):
        place = folder / f"learned_{seed}"
        place.mkdir()
        grid = Grid(LEARNED, SPACING, unit=UNIT)
        balls = Balls(LEARNED, seed=seed)
        balls.write(place / SOURCE, grid)
        truth = place / "truth.ome.zarr"
        balls.write(truth, grid, truth=True)
        for stage in (resample, features, context):
            stage(place, cube)
        samples.append((place.name, inputs_of(place), truth))
    settings = TrainingSettings(
        recipe=RECIPE,
        samples=(samples[0][0],),
        validation=(samples[1][0],),
        steps=cube.steps,
        validate_every=cube.steps,
        seed=cube.seed,
        learning_rate=1e-2,
    )
    stages.train(folder / MODEL, samples, settings, checkpoints=folder / "checkpoints")


def resample(folder: Path, cube: Cube) -> None:
    """Stage resample."""
    stages.resample(folder / SOURCE, inputs_of(folder), RECIPE)


def features(folder: Path, cube: Cube) -> None:
    """Stage features."""
    stages.extract_local(inputs_of(folder), RECIPE)


def context(folder: Path, cube: Cube) -> None:
    """Stage context."""
    stages.extract_context(inputs_of(folder), RECIPE)


def infer(folder: Path, cube: Cube) -> None:
    """Stage infer, as one shard, without overlap: 1024³ voxels are 4,096 windows."""
    settings = InferenceSettings(window=WINDOW, overlap=0, shards=1)
    stages.infer(inputs_of(folder), folder / MODEL, folder / "1.zarr", settings)


def blend(folder: Path, cube: Cube) -> None:
    """Stage blend."""
    stages.blend(folder / "1.zarr", folder / "prediction.ome.zarr")


def segment(folder: Path, cube: Cube) -> None:
    """Stage postprocess."""
    stages.segment(folder, name="ball", settings=ClassSettings(min_voxels=100))


TASKS: dict[str, Callable[[Path, Cube], None]] = {
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
    for number in Cube._fields:
        parser.add_argument(f"--{number}", type=int, required=True)
    given = parser.parse_args()
    start = time.perf_counter()
    TASKS[given.task](given.folder, Cube(given.edge, given.steps, given.seed))
    seconds = round(time.perf_counter() - start, 2)
    sys.stdout.write(json.dumps({"peak_bytes": peak_bytes(), "seconds": seconds}))


if __name__ == "__main__":
    main()
