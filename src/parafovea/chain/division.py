"""Division of a sample into jobs: blocks of its arrays, and shards of its windows or tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parafovea.settings.inference import InferenceSettings
    from parafovea.settings.recipe import Recipe

#: Most blocks of a volume: each is a job of every stage, and Snakemake has to plan them all.
MOST_BLOCKS = 10_000

#: A block of a coarse view reads this many times the voxels that one of the local view does.
WIDER = 8


@dataclass(frozen=True)
class Division:
    """Into how many jobs the stages of a sample are divided.

    Parameters
    ----------
    recipe : Recipe
        Recipe of its model.
    inference : InferenceSettings
        Its inference settings, with the number of shards.
    blocks : int
        Number of blocks of its arrays; 1 if each stage but inference is one job.
    passes : int
        Number of passes over the source in which its values are counted, if there are several
        blocks.
    settings : mapping of str to mapping
        The config blocks specific to its kind, as plain values.
    dicom_output : bool
        Whether its results are written as DICOM objects, too.
    """

    recipe: Recipe
    inference: InferenceSettings
    blocks: int = 1
    passes: int = 1
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    dicom_output: bool = False

    @property
    def context_blocks(self) -> int:
        """Number of blocks of the context features, which have fewer voxels than the volume."""
        recipe = self.recipe
        if recipe.context is None:
            return 1
        pairs = zip(recipe.context.spacing, recipe.spacing, strict=True)
        ratio = math.prod(max(1.0, wide / local) for wide, local in pairs)
        return min(self.blocks, math.ceil(WIDER * self.blocks / ratio))


def blocks_of(voxels: int, most: float) -> int:
    """Return the number of blocks of a volume, given the most voxels of a block."""
    return max(1, min(MOST_BLOCKS, math.ceil(voxels / most)))
