"""Scores of refined tiles and their totals, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parafovea.formats.tiles.ledger import TileEntry
from parafovea.quality.metrics import Path, Value
from parafovea.quality.tiles import image_metrics
from parafovea.quality.tiles.measures import TileRow
from parafovea.quality.tiles.refined import (
    COMPARISONS,
    FOLDER_PATHS,
    GAINS,
    HELD_BACK,
    TILE_PATHS,
    measures_of,
)
from parafovea.quality.tiles.targets import TARGETS
from parafovea.quality.tiles.tile_arrays import TileFiles, read_truth

Array = np.ndarray[Any, Any]

#: Trust below which a change counts as held back.
HALF = 0.5


@dataclass(frozen=True, slots=True)
class TileScore:
    """Metrics of one tile, and its contribution to the totals.

    Parameters
    ----------
    values : dict
        Values by the paths of `TILE_PATHS`; None if a metric is undefined for this tile.
    sums : dict
        Squared error and number of values, by comparison and "rmse" or "ndvi_rmse".
    pixels : int
        Number of pixels included.
    """

    values: dict[Path, float | None]
    sums: dict[tuple[str, str], tuple[float, int]]
    pixels: int

    @property
    def flat(self) -> frozenset[str]:
        """The comparisons that were made without an edge to compare."""
        made = {name for name, _ in self.sums}
        return frozenset(n for n in made if self.values[n, "edge_correlation"] is None)


def score_tile(
    refined: Array,
    source: Array | None,
    truth: Array | None,
    valid: Array | None = None,
    trust: Array | None = None,
) -> TileScore:
    """Score a refined tile against its input and the truth.

    Parameters
    ----------
    refined : (band, y, x) float
        Reflectance in [0, 1], bands as `parafovea.quality.tiles.image_metrics.BANDS`.
    source, truth : (band, y, x) float, optional
        Of the same shape; metrics that need a missing one are None. Pixels with a value that is
        not finite in any band are excluded.
    valid : (y, x) bool, optional
        Pixels to include; all by default.
    trust : (y, x) float, optional
        Share of the network's change of brightness that was made, in [0, 1].

    Returns
    -------
    TileScore
        Scores for all paths of `TILE_PATHS`.
    """
    known = [each for each in (refined, source, truth) if each is not None]
    # a pixel is included in all comparisons or in none, so that their metrics are comparable
    inside = np.logical_and.reduce([np.isfinite(each).all(axis=0) for each in known])
    if valid is not None:
        inside &= valid
    chosen = None if inside.all() else inside
    values: dict[Path, float | None] = dict.fromkeys(TILE_PATHS)
    sums = {}
    pairs: dict[str, tuple[Array | None, Array | None]] = {
        "preservation": (refined, source),
        "accuracy": (refined, truth),
        "accuracy_input": (source, truth),
    }
    for name in COMPARISONS:
        image, reference = pairs[name]
        if image is None or reference is None or not inside.any():
            continue
        for path, value in _compared(image, reference, chosen, truth=name != "preservation"):
            values[(name, *path)] = value
        sums[name, "rmse"] = image_metrics.squared_error(image, reference, chosen)
        sums[name, "ndvi_rmse"] = image_metrics.squared_error(
            image_metrics.ndvi(image), image_metrics.ndvi(reference), chosen
        )
    for path in GAINS[:2]:
        after, before = (values[name, path[1]] for name in ("accuracy", "accuracy_input"))
        values[path] = None if after is None or before is None else after - before
    if trust is not None and inside.any():
        values[HELD_BACK] = float((trust[inside] < HALF).mean())
    return TileScore(values, sums, int(inside.sum()))


def _compared(
    image: Array, reference: Array, valid: Array | None, *, truth: bool
) -> list[tuple[Path, float | None]]:
    bands = image[image_metrics.NIR], reference[image_metrics.NIR]
    bias = image_metrics.band_bias(image, reference, valid)
    found: list[tuple[Path, float | None]] = [
        (("ndvi_rmse",), image_metrics.ndvi_rmse(image, reference, valid)),
        (("ndvi_rmse_bright",), image_metrics.bright_ndvi_rmse(image, reference, valid)),
        (("edge_correlation",), image_metrics.edge_correlation(*bands, valid)),
        (("edge_displacement",), image_metrics.edge_displacement(*bands, valid)),
        (("evi_rmse",), image_metrics.evi_rmse(image, reference, valid)),
        (("spectral_angle",), image_metrics.spectral_angle(image, reference, valid)),
        (("rmse",), image_metrics.rmse(image, reference, valid)),
    ]
    if bias is not None:
        found += [(("bias", n), value) for n, value in zip(image_metrics.BANDS, bias, strict=True)]
    if truth:
        found.append((("psnr",), image_metrics.psnr(image, reference, valid)))
        found.append((("ssim",), image_metrics.ssim(image, reference, valid)))
    return found


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float, count: int = 1) -> None:
        self.total += value
        self.count += count

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class TileTally:
    """Totals over all tiles, accumulated tile by tile."""

    _means: dict[Path, _Mean] = field(default_factory=dict)
    _sums: dict[tuple[str, str], _Mean] = field(default_factory=dict)
    _flat: dict[str, int] = field(default_factory=dict)

    def add(self, score: TileScore) -> None:
        """Add a tile."""
        for path, value in score.values.items():
            if value is not None:
                self._mean(path).add(value)
                self._judge(path, value)
        for key, (squares, count) in score.sums.items():
            self._sums.setdefault(key, _Mean()).add(squares, count)
        for name in {name for name, _ in score.sums}:
            self._flat[name] = self._flat.get(name, 0) + (name in score.flat)
        after, before = (score.values[n, "rmse"] for n in ("accuracy", "accuracy_input"))
        if after is not None and before is not None:
            self._mean(("gain", "improved")).add(float(after < before))

    def _mean(self, path: Path) -> _Mean:
        return self._means.setdefault(path, _Mean())

    def _judge(self, path: Path, value: float) -> None:
        if path[0] in COMPARISONS and path[1] in TARGETS:
            met = TARGETS[path[1]].met(value)
            self._mean((path[0], "target_met", path[1])).add(float(met))

    def values(self, counts: Mapping[Path, Value]) -> dict[Path, Value]:
        """Return the metrics of all tiles, keyed by the paths of `FOLDER_PATHS`.

        Parameters
        ----------
        counts : mapping of path to int
            Further counts besides the scores.
        """
        values: dict[Path, Value] = dict.fromkeys(FOLDER_PATHS)
        values |= {path: mean.value for path, mean in self._means.items()}
        for (name, measure), mean in self._sums.items():
            pooled = None if mean.value is None else math.sqrt(mean.value)
            values[name, "pooled", measure] = pooled
            if measure == "rmse" and ("psnr",) in measures_of(name):
                values[name, "pooled", "psnr"] = image_metrics.psnr_of(pooled)
        values |= {(name, "flat_tiles"): count for name, count in self._flat.items()}
        return values | dict(counts)


class RefinedScorer:
    """Scores refined tiles; see `TileScorer`.

    Parameters
    ----------
    files : TileFiles
        Reads the tiles.
    """

    def __init__(self, files: TileFiles) -> None:
        self._files = files
        self._tally = TileTally()

    def score(self, entry: TileEntry) -> TileRow:
        """Read a tile and score it."""
        source = self._files.read_input(entry)
        refined = self._files.read_refined(entry)
        truth, problem = read_truth(self._files.read_optical_truth, entry)
        if truth is not None and not np.isfinite(truth).all(axis=0).any():
            truth = None  # a block of a mosaic whose truth has a gap here
        # a radar image has no colours to compare, but its gaps are excluded
        valid = np.asarray(np.isfinite(source).all(axis=0))
        trust = self._files.read_trust(entry)
        score = score_tile(refined, source if self._files.optical else None, truth, valid, trust)
        self._tally.add(score)
        return TileRow(score.values, truth is not None, score.pixels, problem)

    def totals(self, counts: Mapping[Path, Value]) -> dict[Path, Value]:
        """Return the metrics of all tiles."""
        return self._tally.values(counts)

    def details(self) -> dict[str, Any]:
        """Return an empty dict, since there are no entries besides the metrics."""
        return {}
