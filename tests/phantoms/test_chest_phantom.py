"""What a chest phantom promises: its bytes, its truth, its tissues and its ambiguity."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from exact_truth import require_exact_truth
from scipy import ndimage
from test_cell_phantom import separation

from parafovea.errors import ConfigError, GridError
from parafovea.geometry.grid import METRES, Box
from parafovea_phantoms import (
    CHEST_CLASSES,
    PHANTOMS,
    Phantom,
    cell_phantom,
    chest_phantom,
    lung_mask,
    smallest_diameter,
)
from parafovea_phantoms.chests import chest
from parafovea_phantoms.chests.scanner import noise, noise_level
from parafovea_phantoms.chests.tissues import REGIONS

SHAPE, SPACING = (96, 160, 160), (3.0, 2.2, 2.2)
#: Coarse, and so quick.
SMALL = {"shape": (46, 72, 76), "spacing": (6.0, 4.8, 4.6)}

#: Of each tissue away from its borders: least and greatest mean, in Hounsfield units. Prokop and
#: Galanski 2003 and Buzug 2008 (see `parafovea_phantoms.chests.tissues`); lung has vessels in it.
RANGES = {
    "air": (-1003, -990),
    "fat": (-115, -80),
    "muscle": (40, 65),
    "liver": (45, 65),
    "spleen": (35, 55),
    "heart": (35, 55),
    "blood": (30, 65),
    "bone": (150, 700),
    "lung": (-910, -840),
    "airway": (-1000, -940),
}


@pytest.fixture(scope="module")
def small() -> Phantom:
    return chest_phantom(7, **SMALL)


@pytest.fixture(scope="module")
def phantoms() -> dict[int, Phantom]:
    return {seed: chest_phantom(seed, shape=SHAPE, spacing=SPACING) for seed in (201, 501, 502)}


def digest(phantom: Phantom) -> str:
    parts = (phantom.image, phantom.classes, phantom.objects, phantom.regions)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def region(phantom: Phantom, name: str) -> np.ndarray:
    return phantom.regions == REGIONS.index(name)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(small: Phantom) -> None:
    first, again = small, chest_phantom(7, **SMALL)
    assert digest(first) == digest(again)
    assert first.findings == again.findings
    assert first.grid == again.grid
    other = chest_phantom(8, **SMALL)
    assert np.mean(first.image != other.image) > 0.5
    assert first.findings != other.findings
    assert first.grid.origin != other.grid.origin


def test_bytes_do_not_depend_on_the_slabs_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"shape": (24, 50, 60), "spacing": (9.8, 4.8, 4.8)}
    whole = chest_phantom(3, **asked)
    monkeypatch.setattr(chest, "SLAB_VOXELS", 5 * 3 * 50 * 60)
    assert digest(chest_phantom(3, **asked)) == digest(whole)


def test_each_object_has_the_centre_and_the_volume_that_the_findings_say(
    phantoms: dict[int, Phantom],
) -> None:
    for phantom in phantoms.values():
        require_exact_truth(phantom)


def test_findings_measure_3_to_30_mm_and_lie_in_a_lung(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        assert 3 <= len(phantom.findings) <= chest.MOST
        lungs = lung_mask(phantom)
        for finding in phantom.findings:
            assert smallest_diameter(SPACING) <= finding.diameter <= 30
            place = tuple(np.rint(phantom.grid.index(finding.position)).astype(int))
            assert lungs[place]


def test_nodules_stand_out_from_the_lung(phantoms: dict[int, Phantom]) -> None:
    """Ground glass adds 180 at least; a voxel off, the smallest would be gone."""
    for phantom in phantoms.values():
        for number, box in enumerate(ndimage.find_objects(phantom.objects), start=1):
            wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
            mask = phantom.objects[wide] == number
            around = ndimage.binary_dilation(mask, iterations=3)
            around &= region(phantom, "lung")[wide]
            image = phantom.image[wide]
            assert image[mask].mean() > image[around].mean() + 100


def test_decoys_lie_outside_the_lungs_and_are_no_objects(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        assert 3 <= len(phantom.decoys) <= chest.MOST
        lungs = lung_mask(phantom)
        for centre in phantom.decoys:
            place = tuple(np.rint(centre).astype(int))
            assert phantom.regions[place] == REGIONS.index("decoy")
            assert not lungs[place]
        assert not np.any(phantom.objects[region(phantom, "decoy")])


def test_tissues_have_their_hounsfield_units(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        assert phantom.image.dtype == np.int16
        for name, (least, most) in RANGES.items():
            inner = ndimage.binary_erosion(region(phantom, name))
            assert inner.sum() > 100, name
            assert least < phantom.image[inner].mean() < most, name


def test_noise_has_its_level_in_an_even_organ(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        inner = ndimage.binary_erosion(region(phantom, "liver"), iterations=2)
        assert phantom.image[inner].std() == pytest.approx(noise_level(SPACING[0]), rel=0.2)
    assert noise_level(1.0) > 1.5 * noise_level(3.0)


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (1.5, 0.9, 2.0), (3.0, 2.2, 2.2)])
def test_noise_has_variance_1_no_drift_and_slices_that_agree_where_they_are_thin(
    spacing: tuple[float, float, float],
) -> None:
    field = noise(5, Box.whole((12, 150, 160)), spacing)
    assert field.std() == pytest.approx(1, abs=0.03)
    power = (np.abs(np.fft.fft2(field)) ** 2).mean(axis=0)
    rows, columns = (np.fft.fftfreq(n, d) for n, d in zip(power.shape, spacing[1:], strict=True))
    cycles = np.sqrt(rows[:, None] ** 2 + columns**2)
    slow, fast = (cycles > 0) & (cycles < 0.03), (cycles > 0.12) & (cycles < 0.2)
    assert power[slow].mean() < 0.4 * power[fast].mean()
    agreement = float((field[:-1] * field[1:]).mean())
    assert agreement == pytest.approx(2 / 3 if spacing[0] < 2 else 0, abs=0.05)


def test_lungs_are_two_of_the_volume_of_an_adults_and_denser_at_the_back(
    phantoms: dict[int, Phantom],
) -> None:
    for phantom in phantoms.values():
        lungs = lung_mask(phantom)
        pieces, _ = ndimage.label(ndimage.binary_erosion(lungs, iterations=2))
        sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
        assert sizes[1] > 0.5 * sizes[0]
        assert sizes[:2].sum() > 0.98 * sizes.sum()
        # Total lung capacity is 4 to 7 litres; a body that is fitted into the view has less.
        assert 2.5e6 < lungs.sum() * phantom.grid.voxel_volume < 7e6
        inner = ndimage.binary_erosion(region(phantom, "lung"))
        rows = np.nonzero(inner)[1]
        front, back = np.quantile(rows, [0.25, 0.75])
        values = phantom.image[inner]
        assert values[rows > back].mean() > values[rows < front].mean() + 15


def test_inside_the_lungs_there_are_bright_vessels_and_black_bronchi(
    phantoms: dict[int, Phantom],
) -> None:
    for phantom in phantoms.values():
        shares = {n: np.mean(region(phantom, n)) for n in ("lung", "lung vessel", "bronchus")}
        assert 0.01 < shares["lung vessel"] / shares["lung"] < 0.15
        assert 0.001 < shares["bronchus"] / shares["lung"] < 0.03


def test_the_world_is_dicoms(phantoms: dict[int, Phantom]) -> None:
    """The heart lies to the left, the spine at the back, the liver below and to the right."""
    for phantom in phantoms.values():

        def middle(name: str, phantom: Phantom = phantom) -> np.ndarray:
            index = np.argwhere(region(phantom, name)).mean(axis=0)
            return np.array(phantom.grid.world(index))

        lungs = phantom.grid.world(np.argwhere(lung_mask(phantom)).mean(axis=0))
        assert phantom.grid.unit == "millimeter"
        assert middle("heart")[2] > lungs[2] + 5
        assert middle("table")[1] > lungs[1] + 50
        assert middle("liver")[0] < lungs[0] - 50
        assert middle("liver")[2] < lungs[2] - 20
        assert middle("spleen")[2] > lungs[2] + 20


def bodies(phantom: Phantom) -> list[tuple[np.ndarray, float, bool]]:
    """Centre, diameter and whether it is a nodule, of every body."""
    nodules = [(np.array(phantom.grid.index(f.position)), f.diameter) for f in phantom.findings]
    labels, _ = ndimage.label(region(phantom, "decoy"))
    sizes = np.bincount(labels.ravel()) * phantom.grid.voxel_volume
    found = [(np.array(c), labels[tuple(np.rint(c).astype(int))]) for c in phantom.decoys]
    decoys = [(c, float((6 / math.pi * sizes[number]) ** (1 / 3))) for c, number in found]
    return [(*n, True) for n in nodules] + [(*d, False) for d in decoys]


def near_view(phantom: Phantom, centre: np.ndarray, diameter: float) -> list[float]:
    """Mean and deviation of shells from the middle of a body to 6 mm around it."""
    spacing, radius = np.array(SPACING), diameter / 2
    start = np.maximum(np.floor(centre - (radius + 8) / spacing), 0).astype(int)
    stop = np.ceil(centre + (radius + 8) / spacing).astype(int) + 1
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    patch = phantom.image[part].astype(float)
    places = np.moveaxis(np.indices(patch.shape), 0, -1) + start
    away = np.sqrt((((places - centre) * spacing) ** 2).sum(axis=-1)) - radius
    middle = tuple(np.rint(centre).astype(int))
    view = []
    for low, high in ((-radius, -1), (-1.5, 1.5), (1.5, 4), (4, 6.5)):
        shell = patch[(away > low) & (away <= high)]
        # The smallest bodies have no voxel that is deep inside.
        view += [shell.mean(), shell.std()] if shell.size else [phantom.image[middle], 0.0]
    return view


def test_a_near_view_cannot_tell_nodules_from_decoys_but_a_wide_one_can(
    phantoms: dict[int, Phantom],
) -> None:
    near, wide, truth, volume = [], [], [], []
    for seed, phantom in phantoms.items():
        half = tuple(n // 2 for n in SHAPE)
        coarse = phantom.image.reshape(*(m for n in half for m in (n, 2))).mean(axis=(1, 3, 5))
        step = 2 * np.array(SPACING)
        views = [ndimage.gaussian_filter(coarse, mm / step) for mm in (15, 25, 40)]
        for centre, diameter, is_nodule in bodies(phantom):
            if diameter < 18:
                near.append(near_view(phantom, centre, diameter))
                wide.append([view[tuple(centre.astype(int) // 2)] for view in views])
                truth.append(is_nodule)
                volume.append(seed)
    kinds = np.array(truth)
    assert min(kinds.sum(), (~kinds).sum()) >= 8
    by_near = separation(np.array(near), kinds, np.array(volume))
    by_wide = separation(np.array(wide), kinds, np.array(volume))
    assert by_near < 0.75
    assert by_wide > 0.85


@pytest.mark.parametrize(
    ("shape", "spacing", "unit"),
    [
        ((33, 110, 91), (7.5, 2.7, 3.6), "millimeter"),
        ((110, 40, 50), (2.2, 7.0, 7.3), "millimeter"),
        ((30, 30, 34), (1.0, 1.0, 1.0), "centimeter"),
    ],
)
def test_any_shape_and_spacing_that_holds_a_chest_gives_one(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], unit: str
) -> None:
    phantom = chest_phantom(4, shape=shape, spacing=spacing, unit=unit)
    assert phantom.grid.shape == shape
    assert phantom.grid.unit == "millimeter"
    factor = METRES[unit] / METRES["millimeter"]
    assert phantom.grid.spacing == pytest.approx([s * factor for s in spacing])
    parts = (phantom.image, phantom.classes, phantom.objects, phantom.regions)
    for part, kind in zip(parts, "hBIB", strict=True):
        assert part.shape == shape
        assert part.dtype.char == kind
    assert phantom.class_names == CHEST_CLASSES
    # A ball of the smallest diameter holds a voxel's centre wherever it lies.
    counts = np.bincount(phantom.objects.ravel(), minlength=len(phantom.findings) + 1)[1:]
    assert len(counts) == len(phantom.findings) > 0
    assert counts.min() > 0
    lungs = lung_mask(phantom)
    assert 2e6 < lungs.sum() * phantom.grid.voxel_volume < 7e6
    assert not any(lungs.take(side, axis=axis).any() for axis in (1, 2) for side in (0, -1))
    assert not lungs[-1].any()


def test_the_smallest_nodule_is_a_voxels_diagonal_but_never_below_3_mm() -> None:
    assert smallest_diameter((1.0, 0.7, 0.7)) == 3
    assert smallest_diameter((3.0, 2.2, 2.2)) == pytest.approx(4.32, abs=0.01)
    assert smallest_diameter((5.0, 0.8, 0.8)) == pytest.approx(5.13, abs=0.01)


def test_a_field_of_view_without_a_chest_is_refused_with_what_is_needed() -> None:
    with pytest.raises(
        ConfigError,
        match=r"view of 96 x 96 x 96 mm \(z, y, x\) is too small for a chest.*204 x 177 x 247.5 mm",
    ):
        chest_phantom(1, shape=(96, 96, 96), spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="is too small for a chest"):
        chest_phantom(1, shape=(96, 192, 192), spacing=(16.0, 16.0, 16.0), unit="nanometer")
    with pytest.raises(ConfigError, match="spacing 12 x 3 x 3 mm is too coarse"):
        chest_phantom(1, shape=(24, 100, 120), spacing=(12.0, 3.0, 3.0))
    with pytest.raises(ConfigError, match="seed -1 is negative"):
        chest_phantom(-1, **SMALL)
    with pytest.raises(GridError, match="has no voxels"):
        chest_phantom(1, shape=(0, 8, 8), spacing=SPACING)


def test_a_cell_has_no_lungs() -> None:
    with pytest.raises(ConfigError, match="has no lungs"):
        lung_mask(cell_phantom(1, shape=(8, 16, 16), spacing=(16.0, 16.0, 16.0)))


def test_the_registry_knows_the_chest() -> None:
    assert PHANTOMS["chest"] is chest_phantom
