import numpy as np
import pytest

from parafovea.postprocess.segmentation.split import split_object

SPACING = (2.0, 1.0, 1.0)
Z, Y, X = np.mgrid[:20, :40, :60].astype(float)


def ball(z, y, x, radius):
    return ((Z - z) * 2) ** 2 + (Y - y) ** 2 + (X - x) ** 2 < radius**2


def split(mask, distance, **options):
    return split_object(mask, spacing=SPACING, distance=distance, **options)


def test_two_touching_balls_are_split_at_their_neck():
    mask = ball(10, 20, 20, 12) | ball(10, 20, 38, 12)
    pieces = split(mask, 10)
    np.testing.assert_array_equal(pieces > 0, mask)
    assert set(np.unique(pieces[..., :28])) == {0, 1}
    assert set(np.unique(pieces[..., 31:])) == {0, 2}


def test_centres_nearer_than_the_distance_stay_together():
    mask = ball(10, 20, 20, 12) | ball(10, 20, 38, 12)
    assert split(mask, 30).max() == 1


def test_the_distance_is_one_of_the_world_along_z_too():
    mask = ball(5, 20, 30, 9.5) | ball(13, 20, 30, 9.5)  # 8 planes are 16 units
    assert split(mask, 15).max() == 2
    assert split(mask, 17).max() == 1


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.45])
def test_an_even_tube_is_not_cut_however_it_lies_in_the_voxels(slope):
    tube = ((Z - 10) * 2) ** 2 + (Y - 20 - slope * (X - 30)) ** 2 < 30
    assert split(tube, 5).max() == 1


def test_a_piece_that_would_be_too_small_stays_with_its_neighbour():
    mask = ball(10, 20, 20, 12) | ball(10, 20, 38, 12) | ball(10, 20, 54, 6)
    sizes = np.bincount(split(mask, 10).ravel())[1:]
    assert len(sizes) == 3
    pieces = split(mask, 10, min_voxels=int(sizes.min()) + 1)
    np.testing.assert_array_equal(pieces > 0, mask)
    assert pieces.max() == 2
    assert np.bincount(pieces.ravel())[1:].min() > sizes.min()


def test_voxels_connected_by_corners_only_are_not_lost():
    mask = np.zeros(Z.shape, bool)
    mask[2:9, 2:9, 2:9] = mask[9:16, 9:16, 9:16] = True
    pieces = split(mask, 5)
    np.testing.assert_array_equal(pieces > 0, mask)
    assert pieces.max() == 2


def test_an_object_that_fills_its_volume_has_no_surface_to_split_at():
    assert (split(np.ones((4, 4, 4), bool), 1) == 1).all()
