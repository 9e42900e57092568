"""What bad scans and a bad truth get: one readable error each, and nothing half-written.

All broken scans share one run with a good one, whose truth is a mask. What the readers refuse
besides is in tests/readers.
"""

import csv
import json
import re
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from dicom_slices import write_series
from pydicom import dcmread
from pydicom.encaps import encapsulate
from tiny_detector import SHAPE, SPACING, save_detector

from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

pytestmark = pytest.mark.workflow

DIAGONAL = np.diag([-4.0, -4.0, 6.0, 1.0])


def _nifti(path, values, affine=DIAGONAL):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def _eight_bits(path, hu):
    _nifti(path, np.clip((hu + 1024) // 16, 0, 255).astype(np.uint8).T)


def _four_axes(path, hu):
    _nifti(path, np.stack([hu.T] * 3, axis=-1))


def _zero_spacing(path, hu):
    _nifti(path, hu.T)
    raw = bytearray(path.read_bytes())
    raw[88:92] = bytes(4)  # pixdim along z
    path.write_bytes(raw)


def _cut_slice(path, hu):
    file = write_series(path, hu[:4], spacing=SPACING)[2]
    file.write_bytes(file.read_bytes()[:-500])


def _no_decoder(path, hu):
    """Write slices in the arithmetic-coded JPEG that DICOM has retired."""
    for file in write_series(path, hu[:4], spacing=SPACING):
        dataset = dcmread(file)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.52"
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(file)


# name of the sample: (file, how it is written, what the error must say)
BROKEN = {
    "no_ct": (
        "u8.nii",
        _eight_bits,
        r"u8\.nii is not a CT in Hounsfield units: its values range from 0",
    ),
    "four_axes": ("4d.nii", _four_axes, r"4d\.nii .*3 channels: write channel="),
    "zero_spacing": ("zero.nii", _zero_spacing, r"zero\.nii .*along z: write `spacing="),
    "cut_slice": ("cut", _cut_slice, r"\.dcm is truncated: it holds \d+ of \d+ bytes"),
    "no_decoder": (
        "jpeg",
        _no_decoder,
        r"\.dcm is compressed as JPEG .*no decoder is available: export",
    ),
}


@pytest.fixture(scope="module")
def folder(make_project_folder, tmp_path_factory):
    """Return a project of a good scan and of all broken ones."""
    folder = make_project_folder(tmp_path_factory.mktemp("scans"))
    save_detector(folder.path / "models" / "nodule")
    # few of the many peaks of random weights
    peaks = {"peak_detection": {"min_distance": 80}}
    folder.config["tasks"]["nodules"] = {
        "kind": "detection",
        "model": "models/nodule",
        "detection": peaks,
    }
    data = folder.path / "data"
    phantom = chest_phantom(1, shape=SHAPE, spacing=SPACING)
    write_volume(data / "good.nii.gz", phantom.image, phantom.grid, attributes={})
    write_volume(data / "mask.nii.gz", phantom.objects, phantom.grid, attributes={})
    folder.findings = phantom.findings
    folder.rows = [["good", "nodules", "data/good.nii.gz", "data/mask.nii.gz", ""]]
    for name, (file, write, _) in BROKEN.items():
        write(data / file, phantom.image)
        folder.rows.append([name, "nodules", f"data/{file}", "", ""])
    folder.write()
    return folder


@pytest.fixture(scope="module")
def run(folder, snakemake):
    status, text = snakemake(folder.path, "--keep-going")
    return SimpleNamespace(results=folder.path / "results", status=status, text=text)


def errors_of(log):
    text = log.read_text()
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("ERROR")]


def test_a_mask_is_the_truth_of_a_scan_in_the_workflow(run, folder):
    assert run.status == 1
    results = run.results / "good"
    assert (results / "report.html").is_file(), run.text
    quality = json.loads((results / "quality.json").read_text())
    assert quality["provenance"]["truth"]["mask"] == "mask.nii.gz"
    assert quality["metrics"]["nodules"] == len(folder.findings)
    assert quality["metrics"]["sensitivity"]["overall"] is not None


@pytest.mark.parametrize("sample", sorted({*BROKEN} - {"no_ct"}))
def test_a_bad_header_gets_one_readable_line_and_no_job(run, sample):
    _, _, last = run.text.partition(" samples failed:\n")
    (line,) = [line for line in last.splitlines() if line.startswith(f"{sample}: ")]
    assert re.search(BROKEN[sample][2], line), line
    assert "Traceback (most recent call last)" not in run.text
    assert not (run.results / sample).exists()
    assert not (run.results / "logs" / sample).exists()


def test_bad_voxels_get_one_readable_error_in_the_first_stage_and_no_output(run):
    (error,) = errors_of(run.results / "logs" / "no_ct" / "resample_volume.log")
    assert re.search(BROKEN["no_ct"][2], error), error
    assert not [path for path in (run.results / "no_ct").rglob("*") if path.is_file()]
    assert [path.name for path in (run.results / "logs" / "no_ct").iterdir()] == [
        "resample_volume.log"
    ]


def test_an_empty_folder_stops_the_run_before_its_first_job(run, folder, snakemake):
    (folder.path / "data" / "nothing").mkdir()
    rows, folder.rows = folder.rows, [["empty", "nodules", "data/nothing", "", ""]]
    folder.write()
    status, text = snakemake(folder.path)
    folder.rows = rows
    assert status == 1
    assert re.search(
        r"Nothing was run\. .*sample 'empty': source: data/nothing is a folder without a volume, "
        "it is empty: give",
        text,
    )
    assert "Traceback" not in text


def test_a_truth_with_a_coordinate_that_is_no_number_is_named_with_its_line(run, folder, snakemake):
    before = (run.results / "good" / "detections.json").read_bytes()
    table = folder.path / "data" / "nan.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"])
        writer.writerows([["good", 1, 2, 3, 8], ["good", "NaN", 2, 3, 8]])
    folder.rows = [["good", "nodules", "data/good.nii.gz", "data/nan.csv", ""]]
    folder.write()
    status, _ = snakemake(folder.path)
    assert status == 1
    (error,) = errors_of(run.results / "logs" / "good" / "measure_detections.log")
    assert re.search(r"nan\.csv:3: coordX is NaN, which is not finite: give a number", error)
    # what was made of another truth is gone, what needs no truth stays
    assert not (run.results / "good" / "quality.json").exists()
    assert (run.results / "good" / "detections.json").read_bytes() == before
