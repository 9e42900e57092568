"""What a way of measuring tiles has to offer: the names of its metrics, and its scorer.

`parafovea.quality.tiles.refined` and `parafovea.quality.tiles.segmented` are such ways. Stages
are given one by its reference. Nothing heavy is imported by these modules: the config reads them.
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

#: Metrics of every folder of tiles: how many, and of `clipped` the share of the input's values that
#: their scale put outside [0, 1], from 0 to 1.
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
        By the `tile_paths` of the measures; None where a metric is undefined.
    judged : bool
        Whether there is truth.
    pixels : int
        Pixels that counted.
    problem : str
        Why the truth of this tile cannot be used, so that it counts as a tile without; "" where
        there is none, or nothing is wrong with it.
    """

    values: Mapping[Path, float | None]
    judged: bool
    pixels: int
    problem: str = ""


class TileScorer(Protocol):
    """Scores tiles one by one, and keeps what all of them together need."""

    def score(self, entry: TileEntry) -> TileRow:
        """Read a tile and score it."""

    def totals(self, counts: Mapping[Path, Value]) -> dict[Path, Value]:
        """Return the metrics of all tiles, by the `folder_paths` of the measures.

        Parameters
        ----------
        counts : mapping of path to number
            Those of `COUNTS`.
        """

    def details(self) -> dict[str, Any]:
        """Return further entries of `quality.json` about all tiles."""


class TileMeasures(Protocol):
    """A way of measuring tiles.

    Parameters
    ----------
    classes : sequence of str
        All class names of the model, the background first, or the bands that it makes.
    bands : sequence of str
        That it takes.
    """

    #: As the record of `quality.json` names it.
    kind: ClassVar[str]
    #: The class that draws and describes such tiles: a `parafovea.report.tiles.tile_report`.
    report: ClassVar[Reference]

    def __init__(self, classes: Sequence[str], bands: Sequence[str]) -> None: ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Bands of the results; empty where they are classes."""

    @property
    def tile_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of one tile, in the order of `tile_quality.tsv`."""

    @property
    def folder_paths(self) -> tuple[Path, ...]:
        """Paths of the metrics of a folder of tiles, in the order of `quality.tsv`."""

    def scorer(self, files: TileFiles) -> TileScorer:
        """Return what scores the tiles that `files` reads."""


def tile_measures(
    reference: Reference, *, classes: Sequence[str], bands: Sequence[str]
) -> TileMeasures:
    """Return the way of measuring the tiles of a model.

    Parameters
    ----------
    reference : str
        Of the class, such as "parafovea.quality.tiles.refined:RefinedTiles".
    classes, bands
        As for `TileMeasures`.
    """
    measures: TileMeasures = resolve(reference)(tuple(classes), tuple(bands))
    return measures
