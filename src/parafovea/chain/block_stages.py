"""Stages of volumes in several blocks: a job a block, and short jobs that join their parts.

Each does the work of a stage in `volume_stages`, whose function it calls, on one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parafovea.chain import volume_stages as whole
from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.division import Division
from parafovea.chain.stage import Output, Stage, Wildcards, nothing_stored, reads_source
from parafovea.storage import layout
from parafovea.storage.blocks import COARSE_SHARD, SCANNED_VOXELS

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work

#: Seconds that joining a part takes, and memory of joining in bytes per part.
JOINED, JOINED_BYTES = 0.2, 2e4

#: Values of the last divided level of a pyramid that become coarser ones, per second.
LEVELLED = 1e8

#: Memory of the counts of a pass over a source, in bytes.
COUNTED = 10e6

VOLUME_PART = layout.in_sample(layout.BLOCKS, "volume", "{block}.zarr")
COUNTS = layout.in_sample(layout.BLOCKS, "scan", "{scan}", "{block}.npz")
ALL_COUNTS = layout.in_sample(layout.BLOCKS, "scan", "{scan}.npz")
FEATURES_PART = layout.in_sample(layout.BLOCKS, "features", "{block}.zarr")
CONTEXT_PART = layout.in_sample(layout.BLOCKS, "context", "{block}.zarr")
VIEW_FEATURES_PART = layout.in_sample(
    layout.BLOCKS, "views", "{augmentation}", "features", "{block}.zarr"
)
VIEW_CONTEXT_PART = layout.in_sample(
    layout.BLOCKS, "views", "{augmentation}", "context", "{block}.zarr"
)
PREDICTION_PART = layout.in_sample(layout.BLOCKS, "prediction", "{block}.zarr")


def part(path: str) -> Output:
    """Return a part of an array as an output."""
    return Output(path, folder=True, part=True)


def block_jobs(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of a job per block."""
    return [{"block": str(block)} for block in range(1, division.blocks + 1)]


def parts_of(path: str) -> Callable[[Project, Wildcards], list[str]]:
    """Return a place: the files of all blocks, whose path has the wildcard `block`."""

    def paths(project: Project, wildcards: Wildcards) -> list[str]:
        blocks = project.division(wildcards["sample"]).blocks
        return _numbered(path, project, wildcards, blocks)

    return paths


def _context_parts(path: str) -> Callable[[Project, Wildcards], list[str]]:
    def paths(project: Project, wildcards: Wildcards) -> list[str]:
        blocks = project.division(wildcards["sample"]).context_blocks
        return _numbered(path, project, wildcards, blocks)

    return paths


def _numbered(path: str, project: Project, wildcards: Wildcards, count: int) -> list[str]:
    places = [path.format_map({**wildcards, "block": str(n)}) for n in range(1, count + 1)]
    return [f"{project.settings.results}/{place}" for place in places]


def of_block(arguments: dict[str, Any], wildcards: Wildcards, blocks: int) -> dict[str, Any]:
    """Return the arguments of a stage's function for one block."""
    return {**arguments, "block": int(wildcards["block"]), "blocks": blocks}


def of_each(function: Callable[[Work, Rates], Cost]) -> Callable[[Work, Rates], Cost]:
    """Return the cost of a job per block, from that of a job for all blocks."""

    def shared(work: Work, rates: Rates) -> Cost:
        taken = function(work, rates)
        return Cost(taken.memory, taken.seconds / work.blocks)

    return shared


def join_cost(work: Work, _: Rates) -> Cost:
    """Return the cost of linking the files of all parts."""
    return Cost(PLAIN + JOINED_BYTES * work.blocks, JOINED * work.blocks)


def joined_levels(voxels: int, channels: int) -> Cost:
    """Return the cost of making the coarser levels of an array from its last divided one."""
    held = channels * 8 * math.prod(COARSE_SHARD)
    return Cost(6.0 * held, channels * voxels / 4**3 / LEVELLED)


def _with_levels(joined: Cost, levels: Cost) -> Cost:
    return Cost(joined.memory + levels.memory, joined.seconds + levels.seconds)


def _join_prediction_cost(work: Work, rates: Rates) -> Cost:
    levels = joined_levels(math.prod(work.predicted), len(work.recipe.classes))
    return _with_levels(join_cost(work, rates), levels)


