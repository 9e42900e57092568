"""What a cell phantom promises: its bytes, its truth and its ambiguity."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import rankdata

from parafovea.errors import ConfigError, GridError
from parafovea_phantoms import CELL_CLASSES, PHANTOMS, Phantom, cell_phantom
from parafovea_phantoms.cells import cell

SHAPE = (96, 192, 192)
SPACING = (16.0, 16.0, 16.0)
BACKGROUND, MITOCHONDRION, NUCLEUS, MEMBRANE = range(4)


@pytest.fixture(scope="module")
def phantoms() -> dict[int, Phantom]:
    return {seed: cell_phantom(seed, shape=SHAPE, spacing=SPACING) for seed in range(5)}


def digest(phantom: Phantom) -> str:
    parts = (phantom.image, phantom.classes, phantom.objects)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    small = {"shape": (24, 64, 64), "spacing": SPACING}
    first = cell_phantom(7, **small)
    assert digest(first) == digest(cell_phantom(7, **small))
    other = cell_phantom(8, **small)
    assert np.mean(first.image != other.image) > 0.5
    assert np.mean(first.classes != other.classes) > 0.05


def test_bytes_do_not_depend_on_the_slabs_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"shape": (40, 72, 64), "spacing": SPACING}
    whole = cell_phantom(3, **asked)
    monkeypatch.setattr(cell, "SLAB", 7)
    assert digest(cell_phantom(3, **asked)) == digest(whole)


def test_every_class_is_present_in_a_share_worth_learning(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        shares = np.bincount(phantom.classes.ravel(), minlength=4) / phantom.classes.size
        assert len(shares) == len(CELL_CLASSES)
        assert shares[BACKGROUND] > 0.4
        assert shares[MITOCHONDRION] > 0.004
        assert 0.25 < shares[NUCLEUS] < 0.45
        assert shares[MEMBRANE] > 0.02


def test_each_object_is_one_connected_mitochondrion(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        np.testing.assert_array_equal(phantom.objects > 0, phantom.classes == MITOCHONDRION)
        count = int(phantom.objects.max())
        assert count >= 6
        assert ndimage.label(phantom.objects)[1] == count
        sizes = np.bincount(phantom.objects.ravel(), minlength=count + 1)[1:]
        assert sizes.min() > 0


def test_decoys_lie_in_the_nucleus_and_are_no_objects(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        assert len(phantom.decoys) >= 4
        for centre in phantom.decoys:
            place = np.minimum(np.rint(centre).astype(int), np.array(SHAPE) - 1)
            assert phantom.classes[tuple(place)] == NUCLEUS


def test_truth_is_where_the_image_is_dark(phantoms: dict[int, Phantom]) -> None:
    """The truth lies on the drawn voxels: shifted by two, it would miss the dark membranes."""
    for phantom in phantoms.values():
        image = phantom.image.astype(np.float32)
        objects = phantom.classes == MITOCHONDRION
        rim = objects & ~ndimage.binary_erosion(objects, iterations=2, border_value=1)
        around = ndimage.binary_dilation(objects, iterations=4) & ~ndimage.binary_dilation(
            objects, iterations=2
        )
        assert image[rim].mean() < image[around].mean() - 25
        sheet = phantom.classes == MEMBRANE
        beside = ndimage.binary_dilation(sheet, iterations=3) & ~ndimage.binary_dilation(sheet)
        assert image[sheet].mean() < image[beside & (phantom.classes == BACKGROUND)].mean() - 12


def sites(phantom: Phantom) -> list[tuple[np.ndarray, bool]]:
    """Middle voxels of all blobs far enough from the faces for a patch, and what they are."""
    numbers = range(1, int(phantom.objects.max()) + 1)
    found = ndimage.center_of_mass(phantom.objects > 0, phantom.objects, numbers)
    named = [(c, True) for c in found] + [(c, False) for c in phantom.decoys]
    rounded = [(np.rint(c).astype(int), is_object) for c, is_object in named]
    return [
        (c, is_object)
        for c, is_object in rounded
        if np.all(c >= 6) and np.all(c < np.array(SHAPE) - 6)
    ]


def local_view(phantom: Phantom, centre: np.ndarray) -> list[float]:
    """Grey statistics of the 24³ patch that holds a blob."""
    start = np.clip(centre - 12, 0, np.array(SHAPE) - 24)
    patch = phantom.image[tuple(slice(a, a + 24) for a in start)].astype(np.float64)
    edges = np.gradient(patch)
    histogram = np.histogram(patch, bins=10, range=(40, 190))[0] / patch.size
    return [*histogram, patch.mean(), patch.std(), *(float(np.abs(e).mean()) for e in edges)]


def wide_views(phantom: Phantom) -> list[np.ndarray]:
    """Local means and deviations of the volume at a quarter of the resolution."""
    z, y, x = (n // 4 for n in SHAPE)
    coarse = phantom.image.reshape(z, 4, y, 4, x, 4).mean(axis=(1, 3, 5))
    views = []
    for sigma in (4, 7, 11):
        mean = ndimage.gaussian_filter(coarse, sigma)
        square = ndimage.gaussian_filter(coarse**2, sigma)
        views += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return views


def separation(features: np.ndarray, is_object: np.ndarray, volume: np.ndarray) -> float:
    """Area under the ROC curve of ridge regression, each volume scored by the others' fit."""
    scores = np.empty(len(features))
    for held in np.unique(volume):
        train = volume != held
        mean, deviation = features[train].mean(axis=0), features[train].std(axis=0) + 1e-9
        x = np.column_stack([(features - mean) / deviation, np.ones(len(features))])
        normal = x[train].T @ x[train] + np.eye(x.shape[1])
        weights = np.linalg.solve(normal, x[train].T @ (2.0 * is_object[train] - 1))
        scores[~train] = x[~train] @ weights
    ranks, hits = rankdata(scores), int(is_object.sum())
    area = ranks[is_object].sum() - hits * (hits + 1) / 2
    return float(area / (hits * (len(scores) - hits)))


