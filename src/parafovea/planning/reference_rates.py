"""Reference rates of two CPU cores, for models that were not measured on this machine.

The cost of a stage is part of its declaration in `parafovea.chain` and `parafovea.kinds`. Rates of
features and of the network can be measured (`planning.measure`); other rates are rounded from runs
on two CPU cores; those of vision models and of detections are estimates.
"""

from __future__ import annotations

import math

from parafovea.chain.cost import Cost, Rates
from parafovea.chain.stage import Stage
from parafovea.planning.work import TileWork, Work
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import BackboneSpec, Recipe

#: Seconds per voxel of a network that was not measured.
UNMEASURED = 1e-6


def reference_rates(recipe: Recipe) -> Rates:
    """Return the rates of a model on two CPU cores."""
    wide = recipe.backbone if recipe.context is None else recipe.context.backbone
    return Rates(
        features=_seen(recipe.backbone),
        context=_seen(wide),
        network=_network(recipe),
    )


def _network(recipe: Recipe) -> float:
    """Return the seconds that a network takes per voxel of a window."""
    if isinstance(recipe.network, FusedUNetSpec):
        return 4e-7 * width_factor(recipe.network.base_channels)
    known = recipe.network.window_seconds
    return UNMEASURED if known is None else known / math.prod(recipe.window)


def _seen(backbone: BackboneSpec) -> float:
    """Return the seconds that a backbone takes per voxel."""
    return {"none": 0.0, "raw": 5e-8, "filterbank": 4e-7}.get(backbone.name, 1e-5)


def width_factor(base_channels: int) -> float:
    """Return the time of a network relative to one with 16 channels."""
    return max(0.5, (base_channels / 16) ** 2)


def cost(stage: Stage, work: Work | TileWork, rates: Rates | None = None) -> Cost:
    """Return the cost of one job of a stage.

    Parameters
    ----------
    stage : Stage
        A stage of samples, or one that makes phantoms.
    work : Work or TileWork
        The sample.
    rates : Rates, optional
        Measured rates; by default reference rates of two CPU cores.
    """
    return stage.cost(work, rates or reference_rates(work.recipe))
