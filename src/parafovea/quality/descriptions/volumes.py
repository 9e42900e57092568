"""Metrics of every volume."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.quality.descriptions.description import Description, count, share

VOLUMES: Mapping[str, Description] = {
    "coverage.minimum_weight": Description(
        "Smallest blending weight",
        "",
        "Smallest sum of the weights of all windows over a voxel; 0 where no window covers it.",
        0.0,
        None,
    ),
    "coverage.uncovered_voxels": count(
        "Voxels without a prediction", "voxels", "Voxels that no window covers.", "lower"
    ),
    "coverage.padded_context": share(
        "Context beyond the volume",
        "Share of the windows' context that lies outside of the volume and is mirrored.",
        "",
    ),
    "coverage.skipped_windows": share(
        "Windows skipped as empty",
        "Share of the windows without body, whose prediction is background.",
        "",
    ),
    "memory.fallbacks": count(
        "Memory fallbacks",
        "steps",
        "How often memory ran out, so that a smaller batch or the CPU was used.",
        "lower",
    ),
    "memory.smallest_batch": count(
        "Smallest batch", "windows", "Smallest number of windows that were computed together."
    ),
    "memory.cpu_shards": count(
        "Shards on the CPU for lack of memory",
        "shards",
        "Shards that a GPU had no memory for.",
        "lower",
    ),
}