def test_a_near_view_cannot_tell_mitochondria_from_decoys_but_a_wide_one_can(
    phantoms: dict[int, Phantom],
) -> None:
    near, wide, truth, volume = [], [], [], []
    for seed, phantom in phantoms.items():
        views = wide_views(phantom)
        for centre, is_object in sites(phantom):
            near.append(local_view(phantom, centre))
            wide.append([view[tuple(centre // 4)] for view in views])
            truth.append(is_object)
            volume.append(seed)
    kinds = np.array(truth)
    assert min(kinds.sum(), (~kinds).sum()) >= 20
    assert 0.35 < separation(np.array(near), kinds, np.array(volume)) < 0.65
    assert separation(np.array(wide), kinds, np.array(volume)) > 0.9


def test_cytoplasm_lies_between_every_mitochondrion_and_the_nucleus(
    phantoms: dict[int, Phantom],
) -> None:
    for phantom in (phantoms[0], phantoms[1]):
        away = ndimage.distance_transform_edt(phantom.classes != NUCLEUS)
        assert away[phantom.classes == MITOCHONDRION].min() > 8


@settings(max_examples=12)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.001, 4.0, 8.0, 16.0, 45.0])] * 3),
    seed=st.integers(0, 2**63),
)
def test_any_shape_and_spacing_gives_a_phantom_on_its_grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> None:
    if max(spacing) > 50 * min(spacing):
        spacing = (spacing[0],) * 3
    phantom = cell_phantom(seed, shape=shape, spacing=spacing, unit="micrometer")
    assert phantom.grid.shape == shape
    assert phantom.grid.spacing == spacing
    assert phantom.grid.unit == "micrometer"
    for part, kind in zip((phantom.image, phantom.classes, phantom.objects), "BBI", strict=True):
        assert part.shape == shape
        assert part.dtype.char == kind
    assert phantom.classes.max() < len(CELL_CLASSES)


def test_thick_sections_show_the_same_kinds_of_things() -> None:
    phantom = cell_phantom(2, shape=(32, 160, 160), spacing=(40.0, 10.0, 10.0))
    assert set(np.unique(phantom.classes)) == set(range(4))
    assert ndimage.label(phantom.objects)[1] == phantom.objects.max()
    # A section is four times as thick as a pixel is wide, so a body spans fewer of them.
    boxes = ndimage.find_objects(phantom.objects)
    heights = np.median([box[0].stop - box[0].start for box in boxes])
    widths = np.median([box[2].stop - box[2].start for box in boxes])
    assert 2 < widths / heights < 8


def test_grey_values_fill_eight_bits_without_clipping(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        assert math.isclose(phantom.image.mean(), 128, abs_tol=12)
        assert np.mean((phantom.image == 0) | (phantom.image == 255)) < 1e-4


def test_a_negative_seed_or_an_empty_shape_is_refused_with_the_value() -> None:
    with pytest.raises(ConfigError, match="seed -1 is negative"):
        cell_phantom(-1, shape=(8, 8, 8), spacing=SPACING)
    with pytest.raises(GridError, match="has no voxels"):
        cell_phantom(1, shape=(0, 8, 8), spacing=SPACING)


def test_the_registry_knows_the_cell() -> None:
    assert PHANTOMS["cell"] is cell_phantom
