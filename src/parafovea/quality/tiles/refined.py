"""Measures of refined tiles: comparisons with their input and with the truth.

Three comparisons have the same metrics: `preservation` compares the result with its own input,
`accuracy` the result with the truth, and `accuracy_input` the input with the truth, so that the
improvement can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from parafovea.formats.bands import OPTICAL
from parafovea.kinds.reference import Reference
from parafovea.quality.metrics import Path
from parafovea.quality.tiles.measures import COUNTS, TileScorer
from parafovea.quality.tiles.targets import TARGETS

if TYPE_CHECKING:
    from parafovea.quality.tiles.tile_arrays import TileFiles

COMPARISONS = ("preservation", "accuracy", "accuracy_input")

#: Metrics of a tile in each comparison; lengths in pixels, angles in degrees.
MEASURES: tuple[Path, ...] = (
    ("ndvi_rmse",),
    ("ndvi_rmse_bright",),
    ("edge_correlation",),
    ("edge_displacement",),
    ("evi_rmse",),
    ("spectral_angle",),
    ("rmse",),
    *(("bias", band) for band in OPTICAL),
)

#: Metrics of a comparison whose reference is the truth.
TRUTH_MEASURES: tuple[Path, ...] = (("psnr",), ("ssim",), *MEASURES)

#: Improvement of the result over its input: decibels, similarity, and the share of tiles that are
#: closer to the truth.
GAINS: tuple[Path, ...] = (("gain", "psnr"), ("gain", "ssim"), ("gain", "improved"))


#: Share of the pixels whose change of brightness was held back by more than half.
HELD_BACK: Path = ("held_back",)


def measures_of(comparison: str) -> tuple[Path, ...]:
    """Return the metrics of a tile in a comparison, without the comparison's name."""
    return MEASURES if comparison == "preservation" else TRUTH_MEASURES


def _comparison_paths(name: str) -> tuple[Path, ...]:
    pooled = ("ndvi_rmse", "rmse") if name == "preservation" else ("ndvi_rmse", "rmse", "psnr")
    return (
        *((name, *measure) for measure in measures_of(name)),
        *((name, "pooled", measure) for measure in pooled),
        *((name, "target_met", measure) for measure in TARGETS),
        (name, "flat_tiles"),
    )


#: Paths of the metrics of one tile, in the order of `tile_quality.tsv`.
TILE_PATHS: tuple[Path, ...] = (
    *((name, *measure) for name in COMPARISONS for measure in measures_of(name)),
    *GAINS[:2],
    HELD_BACK,
)

#: Paths of the metrics of a folder of tiles, in the order of `quality.tsv`. Those of a tile are
#: means over the tiles in which they are defined; `pooled` is over all pixels together,
#: `target_met` the share of those tiles that meet a target of `TARGETS`, and `flat_tiles` the
#: number of tiles without an edge, in which edges cannot be compared.
FOLDER_PATHS: tuple[Path, ...] = (
    *COUNTS,
    *(path for name in COMPARISONS for path in _comparison_paths(name)),
    *GAINS,
    HELD_BACK,
)


class RefinedTiles:
    """Reflectance, compared with the input and the truth; see `TileMeasures`."""

    kind: ClassVar[str] = "refinement"
    report: ClassVar[Reference] = "parafovea.report.tiles.refined_report:RefinedReport"

    def __init__(self, classes: Sequence[str], bands: Sequence[str]) -> None:
        self.outputs = tuple(classes)
        self.tile_paths = TILE_PATHS
        self.folder_paths = FOLDER_PATHS

    def scorer(self, files: TileFiles) -> TileScorer:
        """Return a scorer for the tiles that `files` reads."""
        # imports scikit-image, which the config does not need
        from parafovea.quality.tiles.refined_scores import RefinedScorer

        return RefinedScorer(files)
