"""The parts of a chest phantom: tubes, trees and lesions of exact size, and the body's frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.geometry.grid import Box, Grid
from parafovea_phantoms.chests.frame import Frame
from parafovea_phantoms.chests.lesions import draw_lesion, random_lesion
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.chests.trees import grow
from parafovea_phantoms.chests.tubes import Tubes
from parafovea_phantoms.lattice import Lattice


def lattice(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Lattice:
    return Lattice.over(Grid(shape, spacing, unit="millimeter"), length=1.0)


@settings(max_examples=30)
@given(
    point=st.tuples(*[st.floats(-200, 200)] * 3),
    scale=st.floats(0.7, 1.1),
    turn=st.floats(-0.2, 0.2),
)
def test_a_frame_finds_again_what_it_placed(
    point: tuple[float, float, float], scale: float, turn: float
) -> None:
    frame = Frame((150.0, 170.0, 180.0), scale, turn)
    placed = frame.placed(np.array([point]))
    back = frame.inside(tuple(placed[:, axis].astype(np.float32) for axis in range(3)))
    np.testing.assert_allclose(np.stack(back, axis=-1)[0], point, atol=1e-3)


@pytest.mark.parametrize("radius", [0.3, 0.8, 2.0, 6.0])
def test_a_tube_covers_its_volume_however_thin_it_is(radius: float) -> None:
    tube = Tubes.chain([[8.0, 20.3, 19.6], [42.0, 22.0, 21.7]], [radius, radius])
    covered = tube.coverage(lattice((50, 42, 42), (1.0, 1.0, 1.0)), Box.whole((50, 42, 42)), 1.0)
    length = math.dist((8.0, 20.3, 19.6), (42.0, 22.0, 21.7))
    exact = math.pi * radius**2 * length
    # Its ends are round, and a thin one's are as long as a voxel.
    ends = 4 / 3 * math.pi * max(radius, 0.5) ** 3 * min(1, radius**2 * math.pi)
    assert 0.9 * exact < covered.sum() < 1.15 * exact + 1.5 * ends


def test_a_tubes_coverage_does_not_depend_on_the_box_it_is_asked_for() -> None:
    tube = Tubes.chain([[3.0, 5.0, 4.0], [20.0, 30.0, 33.0], [5.0, 35.0, 12.0]], [2.0, 4.0, 0.5])
    known = lattice((24, 40, 40), (1.0, 1.1, 0.9))
    whole = tube.coverage(known, Box.whole((24, 40, 40)), 1.0)
    part = Box((7, 9, 11), (19, 33, 38))
    np.testing.assert_array_equal(tube.coverage(known, part, 1.0), whole[part.slices])


def test_a_tubes_distance_is_that_to_its_surface() -> None:
    tube = Tubes.chain([[20.0, 20.0, 0.0], [20.0, 20.0, 60.0]], [5.0, 5.0])
    known = lattice((41, 41, 61), (1.0, 1.0, 1.0))
    field = tube.distance(known, 30.0)
    z, y, _ = known.positions()
    exact = np.sqrt((z - 20) ** 2 + (y - 20) ** 2) - 5
    middle = field[:, :, 4:12]
    expected = np.broadcast_to(exact, field.shape)[:, :, 4:12]
    np.testing.assert_allclose(middle, np.minimum(expected, 30), atol=1e-4)


def test_a_tree_reaches_every_point_forks_in_two_and_tapers() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 80, size=(200, 3))
    tree = grow(rng, np.array([40.0, 40.0, -10.0]), points, tip=0.5)
    ends = tree.end[np.isclose(tree.last, 0.5)]
    away = np.sqrt(((points[:, None] - ends[None]) ** 2).sum(axis=-1)).min(axis=1)
    assert away.max() < 1e-9
    # n tips need n - 1 forks, and each branch is drawn as two pieces.
    assert len(tree) == 2 * (2 * len(points) - 1)
    assert np.all(tree.last <= tree.first + 1e-12)
    assert tree.first.max() == pytest.approx(0.5 * 200 ** (1 / 2.7))
    starts = {tuple(p) for p in tree.begin} - {tuple(p) for p in tree.end}
    assert starts == {(40.0, 40.0, -10.0)}


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    diameter=st.floats(6, 30),
    centre=st.tuples(*[st.floats(20.5, 21.5)] * 3),
)
def test_a_lesion_has_the_centre_and_the_volume_it_was_given(
    seed: int, diameter: float, centre: tuple[float, float, float]
) -> None:
    body = random_lesion(np.random.default_rng(seed), diameter, plain=0.0)
    object.__setattr__(body, "centre", centre)
    drawn = draw_lesion(body, lattice((43, 43, 43), (1.0, 1.0, 1.0)), within=Box.whole((43,) * 3))
    volume = float(drawn.share.sum(dtype=np.float64))
    assert (6 / math.pi * volume) ** (1 / 3) == pytest.approx(diameter, rel=0.01)
    found = np.array(ndimage.center_of_mass(drawn.share)) + drawn.box.start
    np.testing.assert_allclose(found, centre, atol=0.05)
    assert ndimage.label(drawn.mask)[1] == 1
    assert not np.any(drawn.mask & (drawn.share == 0))


def test_lesions_differ_in_outline_and_in_kind() -> None:
    rng = np.random.default_rng(0)
    bodies = [random_lesion(rng, 12.0, plain=6.0) for _ in range(200)]
    glass = [b.kind == "ground glass" for b in bodies]
    lobed = [b.heights.max() > 0.15 for b in bodies]
    assert 0.1 < np.mean(glass) < 0.3
    assert 0.25 < np.mean(lobed) < 0.55
    assert len(random_lesion(rng, 5.0, plain=6.0).lobes) == 0


def test_thick_voxels_are_drawn_as_three_and_averaged_around_the_same_centre() -> None:
    grid = Grid((4, 6, 6), (5.0, 1.0, 1.0), unit="millimeter")
    fine = SupersampledGrid.of(grid)
    assert fine.factor == (3, 1, 1)
    assert fine.grid.shape == (12, 6, 6)
    known = Lattice.over(fine.grid, length=1.0)
    heights, _, _ = known.voxel_positions(fine.grid.box)
    ramp = np.broadcast_to(heights, fine.grid.shape).astype(np.float32)
    centres, _, _ = fine.lattice.voxel_positions(grid.box)
    np.testing.assert_allclose(fine.averaged(ramp)[:, 0, 0], centres.ravel(), rtol=1e-6)
    assert fine.index((float(centres.ravel()[2]), 0.0, 0.0))[0] == pytest.approx(2)
