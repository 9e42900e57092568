"""Interface of tile measures: the names of their metrics, and their scorer.

Implemented by `parafovea.quality.tiles.refined` and `parafovea.quality.tiles.segmented`. Stages
are given one by reference. These modules import nothing slow, since the config reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from parafovea.kinds.reference import Reference, resolve
from parafovea.quality.metrics import Path, Value

if TYPE_CHECKING:
    from parafovea.formats.tiles.ledger import TileEntry
    from parafovea.quality.tiles.tile_arrays import TileFiles

#: Metrics of every folder of tiles: counts, and for `clipped` the share of input values that their
#: scale puts outside [0, 1], in [0, 1].
COUNTS: tuple[Path, ...] = tuple(
    ("tiles", name)
    for name in (
        *("in", "out", "quarantined", "month_assumed", "biome_assumed"),
        *("with_truth", "without_truth", "truth_invalid", "clipped"),
    )
)


@dataclass(frozen=True, slots=True)
class TileRow:
    """The metrics of one tile.

    Parameters
    ----------
    values : mapping of path to float or None
        Values by the `tile_paths` of the measures; None if a metric is undefined.
    judged : bool
        Whether the tile has truth.
    pixels : int
        Number of pixels included.
    problem : str
        Reason why the truth of this tile cannot be used, so that it counts as a tile without; ""
        if there is no truth, or it is valid.
    """

    values: Mapping[Path, float | None]
    judged: bool
    pixels: int
    problem: str = ""


class TileScorer(Protocol):
    """Scores tiles one by one, and accumulates the totals."""

    def score(self, entry: TileEntry) -> TileRow:
        """Read a tile and score it."""

    def totals(self, counts: Mapping[Path, Value]) -> dict[Path, Value]:
        """Return the metrics of all tiles, keyed by the `folder_paths` of the measures.

        Parameters
        ----------
        counts : mapping of path to number
            Values of `COUNTS`.
        """

    def details(self) -> dict[str, Any]:
        """Return further entries for `quality.json` about all tiles."""


class TileMeasures(Protocol):
    """Measures of a kind of tiles.

    Parameters
    ----------
    classes : sequence of str
        All class names of the model, background first, or the bands of its output.
    bands : sequence of str
        Bands of its input.
    """

    #: Name in the record of `quality.json`.
    kind: ClassVar[str]
    #: The class that draws and describes such tiles: a `parafovea.report.tiles.tile_report`.
    report: ClassVar[Reference]

    def __init__(self, classes: Sequence[str], bands: Sequence[str]) -> None: ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Bands of the results; empty if they are classes."""

    @property
    def tile_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of one tile, in the order of `tile_quality.tsv`."""

    @property
    def folder_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of a folder of tiles, in the order of `quality.tsv`."""

    def scorer(self, files: TileFiles) -> TileScorer:
        """Return a scorer for the tiles that `files` reads."""


def tile_measures(
    reference: Reference, *, classes: Sequence[str], bands: Sequence[str]
) -> TileMeasures:
    """Return the measures for the tiles of a model.

    Parameters
    ----------
    reference : str
        Reference to the class, such as "parafovea.quality.tiles.refined:RefinedTiles".
    classes, bands
        As for `TileMeasures`.
    """
    measures: TileMeasures = resolve(reference)(tuple(classes), tuple(bands))
    return measures
