"""What is measured: phantoms with their cached features, and networks of any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from benchmarks.stages import extract_context, extract_local, resample
from parafovea.errors import ModelError
from parafovea.geometry.grid import Shape
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.folder import save_model
from parafovea.models.model_json import read_spec
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import ModelSpec
from parafovea_phantoms.make_phantom import make_phantom

#: Seed of the phantom; no model was trained or validated on it.
UNSEEN_SEED = 9001

#: The model of tiles, where no other is named.
TILE_MODEL = Path("resources/models/optical")

T = TypeVar("T")


@dataclass(frozen=True)
class Sized(Generic[T]):
    """How much a benchmark works on.

    Parameters
    ----------
    full : object
        What is judged by its limits.
    quick : object
        As little as passes through all of the same code.
    """

    full: T
    quick: T


@dataclass(frozen=True)
class Bench:
    """What every benchmark is given.

    Parameters
    ----------
    model : Path
        Model folder.
    scratch : Path
        Empty folder of the benchmark's own, removed afterwards.
    quick : bool
        Small volumes, one round: for trying out, not for judging.
    tile_model : Path
        Model folder for tiles.
    """

    model: Path
    scratch: Path
    quick: bool
    tile_model: Path = TILE_MODEL

    def of(self, size: Sized[T]) -> T:
        """Return the size of this run."""
        return size.quick if self.quick else size.full

    def rounds(self, full: int) -> int:
        """Return how many rounds count: one in a quick run."""
        return 1 if self.quick else full


def times(numbers: Sequence[int]) -> str:
    """Return a shape as text: 64 x 96 x 96."""
    return " x ".join(str(n) for n in numbers)


def read_fused_spec(model: Path) -> ModelSpec:
    """Return the description of a model that the benchmarks can measure.

    Raises
    ------
    ModelError
        If the model has no context, or 2 dimensions.
    """
    spec = read_spec(model)
    if spec.context is None or spec.network.dimensions != 3:
        raise ModelError(
            f"{model} is a model of {spec.network.dimensions} dimensions "
            f"{'without' if spec.context is None else 'with'} context: the benchmarks need one of "
            "3 dimensions with context, such as resources/models/cell"
        )
    return spec


def make_volume(folder: Path, spec: ModelSpec, *, shape: Shape) -> ModelInputs:
    """Write an unseen phantom cell on the model's grid; the features are still to be made.

    Parameters
    ----------
    folder : Path
        Where to write.
    spec : ModelSpec
        Gives spacing and normalization.
    shape : tuple of int
        Voxels along z, y, x.

    Returns
    -------
    ModelInputs
        The volume, and where its features belong.
    """
    image = folder / "phantom.ome.zarr"
    make_phantom(
        image,
        folder / "phantom_truth.ome.zarr",
        folder / "phantom_objects.ome.zarr",
        kind="cell",
        seed=UNSEEN_SEED,
        shape=shape,
        spacing=spec.spacing,
        unit=spec.unit,
    )
    context = None if spec.context is None else folder / "context.zarr"
    inputs = ModelInputs(folder / "volume.ome.zarr", folder / "features.zarr", context)
    resample(image, inputs, spec)
    return inputs


def make_sample(folder: Path, spec: ModelSpec, *, shape: Shape) -> ModelInputs:
    """Write an unseen phantom cell with its cached features; as `make_volume` otherwise."""
    inputs = make_volume(folder, spec, shape=shape)
    extract_local(inputs, spec)
    extract_context(inputs, spec)
    return inputs


def random_model(folder: Path, spec: ModelSpec, **network: Any) -> ModelSpec:
    """Write a model of random weights, for measurements that do not depend on them.

    Parameters
    ----------
    folder : Path
        Model folder to write.
    spec : ModelSpec
        What the model is like.
    **network
        Arguments of the architecture that differ; ``fusion="none"`` drops the context too.

    Returns
    -------
    ModelSpec
        The description as written.
    """
    card = spec.model_dump()
    card["network"] = {**card["network"], **network}
    if card["network"]["fusion"] == "none":
        card["context"], card["context_channels"] = None, 0
    changed = ModelSpec.model_validate({**card, "name": folder.name, "training": {}})
    torch.manual_seed(0)
    return save_model(folder, changed, FusedUNet.from_spec(changed))
