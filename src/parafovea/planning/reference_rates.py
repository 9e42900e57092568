"""How fast a model's work is on two CPU cores, where nothing was measured on the machine at hand.

What the jobs of a stage take is part of its declaration in `parafovea.chain` and
`parafovea.kinds`. Rates of features and of the network can be measured (`planning.measure`); those
of other work are rounded from runs on two CPU cores; that of `dinov3` is an estimate, and so are
those of detections.
"""

from __future__ import annotations

from parafovea.chain.cost import Cost, Rates
from parafovea.chain.stage import Stage
from parafovea.planning.work import TileWork, Work
from parafovea.settings.recipe import BackboneSpec, Recipe


def reference_rates(recipe: Recipe) -> Rates:
    """Return rates as of two CPU cores, for models whose own were not measured."""
    wide = recipe.backbone if recipe.context is None else recipe.context.backbone
    return Rates(
        features=_seen(recipe.backbone),
        context=_seen(wide),
        network=4e-7 * width_factor(recipe.network.base_channels),
    )


def _seen(backbone: BackboneSpec) -> float:
    """Return the seconds that a backbone takes for a voxel."""
    return {"raw": 5e-8, "filterbank": 4e-7, "dinov3": 1e-5}[backbone.name]


def width_factor(base_channels: int) -> float:
    """Return how much longer a network takes than one of 16 channels."""
    return max(0.5, (base_channels / 16) ** 2)


def cost(stage: Stage, work: Work | TileWork, rates: Rates | None = None) -> Cost:
    """Return what one job of a stage takes.

    Parameters
    ----------
    stage : Stage
        Any of a sample, or one that makes a phantom.
    work : Work or TileWork
        The sample.
    rates : Rates, optional
        Measured ones; those of two CPU cores by default.
    """
    return stage.cost(work, rates or reference_rates(work.recipe))
