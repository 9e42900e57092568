"""Stages of a folder of tiles, including measurement and report, which mosaics share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, TORCH, Cost, Rates
from parafovea.chain.stage import (
    AncientPath,
    Caption,
    Output,
    Paths,
    Stage,
    Wildcards,
    reads_both,
    reads_source,
)
from parafovea.chain.volume_stages import inference_settings, model_files, ranges_of, shard_jobs
from parafovea.storage import layout
from parafovea.storage.blocks import BATCHES_AHEAD, BATCHES_WAITING, MEASURED_SIDE

if TYPE_CHECKING:
    from parafovea.config.project import Project, TilePart
    from parafovea.planning.work import TileWork, Work

#: Bytes per pixel and band of a tile that was prefetched or waits to be written.
TILE_BYTES = 12

SHARE = layout.in_sample(layout.SHARDS, "{shard}.tsv")
LEDGER = layout.in_sample(layout.LEDGER)
QUARANTINE = layout.in_sample(layout.QUARANTINE)
QUALITY = layout.in_sample(layout.QUALITY)
QUALITY_TABLE = layout.in_sample(layout.QUALITY_TABLE)
TILE_QUALITY = layout.in_sample(layout.TILE_QUALITY)
PAGE = layout.in_sample(layout.PAGE)
FIGURES = layout.in_sample(layout.FIGURES)
THUMBNAIL = layout.in_sample(layout.THUMBNAIL)


def tile_waits(project: Project, sample: str, what: TilePart) -> list[str]:
    """Return what a stage that reads tiles depends on: a sample's source or truth.

    The modification time of a folder that exists before the run is ignored: a hash of its content
    is among the arguments instead.
    """
    found: list[str] = project.files(sample)[what]
    if project.tile_folder(sample, what) is None:
        return found
    return [AncientPath(path) for path in found]


def _waits(project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    files = project.files(sample)
    return [
        *tile_waits(project, sample, "source"),
        *files["metadata"],
        *model_files(project, wildcards),
        *project.weight_files(sample),
        *project.weight_files(sample, context=True),
    ]


def _source_content(project: Project, wildcards: Wildcards) -> str:
    return project.tile_content(wildcards["sample"], "source")


def _truth_content(project: Project, wildcards: Wildcards) -> str:
    return project.tile_content(wildcards["sample"], "truth")


def _predicting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    task = project.task(sample)
    return {
        "source": project.source(sample),
        "metadata": project.samples[sample].metadata,
        "model": task.model,
        "settings": inference_settings(project, sample),
        "shard": int(wildcards["shard"]),
        "overwrite": task.tiles.overwrite,
    }


def _predict_cost(work: TileWork, rates: Rates) -> Cost:
    """Return the cost of holding a few batches of the largest tiles."""
    recipe, batch = work.recipe, work.inference.batch_size
    seen = work.pixels * rates.features
    if recipe.context is not None:
        ratio = [c / s for c, s in zip(recipe.context.spacing, recipe.spacing, strict=True)]
        seen += work.pixels * rates.context / max(1.0, ratio[1] * ratio[2])
    bands = len(recipe.bands) + len(recipe.classes)
    memory = TORCH + work.backbone_memory
    memory += (
        (BATCHES_AHEAD + BATCHES_WAITING) * batch * bands * TILE_BYTES * math.prod(work.largest)
    )
    memory += batch * work.window_bytes
    views = work.inference.views
    return Cost(memory, views * (seen + work.computed * rates.network) + 2e-3 * work.count)


predict_tiles = Stage(
    name="predict_tiles",
    step="tiles",
    waits=_waits,
    outputs={"ledger": Output(SHARE)},
    # finished tiles are skipped, but Snakemake would empty a folder that is an output
    beside=(layout.in_sample(layout.TILES),),
    beside_is_there="parafovea.formats.tiles.ledger:results_are_there",
    arguments=_predicting,
    content=_source_content,
    reads=reads_source,
    device="gpu",
    jobs=shard_jobs,
    cost=_predict_cost,
    stored=lambda work: work.result_bytes * work.pixels,
    stores="tiles",
    states_code=True,
)


def _shares(project: Project, wildcards: Wildcards) -> Paths:
    sample = wildcards["sample"]
    folder = f"{project.folder(sample)}/{layout.SHARDS}"
    return [f"{folder}/{shard}.tsv" for shard in range(1, project.shards(sample) + 1)]


def _collecting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    return {"strict": project.task(wildcards["sample"]).tiles.strict}


def _collect_cost(work: TileWork, _: Rates) -> Cost:
    """Return the cost of holding a row for each tile."""
    return Cost(PLAIN + 1e4 * work.count, 1e-3 * work.count)


collect_tiles = Stage(
    name="collect_tiles",
    step="tiles",
    inputs={"ledgers": _shares},
    outputs={
        "tiles": Output(LEDGER, caption=Caption("ledger", "Tiles", "finished tiles")),
        "quarantine": Output(
            QUARANTINE, caption=Caption("quarantine", "Tiles", "tiles that cannot be used")
        ),
    },
    arguments=_collecting,
    cost=_collect_cost,
)


def _judging_waits(project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    # a mosaic's blocks are read from the image itself, written together with its ledger
    result = f"{project.folder(sample)}/{layout.REFINED}"
    blocks = [result] if project.layout(sample) == "volume" else []
    return [
        *blocks,
        *tile_waits(project, sample, "source"),
        *tile_waits(project, sample, "truth"),
        *project.files(sample)["metadata"],
    ]


def _judging(project: Project, sample: str) -> dict[str, Any]:
    """Return the arguments that `measure_tiles` and `render_tiles` share."""
    recipe = project.recipe(sample)
    return {
        "truth": project.truth(sample),
        "measures": project.kind(sample).tile_measures,
        "classes": list(recipe.classes),
        "bands": list(recipe.bands),
        **ranges_of(recipe),
        "metadata": project.samples[sample].metadata,
    }


def _measuring(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "source": project.source(sample),
        **_judging(project, sample),
        "limits": project.limits(sample),
    }


def _as_tiles(work: Work | TileWork) -> TileWork:
    """Return a mosaic as the tiles in which it is measured and drawn; tiles unchanged."""
    return work.in_tiles(MEASURED_SIDE)


def _measure_cost(work: Work | TileWork, _: Rates) -> Cost:
    """Return the cost of holding one tile with its result and its truth."""
    tiles = _as_tiles(work)
    return Cost(PLAIN + 200 * math.prod(tiles.largest), tiles.pixels / 1e6 + 5e-3 * tiles.count)


measure_tiles = Stage(
    name="measure_tiles",
    step="quality",
    inputs={"ledger": LEDGER, "quarantine": QUARANTINE},
    waits=_judging_waits,
    outputs={
        "quality": Output(QUALITY),
        "table": Output(QUALITY_TABLE, caption=Caption("quality", "Quality", "metrics")),
        "tiles": Output(
            TILE_QUALITY, caption=Caption("tile_quality", "Quality", "metrics of each tile")
        ),
    },
    arguments=_measuring,
    content=_truth_content,
    reads=reads_both,
    references=("measures",),
    cost=_measure_cost,
)


def _rendering(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "sample": sample,
        **_judging(project, sample),
        "settings": project.block(sample, "tile_report"),
    }


def _render_cost(work: Work | TileWork, _: Rates) -> Cost:
    """Return the cost of holding the tiles shown and a row for each of the others."""
    tiles = _as_tiles(work)
    memory = PLAIN + 2000 * math.prod(tiles.largest) + 1e4 * tiles.count
    return Cost(memory, 30 + 1e-3 * tiles.count)


render_tiles = Stage(
    name="render_tiles",
    step="report",
    inputs={
        "ledger": LEDGER,
        "quarantine": QUARANTINE,
        "quality": QUALITY,
        "metrics": QUALITY_TABLE,
        "tiles": TILE_QUALITY,
    },
    waits=_judging_waits,
    outputs={
        "html": Output(PAGE, caption=Caption("page", "Reports", "report of the sample")),
        "thumbnail": Output(THUMBNAIL),
        "figures": Output(
            FIGURES,
            folder=True,
            caption=Caption("tiles", "Tiles", "{figure}", patterns=("{figure}.png",)),
        ),
    },
    arguments=_rendering,
    content=_truth_content,
    reads=reads_both,
    references=("measures",),
    cost=_render_cost,
)

#: In execution order.
STAGES = (predict_tiles, collect_tiles, measure_tiles, render_tiles)
