"""`parafovea export-bids`: names by the rules of BIDS, places as nibabel reads them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from recorded_results import make_everything
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ConfigError
from parafovea.geometry.grid import Grid
from parafovea.geometry.scan_space import ScanSpace
from parafovea.runtime.shipped_files import shipped
from parafovea.sharing.bids_derivatives import Subject
from parafovea.storage.store import create

#: Of a scan that is turned, flipped and moved: from voxel (x, y, z) to RAS.
AFFINE = np.array([[-3.2, 0, 0, 90], [0, 0, 6.0, -40], [0, 3.2, 0, 12], [0, 0, 0, 1]], float)
SHAPE = (12, 20, 24)


def run(*arguments):
    return CliRunner().invoke(app, ["export-bids", *map(str, arguments)])


def write_nifti(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


@pytest.fixture
def scans(project_folder, monkeypatch):
    """Return a project of two finished scans."""
    monkeypatch.chdir(project_folder.path)
    random = np.random.default_rng(0)
    project_folder.config["tasks"] = {
        "nodules": {"kind": "detection", "model": "resources/models/nodule"}
    }
    project_folder.rows[:] = []
    for name in ("chest_1", "sub-02_ses-b"):
        scan = random.integers(-1000, 400, SHAPE[::-1]).astype(np.int16)
        write_nifti(Path("data", f"{name}.nii.gz"), scan)
        project_folder.rows.append([name, "nodules", f"data/{name}.nii.gz", "", ""])
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    for name in ("chest_1", "sub-02_ses-b"):
        heat = random.random(SHAPE[::-1]).astype(np.float32)
        write_nifti(Path("results", name, "heatmap.nii.gz"), heat)
        table = Path("results", name, "detections.csv")
        table.write_text("scan,confidence,class\nx,0.75,\n")
    return project_folder


def test_scans_get_names_of_bids_derivatives(scans):
    found = run("--output", "bids")
    assert found.exit_code == 0, found.output
    names = {p.relative_to("bids").as_posix() for p in Path("bids").rglob("*") if p.is_file()}
    first, second = "sub-chest1/ct/sub-chest1", "sub-02/ses-b/ct/sub-02_ses-b"
    assert names == {
        ".bidsignore",
        "README.md",
        "dataset_description.json",
        "participants.json",
        "participants.tsv",
        *(
            f"{start}_{rest}"
            for start in (first, second)
            for rest in (
                "desc-heatmap_probseg.nii.gz",
                "desc-heatmap_probseg.json",
                "desc-nodules_detections.tsv",
                "desc-nodules_detections.json",
            )
        ),
    }
    description = json.loads(Path("bids/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "Parafovea"
    assert description["BIDSVersion"].startswith("1.")
    assert Path("bids/participants.tsv").read_text().splitlines() == [
        "participant_id\tsamples\ttasks",
        "sub-chest1\tchest_1\tnodules",
        "sub-02\tsub-02_ses-b\tnodules",
    ]
    table = Path(f"bids/{first}_desc-nodules_detections.tsv").read_text()
    assert table == "scan\tconfidence\tclass\nx\t0.75\tn/a\n"


def test_an_image_lies_where_its_scan_lies(scans):
    run("--output", "bids")
    image = nibabel.load("bids/sub-chest1/ct/sub-chest1_desc-heatmap_probseg.nii.gz")
    source = nibabel.load("data/chest_1.nii.gz")
    np.testing.assert_array_equal(image.affine, source.affine)
    assert image.shape == source.shape
    sidecar = json.loads(
        Path("bids/sub-chest1/ct/sub-chest1_desc-heatmap_probseg.json").read_text()
    )
    assert sidecar["Sources"] == ["data/chest_1.nii.gz"]
    assert sidecar["SpatialReference"] == "orig"
    assert sidecar["Manual"] is False


def test_classes_are_written_on_the_voxels_of_the_scan(scans):
    scan = Grid(SHAPE, (6.0, 3.2, 3.2), (0, 0, 0), "millimeter")
    # half as many voxels along z, y and x, which cover the same space
    model = Grid((6, 10, 12), (12.0, 6.4, 6.4), (3.0, 1.6, 1.6), "millimeter")
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, model.shape).astype(np.uint8)
    results = Path("results/chest_1")
    made = {"source": {"grid": scan.to_dict(), "affine": AFFINE.tolist()}}
    record = results / "volume.ome.zarr/.made.json"
    recorded = record.read_text()
    for name in ("volume", "classes"):
        with create(results / f"{name}.ome.zarr", model, dtype=np.uint8, attributes=made) as array:
            array[:] = labels
    record.write_text(recorded)
    found = run("chest_1", "--output", "bids")
    assert found.exit_code == 0, found.output
    image = nibabel.load("bids/sub-chest1/ct/sub-chest1_dseg.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    expected = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected)
    assert ScanSpace(scan, AFFINE).grid.shape == image.shape[::-1]
    table = Path("bids/sub-chest1/ct/sub-chest1_dseg.tsv").read_text()
    assert table.startswith("index\tname\n0\t")


@pytest.mark.parametrize(
    ("sample", "entities"),
    [
        ("chest_301", "sub-chest301"),
        ("sub-07", "sub-07"),
        ("sub-07_ses-2b", "sub-07_ses-2b"),
        ("sub-07_run-1", "sub-sub07run1"),
    ],
)
def test_a_label_has_letters_and_digits_alone(sample, entities):
    assert Subject.of(sample).entities == entities


def test_a_sample_without_letters_and_digits_has_no_label():
    with pytest.raises(ConfigError, match="no letter or digit"):
        Subject.of("__-_")


def test_samples_that_would_share_a_label_are_refused(scans):
    scans.rows.append(["Chest-1", "nodules", "data/chest_1.nii.gz", "", ""])
    scans.write()
    found = run("--output", "bids")
    assert found.exit_code == 1
    text = " ".join(found.output.split())
    assert "'chest_1' and 'Chest-1' would both be sub-Chest1" in text
    assert not Path("bids").exists()


def test_samples_that_are_no_scans_and_other_files_are_refused(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)
    project_folder.write()
    found = run("a", "--output", "bids")
    assert found.exit_code == 1
    assert "is no predicted scan" in " ".join(found.output.split())
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    found = run("--output", "mine")
    assert found.exit_code == 1
    assert Path("mine/thesis.txt").exists()
