"""Names of the metrics of a folder of tiles: those of one tile, and those of all together.

Three comparisons have the same metrics: `preservation` is the result against its own input,
`accuracy` the result against the truth, `accuracy_input` the input against the truth, so that one
sees what was gained. Nothing heavy is imported here: the config reads this, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parafovea.formats.bands import OPTICAL
from parafovea.quality.metrics import OVERALL, OVERLAP, Path, metric_name

TileKind = Literal["refinement", "segmentation"]

COMPARISONS = ("preservation", "accuracy", "accuracy_input")

#: Bands that have a bias, as `parafovea.quality.tiles.image_metrics.BANDS`.
BIASED = OPTICAL

#: Of a tile in each comparison; lengths in pixels, angles in degrees.
MEASURES: tuple[Path, ...] = (
    ("ndvi_rmse",),
    ("edge_correlation",),
    ("edge_displacement",),
    ("evi_rmse",),
    ("spectral_angle",),
    ("rmse",),
    *(("bias", band) for band in BIASED),
)

#: The same where the reference is the truth.
TRUTH_MEASURES: tuple[Path, ...] = (("psnr",), ("ssim",), *MEASURES)


@dataclass(frozen=True, slots=True)
class Target:
    """What a metric of a tile should be.

    Parameters
    ----------
    sign : {"<", ">", "≤"}
        How the value should lie to the bound.
    bound : float
        In the metric's unit.
    """

    sign: Literal["<", ">", "≤"]
    bound: float

    def met(self, value: float) -> bool:
        """Tell whether a value is as it should be."""
        if self.sign == "<":
            return value < self.bound
        return value > self.bound if self.sign == ">" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


TARGETS: Mapping[str, Target] = {
    "ndvi_rmse": Target("<", 0.05),
    "edge_correlation": Target(">", 0.90),
    "edge_displacement": Target("≤", 2),
}

COUNTS: tuple[Path, ...] = tuple(
    ("tiles", name)
    for name in (
        *("in", "out", "quarantined", "month_assumed", "biome_assumed"),
        *("with_truth", "without_truth"),
    )
)

#: What a result gained on its input: decibels, similarity, and the share of tiles that came
#: closer to the truth.
GAINS: tuple[Path, ...] = (("gain", "psnr"), ("gain", "ssim"), ("gain", "improved"))


def measures_of(comparison: str) -> tuple[Path, ...]:
    """Return the metrics of a tile in a comparison, without the comparison's name."""
    return MEASURES if comparison == "preservation" else TRUTH_MEASURES


def tile_paths(kind: TileKind, classes: Sequence[str] = ()) -> tuple[Path, ...]:
    """Return the paths of the metrics of one tile, in the order of `tile_quality.tsv`.

    Parameters
    ----------
    kind : str
        Of the task.
    classes : sequence of str
        All class names of a segmentation, the background first.
    """
    if kind == "segmentation":
        return tuple(("iou", part) for part in (OVERALL, *classes))
    return (
        *((name, *measure) for name in COMPARISONS for measure in measures_of(name)),
        *GAINS[:2],
    )


def tile_names(kind: TileKind, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns that the metrics of a tile have: see `tile_paths`."""
    return tuple(metric_name(path) for path in tile_paths(kind, classes))


def folder_paths(kind: TileKind, classes: Sequence[str] = ()) -> tuple[Path, ...]:
    """Return the paths of the metrics of a folder of tiles, in the order of `quality.tsv`.

    Those of a tile are the means over the tiles that have one; `pooled` is over all pixels
    together, `target_met` the share of those tiles that meet a target of `TARGETS`, and
    `flat_tiles` counts those without an edge, in which edges cannot be compared.

    Parameters
    ----------
    kind, classes
        As for `tile_paths`.
    """
    if kind == "segmentation":
        overlap = ((metric, part) for metric in OVERLAP for part in (OVERALL, *classes))
        return (*COUNTS, *overlap, ("pixels",))
    return (*COUNTS, *(path for name in COMPARISONS for path in _comparison_paths(name)), *GAINS)


def _comparison_paths(name: str) -> tuple[Path, ...]:
    pooled = ("ndvi_rmse", "rmse") if name == "preservation" else ("ndvi_rmse", "rmse", "psnr")
    return (
        *((name, *measure) for measure in measures_of(name)),
        *((name, "pooled", measure) for measure in pooled),
        *((name, "target_met", measure) for measure in TARGETS),
        (name, "flat_tiles"),
    )


def folder_names(kind: TileKind, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the metrics of a folder of tiles, as limits use them."""
    return tuple(metric_name(path) for path in folder_paths(kind, classes))
