"""Heatmaps to learn from: hills where findings are, as high and as wide as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.errors import SourceError
from parafovea.geometry.grid import Box, Grid
from parafovea.training.heatmap_truth import FULL, Findings, heatmap, truth_findings

GRID = Grid((40, 48, 44), (2.0, 2.0, 2.0), (-30.0, 100.0, 7.0), unit="millimeter")


@dataclass(frozen=True)
class Labels:
    """A truth in memory."""

    grid: Grid
    values: np.ndarray[Any, Any]
    path: str = "truth.nii.gz"

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        return self.values[box.slices]


def ball(grid: Grid, centre: tuple[float, float, float], radius: float) -> np.ndarray[Any, Any]:
    """Return the voxels whose centres lie in a ball of world coordinates z, y, x."""
    axes = [o + s * np.arange(n) for o, s, n in zip(grid.origin, grid.spacing, grid.shape)]  # noqa: B905
    z, y, x = np.ix_(*(a - c for a, c in zip(axes, centre, strict=True)))
    return z**2 + y**2 + x**2 <= radius**2


@settings(max_examples=25)
@given(
    st.tuples(*[st.floats(0, 1)] * 3),
    st.floats(0.5, 16),
    st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 3),
)
def test_a_hill_is_half_high_on_the_outline_and_never_falls_between_voxels(
    shift: tuple[float, float, float], radius: float, spacing: tuple[float, float, float]
) -> None:
    grid = Grid((50, 50, 50), spacing, (5.0, -40.0, 0.0), unit="millimeter")
    centre = np.array(grid.world([24 + s for s in shift]))
    heat = heatmap(Findings(centre[None], np.array([radius])), grid)
    # Half of it is no whole byte: what is exactly as high may be rounded to either side.
    inside = heat >= FULL // 2
    assert inside.any()
    index = np.argwhere(np.ones(grid.shape, bool)).reshape(*grid.shape, 3)
    distance = np.linalg.norm(index * spacing + np.array(grid.origin) - centre, axis=-1)
    reached = max(radius, np.linalg.norm(spacing) / 2)
    # A step of bytes is less than this share of a radius at half height.
    assert inside[distance < 0.99 * reached].all()
    assert not inside[distance > 1.01 * reached].any()
    assert heat.flat[distance.argmin()] == heat.max()


def test_findings_are_measured_in_the_truths_own_voxels() -> None:
    fine = Grid((80, 80, 80), (1.0, 1.0, 1.0), (-30.5, 99.5, 6.5), unit="millimeter")
    labels = np.zeros(fine.shape, np.uint8)
    labels[ball(fine, (0.0, 120.0, 30.0), 9.0)] = 1
    labels[ball(fine, (20.5, 150.5, 50.5), 1.5)] = 1
    labels[ball(fine, (25.0, 120.0, 60.0), 5.0)] = 2
    nodules, nodes = truth_findings(Labels(fine, labels), classes=2, unit="millimeter")
    np.testing.assert_allclose(nodules.centre, [[0, 120, 30], [20.5, 150.5, 50.5]], atol=0.5)
    np.testing.assert_allclose(nodules.radius, [9, 1.5], rtol=0.15)
    np.testing.assert_allclose(nodes.centre, [[25, 120, 60]], atol=0.5)
    # Smaller than a voxel's diagonal, and still there.
    heat = heatmap(nodules, GRID)
    near = [tuple(voxel) for voxel in nodules.voxels(GRID)]
    assert [heat[voxel] >= FULL / 2 for voxel in near] == [True, True]


def test_the_same_findings_in_another_unit() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[10:14, 20:24, 20:24] = 1
    millimetres = truth_findings(Labels(GRID, labels), classes=1, unit="millimeter")[0]
    micrometres = truth_findings(Labels(GRID, labels), classes=1, unit="micrometer")[0]
    np.testing.assert_allclose(1000 * millimetres.centre, micrometres.centre)
    np.testing.assert_allclose(1000 * millimetres.radius, micrometres.radius)
    np.testing.assert_allclose(
        millimetres.centre[0], np.array(GRID.origin) + 2 * np.array([11.5, 21.5, 21.5])
    )


def test_a_saddle_stays_between_neighbours() -> None:
    grid = GRID
    one, other = grid.world((20, 20, 16)), grid.world((20, 20, 24))
    heat = heatmap(Findings(np.array([one, other]), np.array([8.0, 8.0])), grid)
    peaks = (heat == ndimage.maximum_filter(heat, 3)) & (heat > FULL / 2)
    assert ndimage.label(peaks, np.ones((3, 3, 3)))[1] == 2
    assert heat[20, 20, 20] == pytest.approx(FULL / 2, abs=1)


def test_a_truth_of_other_labels_is_refused() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[3, 3, 3] = 2
    with pytest.raises(SourceError, match=r"truth\.nii\.gz holds 2 .* classes are 0 to 1"):
        truth_findings(Labels(GRID, labels), classes=1, unit="millimeter")
