"""Refinement: the same bands in better quality, of tiles or of a mosaic (one large image)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.stage import Caption, Output, Stage, Wildcards, reads_source
from parafovea.chain.tile_stages import LEDGER, QUARANTINE, measure_tiles, render_tiles
from parafovea.chain.tile_stages import STAGES as TILE_STAGES
from parafovea.chain.volume_stages import (
    PREDICTION,
    REFLECTANCE,
    VOLUME,
    ranges_of,
    source_waits,
)
from parafovea.kinds.kind import Kind
from parafovea.storage import layout
from parafovea.storage.blocks import EXPORTED_SIDE

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work
    from parafovea.settings.recipe import Recipe


def _check(recipe: Recipe) -> None:
    """Raise `ValueError` if bands, normalization and output do not fit together."""
    if recipe.normalization.method != "none":
        raise ValueError(
            "a refinement keeps the values of its input, but normalization.method is "
            f"{recipe.normalization.method}: set it to none"
        )
    missing = [name for name in recipe.classes if name not in recipe.bands]
    if recipe.residual and missing:
        raise ValueError(
            f"a residual requires the output's bands in the input, but {', '.join(missing)} "
            f"is not among its bands ({', '.join(recipe.bands) or 'none'}): add it to `bands`, "
            "or set residual: false"
        )
    if recipe.residual and not recipe.raw_input:
        raise ValueError("a residual is added to the input: set raw_input: true")


def _exporting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "source": project.source(sample),
        "metadata": project.samples[sample].metadata,
        **ranges_of(project.recipe(sample)),
    }


def _export_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a block of the mosaic and of its prediction."""
    bands = len(work.recipe.bands) + len(work.recipe.classes)
    voxels = work.source.size + work.volume.size
    return Cost(PLAIN + 24 * bands * EXPORTED_SIDE**2, bands * voxels / 2e7)


def _stored(work: Work) -> int:
    """Return the bytes of the image; overviews add a third."""
    return 4 * REFLECTANCE * work.source.size * len(work.recipe.classes) // 3


export_mosaic = Stage(
    name="export_mosaic",
    step="postprocess",
    inputs={"volume": VOLUME, "prediction": PREDICTION},
    waits=source_waits,
    outputs={
        "mosaic": Output(layout.in_sample(layout.REFINED)),
        "tiles": Output(LEDGER, caption=Caption("ledger", "Tiles", "blocks of the mosaic")),
        "quarantine": Output(
            QUARANTINE, caption=Caption("quarantine", "Tiles", "tiles that cannot be used")
        ),
    },
    arguments=_exporting,
    reads=reads_source,
    extra="optical",
    cost=_export_cost,
    stored=_stored,
)

KIND = Kind(
    name="refinement",
    meaning="the same bands in better quality",
    scores="reflectances, or other values in the range 0 to 1",
    classes="the output's bands",
    residual=True,
    check_recipe=_check,
    stages={"volume": (export_mosaic, measure_tiles, render_tiles), "tiles": TILE_STAGES},
    results={"volume": layout.REFINED, "tiles": layout.TILES},
    on_source_grid=True,
    banded=True,
    metrics="parafovea.quality.kind_metrics:refinement_metrics",
    tile_measures="parafovea.quality.tiles.refined:RefinedTiles",
    objective="parafovea.training.objectives.refinement:RefinementObjective",
    cohort_page={
        "volume": "parafovea.report.tiles.refined_report:cohort_view",
        "tiles": "parafovea.report.tiles.refined_report:cohort_view",
    },
    images_are_tiles=True,
)
