import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import SourceError
from parafovea.quality.detections.mask_findings import mask_findings

SPACING = np.array([0.8, 0.7, 1.5])


def affine_of(turn=0.0, flips=(1, 1, 1), origin=(-100.0, 50.0, -300.0)):
    """Return an affine of voxels 0.8 x 0.7 x 1.5 mm, turned about the x axis, flipped, moved."""
    c, s = np.cos(turn), np.sin(turn)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * (SPACING * flips)
    affine[:3, 3] = origin
    return affine


def ball(shape, centre, radius):
    """Return a ball in millimetres about a voxel (z, y, x)."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    terms = zip(axes, centre, SPACING[::-1], strict=True)
    return sum(((a - c) * s) ** 2 for a, c, s in terms) <= radius**2


@settings(max_examples=25)
@given(
    st.floats(-1.5, 1.5),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(st.floats(9, 11), st.floats(17, 22), st.floats(17, 22)),
)
def test_a_ball_is_found_at_its_centre_and_size_under_any_affine(turn, flips, centre):
    affine = affine_of(turn, flips)
    mask = ball((21, 40, 40), centre, 6.0).astype(np.uint8) * 3
    (row,) = mask_findings(mask, affine).to_dict("records")
    x, y, z = (affine @ [*centre[::-1], 1])[:3]
    assert (row["coordX"], row["coordY"], row["coordZ"]) == pytest.approx((-x, -y, z), abs=0.1)
    # that of a ball of as many voxels, which is within a tenth of a voxel of the true one
    volume = (mask > 0).sum() * np.prod(SPACING)
    assert row["diameter_mm"] == pytest.approx((6 * volume / np.pi) ** (1 / 3), abs=1e-3)
    assert row["diameter_mm"] == pytest.approx(12.0, abs=0.25)
    assert row["label"] == 3
    (axial,) = mask_findings(mask, affine, diameter="axial")["diameter_mm"]
    assert axial == pytest.approx(12.0, abs=max(SPACING))


def test_one_voxel_lies_where_the_affine_says_with_x_and_y_turned_to_lps():
    mask = np.zeros((4, 5, 6), np.int16)
    mask[3, 2, 1] = 7
    (row,) = mask_findings(mask, np.diag([2.0, 3.0, 4.0, 1.0])).to_dict("records")
    assert (row["coordX"], row["coordY"], row["coordZ"]) == (-2.0, -6.0, 12.0)
    assert row["voxels"] == 1
    assert row["diameter_mm"] == pytest.approx((6 * 24 / np.pi) ** (1 / 3))


def test_the_axial_diameter_is_the_longest_line_within_one_plane():
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[:, 4, 4] = 1
    mask[2, 4, 1:8] = 1
    affine = np.diag([0.5, 1.0, 5.0, 1.0])
    # seven voxels of half a millimetre along x; the 45 mm along z are in no axial plane
    assert mask_findings(mask, affine, diameter="axial")["diameter_mm"].tolist() == [3.5]


def test_values_are_findings_or_pieces_are():
    mask = np.zeros((3, 8, 8), np.uint8)
    mask[0, 0, 0] = mask[0, 7, 7] = 5
    mask[1, 1, 1] = 9
    assert mask_findings(mask, np.eye(4))["label"].tolist() == [5, 9]
    pieces = mask_findings(mask, np.eye(4), labelled=False)
    # (0, 0, 0) and (1, 1, 1) touch at a corner
    assert sorted(pieces["voxels"]) == [1, 2]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.uint32])
def test_every_type_of_whole_numbers_is_read(dtype):
    mask = np.zeros((3, 4, 5), dtype)
    mask[1, 2, 3] = 1
    (row,) = mask_findings(mask, np.eye(4)).to_dict("records")
    assert (row["label"], row["coordX"], row["coordY"], row["coordZ"]) == (1, -3, -2, 1)


def test_an_empty_mask_has_no_findings():
    empty = np.zeros((2, 2, 2), np.uint8)
    for labelled in (True, False):
        table = mask_findings(empty, np.eye(4), labelled=labelled)
        assert len(table) == 0
        assert "diameter_mm" in table


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.eye(4), "has 2 axes"),
        (np.zeros((2, 2, 2)), np.eye(4), "holds float64: give whole numbers"),
        (np.full((2, 2, 2), -1), np.eye(4), "holds -1: labels are positive"),
        (np.zeros((2, 2, 2), np.uint8), np.full((4, 4), np.nan), "no affine of 4 x 4"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros((4, 4)), "affine is singular"),
    ],
)
def test_masks_that_make_no_sense_are_refused(mask, affine, message):
    with pytest.raises(SourceError, match=message):
        mask_findings(mask, affine)
