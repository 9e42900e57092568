"""What bad sources get: one readable error each, nothing half-written, the others unharmed.

All broken samples share one run with a good one.
"""

import re
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import tifffile
import zarr

from parafovea.backbones import feature_channels
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import BackboneSpec, ModelSpec

pytestmark = pytest.mark.workflow

SPACING = "spacing=16,16,16 unit=nanometer"
SHAPE = (20, 40, 36)


def _volume():
    return np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _truncated_tiff(path):
    tifffile.imwrite(path, _volume(), photometric="minisblack")
    _cut(path)


def _truncated_nifti(path):
    nibabel.save(nibabel.Nifti1Image(_volume(), np.eye(4)), path)
    _cut(path)


def _tiff(values):
    return lambda path: tifffile.imwrite(path, values, photometric="minisblack")


def _array(values):
    def write(path):
        zarr.create_array(path, shape=values.shape, dtype=values.dtype)[...] = values

    return write


def _nan(path):
    values = _volume().astype(np.float32)
    values[3, 4, 5:9] = np.nan
    tifffile.imwrite(path, values, photometric="minisblack")


# name of the sample: (file, how it is written, metadata, what the error must say)
BROKEN = {
    "truncated_tiff": ("t.tif", _truncated_tiff, SPACING, r"t\.tif .*truncated"),
    "truncated_nifti": ("n.nii.gz", _truncated_nifti, SPACING, r"n\.nii\.gz .*truncated"),
    "no_spacing": ("s.tif", _tiff(_volume()), "", r"s\.tif .*spacing=\S+ unit="),
    "four_axes": ("d.zarr", _array(np.zeros((2, 3, 4, 5), "u1")), SPACING, r"d\.zarr .*4"),
    "nan": ("nan.tif", _nan, SPACING, r"4 of 28800 voxels are NaN.*input\.nonfinite"),
    "empty": ("e.zarr", _array(np.zeros((0, 4, 5), "u1")), SPACING, r"e\.zarr .*(no voxel|0)"),
    "flat": ("f.tif", _tiff(np.full(SHAPE, 7, "u1")), SPACING, r"the volume has no contrast"),
}


@pytest.fixture(scope="module")
def run(make_project_folder, recipe, snakemake, tmp_path_factory):
    folder = make_project_folder(tmp_path_factory.mktemp("broken"))
    channels = feature_channels(BackboneSpec(), dimensions=3)
    numbers = {"input_channels": channels + 1, "context_channels": channels}
    spec = ModelSpec.model_validate(
        {**recipe, **numbers, "name": "cell", "weights_sha256": "0" * 64}
    )
    save_model(folder.path / "models" / "cell", spec, FusedUNet.from_spec(spec))
    tifffile.imwrite(folder.path / "data" / "b_truth.tif", _volume()[:, :, :20] > 200)
    for name, (file, write, metadata, _) in BROKEN.items():
        write(folder.path / "data" / file)
        folder.rows.append([name, "cell", f"data/{file}", "", metadata])
    folder.write()
    status, text = snakemake(folder.path, "--keep-going")
    return SimpleNamespace(results=folder.path / "results", status=status, text=text)


def test_the_run_fails_and_the_good_sample_is_whole(run):
    assert run.status == 1
    assert (run.results / "a" / "report.html").is_file(), run.text


#: What is found by the header, while the run is planned: the others are found by their voxels.
PLANNED = ("truncated_tiff", "truncated_nifti", "no_spacing", "four_axes", "empty")


@pytest.mark.parametrize("sample", PLANNED)
def test_a_bad_header_gets_one_readable_line_and_no_job(run, sample):
    _, _, last = run.text.partition(" samples failed:\n")
    (line,) = [line for line in last.splitlines() if line.startswith(f"{sample}: ")]
    assert re.search(BROKEN[sample][3], line), line
    assert "Traceback (most recent call last)" not in run.text
    assert not (run.results / sample).exists()
    assert not (run.results / "logs" / sample).exists()


@pytest.mark.parametrize("sample", sorted({*BROKEN} - {*PLANNED}))
def test_a_bad_source_gets_one_readable_error_and_no_output(run, sample):
    log = (run.results / "logs" / sample / "resample_volume.log").read_text()
    errors = [line for line in log.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1
    assert re.search(BROKEN[sample][3], errors[0]), errors[0]
    assert f"of sample {sample}" in log
    assert "Traceback" not in log
    assert not [path for path in (run.results / sample).rglob("*") if path.is_file()]


def test_truth_of_another_shape_is_an_error_and_the_prediction_stays(run):
    log = (run.results / "logs" / "b" / "measure_quality.log").read_text()
    assert "does not cover the same region" in log
    assert "b_truth.tif" in log
    assert "Traceback" not in log
    assert not (run.results / "b" / "quality.json").exists()
    assert (run.results / "b" / "classes.ome.zarr" / "zarr.json").is_file()
