"""From a source to the normalized volume on the model's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import zarr

from parafovea.errors import SourceError, VoxelError
from parafovea.formats import Source, open_source
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import resample_box
from parafovea.preprocess.body import axial_axis, body_mask
from parafovea.preprocess.body_masks import stored_masks, stored_volume_body
from parafovea.preprocess.coarse_view import coarse_view
from parafovea.preprocess.lungs import lung_mask
from parafovea.preprocess.normalization import NonFinite
from parafovea.settings.recipe import Normalization
from parafovea.stages import resample_volume as stage
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import Stored, label_image_path, open_stored
from parafovea_phantoms import chest_phantom


def run(
    tmp_path: Path,
    voxels: np.ndarray[Any, Any],
    *,
    spacing: tuple[float, float, float] = (16, 16, 16),
    unit: str = "nanometer",
    normalization: Normalization | None = None,
    nonfinite: NonFinite = "error",
    check_hounsfield: bool = False,
) -> Stored:
    """Resample a TIFF stack of voxels of 32, 8, 8 nm."""
    tifffile.imwrite(tmp_path / "source.tif", voxels, photometric="minisblack")
    resample_volume(
        tmp_path / "volume.ome.zarr",
        source=str(tmp_path / "source.tif"),
        metadata="spacing=32,8,8 unit=nanometer",
        spacing=spacing,
        unit=unit,
        normalization=normalization or Normalization(),
        nonfinite=nonfinite,
        check_hounsfield=check_hounsfield,
    )
    return open_stored(tmp_path / "volume.ome.zarr")


def noise(shape: tuple[int, int, int] = (6, 40, 30)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(20, 230, shape, dtype=np.uint8)


def test_the_volume_is_normalized_with_the_sources_percentiles_then_resampled(
    tmp_path: Path,
) -> None:
    voxels = noise()
    found = run(tmp_path, voxels)
    source = Grid(voxels.shape, (32, 8, 8), unit="nanometer")
    target = source.resampled((16, 16, 16))
    assert found.grid.same_place(target)
    assert found.array.dtype == np.float16
    low, high = np.percentile(voxels, [0.5, 99.5])
    smooth = resample_box(lambda box: voxels[box.slices], source, target, target.box)
    wanted = np.clip((smooth - low) / (high - low), 0, 1)
    np.testing.assert_allclose(found.read(), wanted, atol=6e-4)


def test_the_record_says_what_became_0_and_1_of_which_source(tmp_path: Path) -> None:
    voxels = noise()
    facts = run(tmp_path, voxels).attributes
    low, high = np.percentile(voxels, [0.5, 99.5])
    assert facts["stage"] == "resample_volume"
    assert facts["normalization"]["zero"] == pytest.approx(low)
    assert facts["normalization"]["one"] == pytest.approx(high)
    assert facts["normalization"]["replaced_voxels"] == 0
    assert facts["source"]["dtype"] == "uint8"
    assert facts["source"]["grid"]["shape"] == [6, 40, 30]
    assert len(facts["source"]["sha256"]) == 64


def test_the_models_unit_may_differ_from_the_sources(tmp_path: Path) -> None:
    nanometer = run(tmp_path, noise())
    micrometer = run(tmp_path, noise(), spacing=(0.016, 0.016, 0.016), unit="micrometer")
    assert micrometer.grid.unit == "micrometer"
    assert micrometer.grid.same_place(nanometer.grid)
    np.testing.assert_allclose(micrometer.read(), nanometer.read(), atol=1e-3)


def test_blocks_do_not_show_in_the_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path, noise()).read()
    monkeypatch.setattr(stage, "VOLUME_SHARD", (4, 8, 8))
    np.testing.assert_array_equal(run(tmp_path, noise()).read(), whole)


def test_a_voxel_that_is_not_finite_takes_the_fill_before_it_spreads(tmp_path: Path) -> None:
    voxels = np.full((4, 16, 16), 0.5, np.float32)
    voxels[0, 0, 0], voxels[2, 8, 8] = 0.0, np.nan
    window = Normalization(method="window", low=0, high=1)
    found = run(tmp_path, voxels, normalization=window, nonfinite=0.5)
    assert np.isfinite(found.read()).all()
    np.testing.assert_allclose(found.read()[3:], 0.5)
    assert found.attributes["normalization"]["replaced_voxels"] == 1


def test_voxels_that_are_not_finite_stop_the_sample_without_an_output(tmp_path: Path) -> None:
    voxels = np.linspace(0, 1, 1024, dtype=np.float32).reshape(4, 16, 16)
    voxels[1, 1, 1] = np.nan
    with pytest.raises(VoxelError, match="1 of 1024 voxels are NaN"):
        run(tmp_path, voxels)
    assert [path.name for path in tmp_path.iterdir()] == ["source.tif"]


def test_values_too_large_for_half_precision_are_refused_not_stored_as_infinity(
    tmp_path: Path,
) -> None:
    voxels = np.full((4, 16, 16), 65535, np.uint16)
    with pytest.raises(VoxelError):
        run(tmp_path, voxels, normalization=Normalization(method="none"))


@pytest.mark.parametrize("unit", ["millimeter", "nanometer"])
def test_only_where_a_ct_is_asked_for_is_another_source_refused(tmp_path: Path, unit: str) -> None:
    spacing = (16e-6,) * 3 if unit == "millimeter" else (16.0,) * 3
    with pytest.raises(SourceError, match=r"source\.tif has .* its largest side measures 0\.0003"):
        run(tmp_path, noise(), spacing=spacing, unit=unit, check_hounsfield=True)
    with pytest.raises(VoxelError, match=r"source\.tif is not a CT in Hounsfield units"):
        resample_volume(
            tmp_path / "volume.ome.zarr",
            source=str(tmp_path / "source.tif"),
            metadata="spacing=6,2,2 unit=millimeter",
            spacing=[value * (1 if unit == "millimeter" else 1e6) for value in (2.0, 2.0, 2.0)],
            unit=unit,
            normalization={},
            check_hounsfield=True,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["source.tif"]
    assert run(tmp_path, noise(), spacing=spacing, unit=unit).grid.unit == unit


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Write the CT of a chest, turned within the patient, as NIfTI."""
    phantom = chest_phantom(3, shape=(40, 64, 64), spacing=(6.0, 5.5, 5.5))
    affine = np.array([[0, 0, 6.0, 1], [-5.5, 0, 0, 2], [0, -5.5, 0, 3], [0, 0, 0, 1]])
    nibabel.save(
        nibabel.Nifti1Image(phantom.image.transpose(2, 1, 0), affine), tmp_path / "scan.nii.gz"
    )
    return tmp_path / "scan.nii.gz"