def _earlier_scans(project: Project, wildcards: Wildcards) -> list[str]:
    return _scans(project, wildcards["sample"], int(wildcards["scan"]) - 1)


def _all_scans(project: Project, wildcards: Wildcards) -> list[str]:
    sample = wildcards["sample"]
    return _scans(project, sample, project.division(sample).passes)


def _scans(project: Project, sample: str, passes: int) -> list[str]:
    filled = [ALL_COUNTS.format(sample=sample, scan=number) for number in range(1, passes + 1)]
    return [f"{project.settings.results}/{path}" for path in filled]


def _scan_jobs(division: Division) -> Sequence[Wildcards]:
    passes = range(1, division.passes + 1)
    return [{"scan": str(number), **job} for number in passes for job in block_jobs(division)]


def _merge_jobs(division: Division) -> Sequence[Wildcards]:
    return [{"scan": str(number)} for number in range(1, division.passes + 1)]


def _scanning(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    given = whole.resampling(project, wildcards)
    kept = {name: given[name] for name in given if name not in ("nonfinite", "find_body")}
    return of_block(kept, wildcards, project.division(sample).blocks)


def _resampling(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    blocks = project.division(wildcards["sample"]).blocks
    return of_block(whole.resampling(project, wildcards), wildcards, blocks)


def _joining_volume(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    given = whole.resampling(project, wildcards)
    names = ("source", "metadata", "spacing", "unit", "channels", "find_body")
    return {name: given[name] for name in names}


def _scan_cost(work: Work, _: Rates) -> Cost:
    page = work.source.shape[1] * work.source.shape[2]
    counted = COUNTED * work.recipe.channels
    memory = PLAIN + counted + 24 * min(work.source.size, SCANNED_VOXELS) + 16 * page
    return Cost(memory, work.recipe.channels * work.source.size / 3e7 / work.blocks)


def _merge_cost(work: Work, _: Rates) -> Cost:
    channels = work.recipe.channels
    return Cost(PLAIN + COUNTED * channels, 0.02 * channels * work.blocks)


def _join_volume_cost(work: Work, rates: Rates) -> Cost:
    levels = joined_levels(work.volume.size, work.recipe.channels)
    joined = _with_levels(join_cost(work, rates), levels)
    if not work.recipe.skips_empty:
        return joined
    found = whole.body_cost(work)
    return Cost(joined.memory + found.memory, joined.seconds + found.seconds)


scan_block = Stage(
    name="scan_block",
    step="resample",
    blockwise=True,
    inputs={"scans": _earlier_scans},
    waits=whole.source_waits,
    outputs={"counts": Output(COUNTS, part=True)},
    arguments=_scanning,
    reads=reads_source,
    jobs=_scan_jobs,
    cost=_scan_cost,
)


merge_scan = Stage(
    name="merge_scan",
    step="resample",
    blockwise=True,
    inputs={"parts": parts_of(COUNTS)},
    outputs={"counts": Output(ALL_COUNTS, part=True)},
    jobs=_merge_jobs,
    cost=_merge_cost,
)

resample_volume_block = replace(
    whole.resample_volume,
    name="resample_volume_block",
    function="resample_volume",
    blockwise=True,
    inputs={"scans": _all_scans},
    outputs={"volume": part(VOLUME_PART)},
    arguments=_resampling,
    jobs=block_jobs,
    cost=of_each(whole.resample_cost),
    stored=nothing_stored,
    stores="",
)

join_volume = replace(
    whole.resample_volume,
    name="join_volume",
    blockwise=True,
    inputs={"parts": parts_of(VOLUME_PART)},
    arguments=_joining_volume,
    cost=_join_volume_cost,
)


def _extraction(
    arguments: Callable[[Project, Wildcards], dict[str, Any]], *, context: bool
) -> Callable[[Project, Wildcards], dict[str, Any]]:
    def of_one(project: Project, wildcards: Wildcards) -> dict[str, Any]:
        division = project.division(wildcards["sample"])
        blocks = division.context_blocks if context else division.blocks
        return of_block(arguments(project, wildcards), wildcards, blocks)

    return of_one


def _feature_jobs(division: Division) -> Sequence[Wildcards]:
    return block_jobs(division) if division.recipe.uses_features else []


def _context_jobs(division: Division) -> Sequence[Wildcards]:
    if division.recipe.context is None:
        return []
    return [{"block": str(block)} for block in range(1, division.context_blocks + 1)]


def _per_view(
    jobs: Callable[[Division], Sequence[Wildcards]],
) -> Callable[[Division], Sequence[Wildcards]]:
    def of_views(division: Division) -> Sequence[Wildcards]:
        return [{**view, **job} for view in whole.views(division) for job in jobs(division)]

    return of_views


def _context_cost(work: Work, rates: Rates) -> Cost:
    taken = whole.context_cost(work, rates)
    return Cost(taken.memory, taken.seconds / work.division.context_blocks)


extract_features_block = replace(
    whole.extract_features,
    name="extract_features_block",
    function="extract_features",
    blockwise=True,
    outputs={"features": part(FEATURES_PART)},
    arguments=_extraction(whole.local_view, context=False),
    jobs=_feature_jobs,
    cost=of_each(whole.features_cost),
    stored=nothing_stored,
    stores="",
)

join_features = Stage(
    name="join_features",
    step="features",
    blockwise=True,
    inputs={"parts": parts_of(FEATURES_PART)},
    outputs=whole.extract_features.outputs,
    jobs=whole.local_jobs,
    cost=join_cost,
    stored=whole.extract_features.stored,
    stores=whole.extract_features.stores,
)

extract_context_block = replace(
    whole.extract_context,
    name="extract_context_block",
    blockwise=True,
    outputs={"features": part(CONTEXT_PART)},
    arguments=_extraction(whole.wide_view, context=True),
    jobs=_context_jobs,
    cost=_context_cost,
    stored=nothing_stored,
    stores="",
)

join_context = replace(
    join_features,
    name="join_context",
    step="context",
    function="join_features",
    inputs={"parts": _context_parts(CONTEXT_PART)},
    outputs=whole.extract_context.outputs,
    jobs=whole.contexts,
    stored=whole.extract_context.stored,
    stores=whole.extract_context.stores,
)

extract_view_features_block = replace(
    extract_features_block,
    name="extract_view_features_block",
    outputs={"features": part(VIEW_FEATURES_PART)},
    jobs=_per_view(block_jobs),
)

join_view_features = replace(
    join_features,
    name="join_view_features",
    function="join_features",
    inputs={"parts": parts_of(VIEW_FEATURES_PART)},
    outputs=whole.extract_view_features.outputs,
    jobs=whole.views,
    stored=whole.extract_view_features.stored,
)

extract_view_context_block = replace(
    extract_context_block,
    name="extract_view_context_block",
    outputs={"features": part(VIEW_CONTEXT_PART)},
    jobs=_per_view(_context_jobs),
)

join_view_context = replace(
    join_context,
    name="join_view_context",
    inputs={"parts": _context_parts(VIEW_CONTEXT_PART)},
    outputs=whole.extract_view_context.outputs,
    jobs=whole.context_views,
    stored=whole.extract_view_context.stored,
)


def _block_sums(project: Project, wildcards: Wildcards) -> list[str]:
    """Return the shards that have sums of a block, so that others need not be there yet."""
    sample = wildcards["sample"]
    numbers = project.shards_of_block(sample, int(wildcards["block"]))
    folder = f"{project.folder(sample)}/{layout.SHARDS}"
    return [f"{folder}/{number}.zarr" for number in numbers]


def _blending(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    blocks = project.division(wildcards["sample"]).blocks
    return of_block(whole.blending(project, wildcards), wildcards, blocks)


blend_shards_block = replace(
    whole.blend_shards,
    name="blend_shards_block",
    function="blend_shards",
    blockwise=True,
    inputs={"shards": _block_sums},
    outputs={"prediction": part(PREDICTION_PART)},
    arguments=_blending,
    jobs=block_jobs,
    cost=of_each(whole.blend_cost),
    stored=nothing_stored,
    stores="",
)

join_prediction = Stage(
    name="join_prediction",
    step="blend",
    blockwise=True,
    inputs={"parts": parts_of(PREDICTION_PART)},
    outputs=whole.blend_shards.outputs,
    cost=_join_prediction_cost,
    stored=whole.blend_shards.stored,
    stores=whole.blend_shards.stores,
)
