"""What differs between varied chests, and what stays exact in them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from exact_truth import require_exact_truth
from scipy import ndimage
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config.sample_sizes import phantom_grid
from parafovea.config.schema import ChestSettings, PatientSettings
from parafovea.errors import ConfigError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.geometry.drawn_slices import drawn_slices
from parafovea.geometry.grid import Box, Grid
from parafovea_phantoms import Phantom, chest_phantom, lung_mask
from parafovea_phantoms.chests import chest
from parafovea_phantoms.chests.change_drawing import draw_changes
from parafovea_phantoms.chests.changes import ChangeSizes
from parafovea_phantoms.chests.drawing import draw
from parafovea_phantoms.chests.lesion_kinds import varied_lesion
from parafovea_phantoms.chests.lesion_placement import Region
from parafovea_phantoms.chests.lesions import draw_lesion
from parafovea_phantoms.chests.masses import LARGEST_MASS, place_masses
from parafovea_phantoms.chests.motion import displaced
from parafovea_phantoms.chests.plan import plan_chest
from parafovea_phantoms.chests.reconstruction import Reconstruction, bell, slice_profile
from parafovea_phantoms.chests.scanner import noise, noise_level
from parafovea_phantoms.chests.supersampling import SupersampledGrid
from parafovea_phantoms.chests.tissues import LUNG_REGION, REGIONS
from parafovea_phantoms.chests.variety import PLAIN, ChestVariety, drawn_variety
from parafovea_phantoms.lattice import Lattice
from parafovea_phantoms.make_phantom import make_phantom

SMALL = {"shape": (60, 64, 72), "spacing": (4.4, 4.8, 4.8)}
SEEDS = range(300)

#: Of the plain chest of seed 7 in (46, 72, 76) voxels of (6.0, 4.8, 4.6) mm, before there was
#: variety: image, classes, objects, regions.
PLAIN_SHA256 = "22cfd4012bded55e18d897d04af485f9d5269edf482d5e5c33b3d5fd34e1fb7c"


@pytest.fixture(scope="module")
def looks() -> list[ChestVariety]:
    return [drawn_variety(seed, 1.0) for seed in SEEDS]


@pytest.fixture(scope="module")
def phantoms() -> dict[int, Phantom]:
    """Chests that together have masses, each change, motion and each kind of kernel."""
    return {seed: chest_phantom(seed, **SMALL, variety=1.0) for seed in (11, 20, 25, 31, 40)}


def digest(phantom: Phantom) -> str:
    parts = (phantom.image, phantom.classes, phantom.objects, phantom.regions)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_without_variety_a_chest_has_the_bytes_that_it_had_before_there_was_any() -> None:
    phantom = chest_phantom(7, shape=(46, 72, 76), spacing=(6.0, 4.8, 4.6), variety=0.0)
    assert digest(phantom) == PLAIN_SHA256
    assert drawn_variety(7, 0.0) == PLAIN


def test_the_same_seed_and_variety_give_the_same_bytes_and_another_variety_others(
    phantoms: dict[int, Phantom],
) -> None:
    again = chest_phantom(11, **SMALL, variety=1.0)
    assert digest(again) == digest(phantoms[11])
    assert again.findings == phantoms[11].findings
    assert again.grid == phantoms[11].grid
    assert digest(chest_phantom(11, **SMALL, variety=0.4)) != digest(again)


def test_a_patient_is_a_chest_that_varies_in_the_workflow_and_on_the_command_line(
    tmp_path: Path,
) -> None:
    varied = PatientSettings().variety
    assert varied > 0 == ChestSettings().variety
    options = ["--shape", "60", "64", "72", "--spacing", "4.4", "4.8", "4.8", "--seed", "20"]
    done = CliRunner().invoke(app, ["phantom", "-o", str(tmp_path), "--kind", "patient", *options])
    assert done.exit_code == 0, done.output
    made = open_source(str(tmp_path / "patient_seed20.nii.gz"), metadata=SourceMetadata())
    same = chest_phantom(20, **SMALL, variety=varied)
    np.testing.assert_array_equal(made.read(made.grid.box), same.image)
    assert (tmp_path / "patient_seed20_nodules.csv").read_text().count("patient_seed20,") == len(
        same.findings
    )


def test_bytes_do_not_depend_on_the_slabs_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = Grid(SMALL["shape"], SMALL["spacing"], unit="millimeter")

    def thick(seed: int) -> bool:
        look, distance = drawn_variety(seed, 1.0), drawn_slices(grid, seed, 1.0).spacing[0]
        moves = look.motion.heart > 0 and look.motion.diaphragm > 0
        changes = look.changes.consolidation > 0 and look.changes.plates
        return len(look.reconstruction.profile(distance)) > 1 and moves and changes

    seed = next(seed for seed in range(1000) if thick(seed))
    whole = chest_phantom(seed, **SMALL, variety=1.0)
    monkeypatch.setattr(chest, "SLAB_VOXELS", 7 * 64 * 72)
    assert digest(chest_phantom(seed, **SMALL, variety=1.0)) == digest(whole)


def test_each_finding_has_exactly_the_centre_and_the_volume_of_its_object(
    phantoms: dict[int, Phantom],
) -> None:
    for phantom in phantoms.values():
        np.testing.assert_array_equal(
            phantom.objects > 0, phantom.regions == REGIONS.index("nodule")
        )
        require_exact_truth(phantom)


def test_a_chest_with_a_mass_has_one_finding_above_30_mm(phantoms: dict[int, Phantom]) -> None:
    assert sum(drawn_variety(seed, 1.0).masses for seed in phantoms) >= 3
    for seed, phantom in phantoms.items():
        large = [f.diameter for f in phantom.findings if f.diameter > 30]
        assert len(large) <= drawn_variety(seed, 1.0).masses
        assert all(diameter <= LARGEST_MASS for diameter in large)
    assert any(f.diameter > 30 for p in phantoms.values() for f in p.findings)


def test_what_is_drawn_is_in_its_range_and_happens_in_its_share(looks: list[ChestVariety]) -> None:
    def share(values: list[bool]) -> float:
        return float(np.mean(values))

    scanners = [look.reconstruction for look in looks]
    assert all(0.6 <= s.thickness <= 5 for s in scanners)
    assert all(0.25 < s.noise < 5.5 for s in scanners)
    assert all(s.edge == 0 or s.blur == PLAIN.reconstruction.blur for s in scanners)
    assert 0.35 < share([s.edge > 0 for s in scanners]) < 0.65
    densities = [look.densities for look in looks]
    assert all(-930 <= d.lung <= -780 for d in densities)
    enhanced = [d.blood for d in densities if d.blood != PLAIN.densities.blood]
    assert 100 <= min(enhanced) < 130
    assert 270 < max(enhanced) <= 300
    assert 0.4 < len(enhanced) / len(looks) < 0.7
    assert 0.2 < share([bool(look.masses) for look in looks]) < 0.5
    for change in ("pleura", "fluid", "consolidation", "plates", "scars", "plugs"):
        assert 0.08 < share([bool(getattr(look.changes, change)) for look in looks]) < 0.6


def test_a_smaller_variety_is_rarer_and_weaker(looks: list[ChestVariety]) -> None:
    weak = [drawn_variety(seed, 0.2) for seed in SEEDS]
    for little, much in zip(weak, looks, strict=True):
        assert little.masses <= much.masses
        assert abs(math.log(little.reconstruction.noise)) < 0.2 * math.log(3) + 0.2
        assert abs(little.densities.lung - PLAIN.densities.lung) <= 0.2 * 102 + 1e-9
    assert sum(look.masses for look in weak) < 0.4 * sum(look.masses for look in looks)
    assert np.mean([not look.changes.present for look in weak]) > 0.5


@pytest.mark.parametrize("unit", ["millimeter", "centimeter"])
def test_slices_are_1_to_5_mm_apart_in_the_same_field_of_view(unit: str) -> None:
    given = Grid((96, 160, 160), (3.0, 2.2, 2.2), unit="millimeter").converted(unit)
    drawn = [drawn_slices(given, seed, 1.0) for seed in SEEDS]
    apart = [grid.converted("millimeter").spacing[0] for grid in drawn]
    assert min(apart) >= 1.45
    assert max(apart) <= 5.1
    assert np.ptp(apart) > 3
    for grid in drawn:
        assert grid.extent == pytest.approx(given.extent)
        assert grid.shape[1:] == given.shape[1:]
    assert drawn_slices(given, 3, 0.0) == given
    changed = [drawn_slices(given, seed, 0.3) != given for seed in SEEDS]
    assert 0.2 < np.mean(changed) < 0.4


def test_the_grid_is_known_before_the_chest_is_made_and_its_variety_is_recorded(
    tmp_path: Path,
) -> None:
    settings = ChestSettings(**SMALL, variety=0.9)
    names = ("volume", "truth", "objects", "regions")
    files = {name: tmp_path / f"chest_{name}.nii.gz" for name in names}
    make_phantom(**files, kind="chest", seed=2, **settings.model_dump())
    planned = phantom_grid(settings, seed=2)
    assert planned.shape != SMALL["shape"]
    (comment,) = nibabel.load(files["volume"]).header.extensions
    made = json.loads(comment.get_content())["parafovea"]
    assert made["phantom"] == {"kind": "chest", "seed": 2, "variety": 0.9}
    source = open_source(str(files["volume"]), metadata=SourceMetadata())
    assert source.grid.shape == planned.shape
    assert source.grid.spacing == pytest.approx(planned.spacing)
    phantom = chest_phantom(2, **SMALL, variety=0.9)
    np.testing.assert_array_equal(source.read(source.grid.box), phantom.image)


def test_a_variety_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"variety 1\.5 is out of range: use 0 to 1"):
        chest_phantom(1, **SMALL, variety=1.5)
    with pytest.raises(ConfigError, match="phantom cell has no variety: use phantom chest"):
        make_phantom(
            tmp_path / "volume.zarr",
            tmp_path / "truth.zarr",
            tmp_path / "objects.zarr",
            kind="cell",
            seed=1,
            shape=(8, 16, 16),
            spacing=(16.0, 16.0, 16.0),
            variety=0.5,
        )


def test_blood_has_the_density_that_was_drawn(phantoms: dict[int, Phantom]) -> None:
    for seed, phantom in phantoms.items():
        inner = ndimage.binary_erosion(phantom.regions == REGIONS.index("blood"))
        true = drawn_variety(seed, 1.0).densities.blood
        assert phantom.image[inner].mean() == pytest.approx(true, abs=0.12 * true + 12)


@pytest.mark.parametrize(
    ("thickness", "distance", "planes"),
    [(5.0, 1.0, 5), (4.0, 1.0, 5), (2.0, 1.5, 3), (1.0, 3.0, 1)],
)
def test_a_slice_is_a_box_of_its_thickness(thickness: float, distance: float, planes: int) -> None:
    weights = slice_profile(thickness, distance)
    assert len(weights) == planes
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1])
    if planes > 1:
        assert weights[planes // 2] == pytest.approx(distance / thickness)


@pytest.mark.parametrize("deviation", [0.6, 1.3, 2.5])
def test_a_blur_has_its_deviation(deviation: float) -> None:
    kernel = bell(deviation, 0.7)
    place = (np.arange(len(kernel)) - len(kernel) // 2) * 0.7
    assert kernel.sum() == pytest.approx(1)
    assert math.sqrt((kernel * place**2).sum()) == pytest.approx(deviation)


@pytest.mark.parametrize("way", [0.3, 1.0, 2.6])
def test_motion_shows_both_ends_or_all_between(way: float) -> None:
    for doubled, deviation in ((True, way), (False, way / math.sqrt(3))):
        kernel = displaced(way, doubled=doubled)
        place = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1)
        assert math.sqrt((kernel * place**2).sum()) == pytest.approx(deviation, abs=0.45)
    assert displaced(2.0, doubled=True).tolist() == [0, 0.5, 0, 0, 0, 0.5, 0]


def test_noise_of_any_kernel_has_variance_1_and_thick_slices_share_it() -> None:
    spacing, box = (1.5, 0.9, 0.9), Box.whole((12, 120, 130))
    sharp = noise(5, box, spacing, Reconstruction(grain=0.2, drift=0.95, thickness=1.0))
    soft = noise(5, box, spacing, Reconstruction(grain=1.4, drift=0.6, thickness=4.5))
    for field, shared in ((sharp, 0), (soft, 2 / 3)):
        assert field.std() == pytest.approx(1, abs=0.06)
        assert (field[:-1] * field[1:]).mean() == pytest.approx(shared, abs=0.08)
    smooth = [(f[:, :, :-1] * f[:, :, 1:]).mean() for f in (sharp, soft)]
    assert smooth[1] > smooth[0] + 0.4
    assert noise_level(1.0) > noise_level(4.5)


def test_lesions_are_of_every_kind_and_exact_whatever_they_hold() -> None:
    rng = np.random.default_rng(2)
    bodies = [varied_lesion(rng, 14.0, plain=6.0, variety=1.0) for _ in range(300)]
    kinds = {
        "part-solid": [b.kind == "ground glass" and b.core is not None for b in bodies],
        "faint": [b.kind == "ground glass" and b.value < 171 for b in bodies],
        "calcified": [b.value >= 150 and b.kind == "solid" for b in bodies],
        "spiculated": [len(b.spicules) > 0 for b in bodies],
        "cavitary": [b.core is not None and b.core.value == -950 for b in bodies],
    }
    for name, found in kinds.items():
        assert 0.02 < np.mean(found) < 0.35, name
    assert not any(varied_lesion(rng, 4.0, plain=6.0, variety=1.0).spicules for _ in range(50))
    grid = Lattice.over(Grid((43, 43, 43), (1.0, 1.0, 1.0), unit="millimeter"), length=1.0)
    for body in [b for b in bodies if b.core is not None][:5]:
        placed = replace(body, centre=(21.0, 20.7, 21.2))
        drawn = draw_lesion(placed, grid, within=Box.whole((43, 43, 43)))
        assert (6 / math.pi * drawn.share.sum()) ** (1 / 3) == pytest.approx(14, rel=0.01)
        assert np.all(drawn.core_share <= drawn.share)
        held = drawn.core_share.sum() / drawn.share.sum()
        assert held == pytest.approx(body.core.size**3, rel=0.1)


def test_masses_lie_at_the_wall_or_the_mediastinum_and_reach_little_beyond() -> None:
    grid = Grid(SMALL["shape"], SMALL["spacing"], unit="millimeter")
    placed = []
    for seed in range(4):
        planned = plan_chest(seed, grid)
        thorax = planned.thorax
        region = Region(thorax.lattice, thorax.lung, planned.vessels)
        for body in place_masses(np.random.default_rng(seed), region, thorax.cavity, 1):
            drawn = draw_lesion(body, Lattice.over(grid, length=1.0), within=grid.box)
            inside = thorax.lattice.sample(thorax.lung, drawn.box)
            placed.append(body.diameter)
            assert -10 < inside[drawn.mask].min() < 2
            assert (inside[drawn.mask] > 0).mean() > 0.8
    assert len(placed) >= 3
    assert all(30 <= diameter <= LARGEST_MASS for diameter in placed)


def test_changes_fill_lung_and_are_no_lesions() -> None:
    grid = Grid(SMALL["shape"], SMALL["spacing"], unit="millimeter")
    fine = SupersampledGrid.of(grid)
    sizes = ChangeSizes(pleura=8, fluid=25, consolidation=20, plates=True, scars=True, plugs=True)
    plain = plan_chest(5, fine.grid)
    changed = plan_chest(5, fine.grid, replace(PLAIN, changes=sizes))
    assert plain.changes is None
    values, texture, regions = draw(plain, fine, grid.box)
    before, lungs = values.copy(), regions >= LUNG_REGION
    beyond = ~lungs & (texture == 0)
    draw_changes(
        changed.changes,
        fine.lattice,
        grid.box,
        lung=-880.0,
        values=values,
        lung_texture=texture,
        regions=regions,
    )
    risen = (values - before > 300) & lungs
    assert 0.02 < risen.sum() / lungs.sum() < 0.5
    assert 0.01 < 1 - (regions >= LUNG_REGION).sum() / lungs.sum() < 0.4
    # Dependent: at the back; and what has no share of lung stays as it was.
    rows = np.nonzero(risen)[1].mean()
    assert rows > np.nonzero(lungs)[1].mean() + 3
    np.testing.assert_array_equal(values[beyond], before[beyond])
    assert values[risen].max() < 75
    clear = changed.changes.clear(changed.thorax.lung)
    assert (clear > 0).sum() < 0.95 * (changed.thorax.lung > 0).sum()


def test_lungs_stay_two_of_the_size_of_an_adults(phantoms: dict[int, Phantom]) -> None:
    for phantom in phantoms.values():
        volume = lung_mask(phantom).sum() * phantom.grid.voxel_volume
        assert 1.2e6 < volume < 7e6
