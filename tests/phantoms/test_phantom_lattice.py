"""The coarse fields that a phantom is drawn from."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.geometry.grid import Box, Grid
from parafovea_phantoms.lattice import Lattice, random_stream, white_noise


@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    spacing=st.tuples(*[st.sampled_from([1.0, 2.5, 7.0])] * 3),
)
def test_a_linear_field_is_sampled_exactly_at_every_voxel(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    lattice = Lattice.over(Grid(shape, spacing))
    z, y, x = lattice.positions()
    box = Box.whole(shape)
    sampled = lattice.sample((z + 2 * y - 3 * x).astype(np.float32), box)
    z, y, x = lattice.voxel_positions(box)
    np.testing.assert_allclose(sampled, z + 2 * y - 3 * x, rtol=1e-4, atol=1e-2)


def test_a_part_is_sampled_as_it_is_in_the_whole() -> None:
    lattice = Lattice.over(Grid((20, 21, 22), (2.0, 1.0, 1.0)))
    field = lattice.noise(random_stream(1, 1), 6.0)
    part = Box((3, 5, 7), (11, 13, 22))
    whole = lattice.sample(field, Box.whole((20, 21, 22)))
    np.testing.assert_array_equal(lattice.sample(field, part), whole[part.slices])


def test_noise_has_unit_variance_at_the_faces_as_inside() -> None:
    lattice = Lattice.over(Grid((8, 8, 400), (1.0, 1.0, 1.0)))
    samples = np.stack([lattice.noise(random_stream(s, 2), 5.0) for s in range(150)])
    assert abs(samples.var() - 1) < 0.05
    assert abs(samples[..., 0].var() - 1) < 0.2
    assert abs(samples.mean()) < 0.05


def test_white_noise_of_a_seed_never_changes() -> None:
    noise = white_noise(random_stream(1, 2, 3), (2, 3))
    again = white_noise(random_stream(1, 2, 3), (2, 3))
    np.testing.assert_array_equal(noise, again)
    many = white_noise(random_stream(5, 0), (100_000,))
    assert abs(many.mean()) < 0.02
    assert abs(many.var() - 1) < 0.02


def test_distance_to_a_sphere_is_in_lengths_at_its_surface() -> None:
    lattice = Lattice.over(Grid((160, 160, 160), (1.0, 1.0, 1.0)))
    z, y, x = (p - 80 for p in lattice.positions())
    radius = np.sqrt(z * z + y * y + x * x)
    squashed = (50**2 - radius**2).astype(np.float32)
    distance = lattice.distance(squashed, 1.0)
    near = np.abs(radius - 50) < 4
    np.testing.assert_allclose(distance[near], (50 - radius)[near], atol=0.4)
