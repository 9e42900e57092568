"""From a source to the normalized volume on the model's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Grid
from parafovea.geometry.resample import resample_box
from parafovea.preprocess.normalization import NonFinite
from parafovea.settings.recipe import Kind, Normalization
from parafovea.stages import resample_volume as stage
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import Stored, open_stored


def run(
    tmp_path: Path,
    voxels: np.ndarray[Any, Any],
    *,
    spacing: tuple[float, float, float] = (16, 16, 16),
    unit: str = "nanometer",
    normalization: Normalization | None = None,
    nonfinite: NonFinite = "error",
    kind: Kind = "segmentation",
) -> Stored:
    """Resample a TIFF stack of voxels of 32, 8, 8 nm."""
    tifffile.imwrite(tmp_path / "source.tif", voxels, photometric="minisblack")
    resample_volume(
        str(tmp_path / "source.tif"),
        tmp_path / "volume.ome.zarr",
        metadata="spacing=32,8,8 unit=nanometer",
        spacing=spacing,
        unit=unit,
        normalization=normalization or Normalization(),
        nonfinite=nonfinite,
        kind=kind,
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
    monkeypatch.setattr(stage, "SHARD", (4, 8, 8))
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
@pytest.mark.parametrize("kind", ["segmentation", "detection"])
def test_a_detection_in_millimetres_takes_nothing_but_a_ct(
    tmp_path: Path, kind: Kind, unit: str
) -> None:
    spacing = (16e-6,) * 3 if unit == "millimeter" else (16.0,) * 3
    if (kind, unit) != ("detection", "millimeter"):
        assert run(tmp_path, noise(), spacing=spacing, unit=unit, kind=kind).grid.unit == unit
        return
    with pytest.raises(VoxelError, match=r"source\.tif is not a CT in Hounsfield units"):
        run(tmp_path, noise(), spacing=spacing, unit=unit, kind=kind)
    assert [path.name for path in tmp_path.iterdir()] == ["source.tif"]
