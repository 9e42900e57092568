"""The bodies that are mitochondria in one place and nuclear bodies in another."""

from __future__ import annotations

import itertools
import math

import numpy as np

from parafovea.geometry.grid import Box, Grid
from parafovea_phantoms.cells.blobs import CLEAR, blob_distance, draw_blob, place_blobs, random_blob
from parafovea_phantoms.lattice import Lattice, random_stream

SHAPE = (64, 128, 128)


def lattice() -> Lattice:
    return Lattice.over(Grid(SHAPE, (1.0, 1.0, 1.0)))


def test_blobs_keep_their_gap_and_stay_where_there_is_room() -> None:
    grid = lattice()
    _, _, x = grid.positions()
    room = np.broadcast_to(x - 40, grid.shape).astype(np.float32)
    blobs = place_blobs(random_stream(3, 0), grid, room=room, gap=CLEAR, per_blob=20.0**3)
    assert len(blobs) > 5
    for one, two in itertools.combinations(blobs, 2):
        apart = min(math.dist(a, b) for a in one.spine for b in two.spine)
        assert apart >= one.radius + two.radius + CLEAR
    # Room is read at the nearest lattice point, so it is kept to half a step.
    assert all(point[2] - 40 >= blob.radius - 2 for blob in blobs for point in blob.spine)


def test_no_room_means_no_blobs() -> None:
    grid = lattice()
    room = np.full(grid.shape, -1, dtype=np.float32)
    assert place_blobs(random_stream(3, 0), grid, room=room, gap=CLEAR, per_blob=1000.0) == ()


def test_a_blob_looks_the_same_wherever_it_is() -> None:
    grid = lattice()
    calm = np.zeros(grid.shape, dtype=np.float32)
    here = random_blob(random_stream(9, 0), (30.0, 40.0, 40.0))
    there = random_blob(random_stream(9, 0), (32.0, 80.0, 84.0))
    drawn = [draw_blob(b, grid, shape=SHAPE, wobble=calm) for b in (here, there)]
    assert drawn[0] is not None
    assert drawn[1] is not None
    assert drawn[1].box == drawn[0].box.shifted((2, 40, 44))
    assert np.mean(drawn[0].mask != drawn[1].mask) < 1e-3
    np.testing.assert_allclose(drawn[0].shade.mean(), drawn[1].shade.mean(), rtol=1e-2)


def test_a_blob_outside_of_the_volume_has_no_voxels() -> None:
    grid = lattice()
    blob = random_blob(random_stream(9, 0), (-200.0, 0.0, 0.0))
    wobble = np.zeros(grid.shape, dtype=np.float32)
    assert draw_blob(blob, grid, shape=SHAPE, wobble=wobble) is None


def test_blob_distance_is_negative_inside_and_the_limit_far_away() -> None:
    grid = lattice()
    blob = random_blob(random_stream(9, 0), (32.0, 40.0, 40.0))
    field = blob_distance(grid, [blob], limit=30.0)
    assert field.max() == 30.0
    middle = grid.sample(field, Box.sized((32, 40, 40), (1, 1, 1)))
    assert middle.item() < -blob.radius / 2
    assert field[0, -1, -1] == 30.0