def resample(scan: Path, *, find_body: bool, spacing: float = 4.0) -> Path:
    path = scan.parent / f"volume_{find_body}.ome.zarr"
    resample_volume(
        path,
        source=str(scan),
        spacing=(spacing, spacing, spacing),
        unit="millimeter",
        normalization=Normalization(method="window", low=-1000, high=400),
        find_body=find_body,
    )
    return path


def test_body_and_lungs_are_stored_as_scan_and_volume_show_them(scan: Path) -> None:
    path = resample(scan, find_body=True)
    # the chest as it comes from the file, and all at once
    opened = open_source(str(scan))
    assert opened.affine is not None
    view = coarse_view(opened.read, opened.grid)
    axial = axial_axis(opened.affine)
    assert axial != 0
    body = body_mask(view, axial=axial)
    lungs = lung_mask(view, body)
    assert lungs is not None
    masks = stored_masks(path)
    assert masks.lungs is not None
    # and as the normalized volume, in other voxels, shows it
    volume = open_stored(path)
    shown = coarse_view(lambda box: volume.read(box).astype(np.float32) * 1400 - 1000, volume.grid)
    seen = body_mask(shown, axial=axial)
    assert seen.grid != body.grid
    for found, wanted in (
        (masks.body, body),
        (masks.lungs, lungs),
        (stored_volume_body(path), seen),
    ):
        assert found.grid == wanted.grid
        assert found.values.dtype == bool
        np.testing.assert_array_equal(found.values, wanted.values)
    # what made the volume made them
    label = open_stored(label_image_path(path, "lungs"))
    assert label.attributes == volume.attributes
    assert label.attributes["source"]["path"] == str(scan)


def test_finding_the_body_changes_nothing_else_and_reads_no_voxel_twice(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, original = {True: 0, False: 0}, Source.read
    for find_body in voxels:

        def read(self: Source, box: Box, find_body: bool = find_body) -> np.ndarray[Any, Any]:
            voxels[find_body] += box.size
            return original(self, box)

        with monkeypatch.context() as patch:
            patch.setattr(Source, "read", read)
            resample(scan, find_body=find_body)
    assert voxels[True] == voxels[False] > 0
    with_body, without = (
        {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and "labels" not in file.parts
        }
        for folder in (scan.parent / f"volume_{found}.ome.zarr" for found in (True, False))
    )
    for name in without:
        changed = with_body[name].replace(b"volume_True", b"volume_False")
        assert changed == without[name], name
    assert with_body.keys() == without.keys()


def test_a_scan_without_body_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    air = np.full((8, 16, 16), -1000, np.int16)
    nibabel.save(nibabel.Nifti1Image(air.transpose(2, 1, 0), np.eye(4)), tmp_path / "air.nii.gz")
    with pytest.raises(VoxelError, match="no voxel is denser than -400 HU"):
        resample(tmp_path / "air.nii.gz", find_body=True)
    assert [path.name for path in tmp_path.iterdir()] == ["air.nii.gz"]


def test_levels_above_a_large_offset_are_kept(tmp_path):
    levels = np.random.default_rng(0).integers(0, 200, (8, 9, 10)).astype(np.uint32)
    stored = {}
    for name, offset in (("plain", 0), ("offset", 2**31)):
        zarr.create_array(tmp_path / f"{name}.zarr", data=levels + np.uint32(offset))
        resample_volume(
            tmp_path / f"{name}.ome.zarr", source=str(tmp_path / f"{name}.zarr"),
            metadata="spacing=1,1,1 unit=nm", spacing=(1, 1, 2), unit="nanometer",
            normalization={},
        )  # fmt: skip
        stored[name] = open_stored(tmp_path / f"{name}.ome.zarr")
    plain, offset = (stored[name].read(stored[name].grid.box) for name in stored)
    assert len(np.unique(plain)) > 100
    np.testing.assert_array_equal(offset, plain)
