"""DICOM objects of `parafovea predict` and of the service: of DICOM series, and of nothing else."""

import json
import shutil
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_slices import OBLIQUE, PATIENT, write_series
from tiny_detector import SHAPE, SPACING, save_detector
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_settings
from parafovea.config.schema import Task
from parafovea.service.job_prediction import JobPrediction
from parafovea.service.job_queue import JobQueue
from parafovea.service.job_results import JobResults
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

OBJECTS = {"segmentation.dcm", "measurements.dcm"}
STUDY = {"StudyInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5"}


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Return a folder with a coarse chest as a DICOM series, without a study, and as NIfTI."""
    phantom = chest_phantom(1, shape=SHAPE, spacing=SPACING)
    folder = tmp_path_factory.mktemp("scans")
    image = phantom.image.astype(np.int16)
    write_series(folder / "series", image, directions=OBLIQUE, spacing=SPACING, **STUDY)
    write_series(folder / "loose", image, spacing=SPACING)
    write_volume(folder / "other.nii.gz", phantom.image, phantom.grid, attributes={})
    return folder


@pytest.fixture
def project(project_folder, monkeypatch) -> Path:
    """Go to a folder whose task `nodules` has a model of random weights."""
    folder: Path = project_folder.path
    save_detector(folder / "models/nodule")
    settings = {"peak_detection": {"threshold": 0.4}, "body_filter": {"enabled": False}}
    project_folder.config["tasks"]["nodules"] = {
        "kind": "detection",
        "model": "models/nodule",
        "detection": settings,
    }
    project_folder.write()
    monkeypatch.chdir(folder)
    return folder


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--task", "nodules"])


def served(folder: Path, upload: Path, *, by_archive: bool = False) -> JobResults:
    spool = Spool(folder / "spool")
    with JobQueue(spool.database) as queue:
        job = queue.new_id()
        spool.upload(job).mkdir(parents=True)
        shutil.copy(upload, spool.upload(job))
        if by_archive:
            spool.dicom_wanted(job).touch()
        queue.submit(job, owner="", task="nodules", source=upload.name)
        claimed = queue.claim("test", lease=60, attempts=3)
        service = ServiceSettings(spool=spool.root)
        settings = read_settings(Path("config/config.yaml"))
        outcome = JobPrediction(settings, service, spool)(claimed, lambda stage, share: None)
    assert outcome.error is None, outcome.error
    return JobResults(spool, claimed)


def test_predict_writes_the_same_objects_each_time_that_it_is_asked_to(project, scans):
    done = predict(scans / "series", "--output", "results/plain")
    assert done.exit_code == 0, done.stderr
    assert not OBJECTS & {path.name for path in Path("results/plain").iterdir()}
    for name in ("first", "second"):
        done = predict(scans / "series", "--dicom-output", "--output", f"results/{name}")
        assert done.exit_code == 0, done.stderr
    for name in OBJECTS:
        assert Path("results/first", name).read_bytes() == Path("results/second", name).read_bytes()
    document = json.loads(Path("results/first/detections.json").read_text())
    seg = highdicom.seg.segread("results/first/segmentation.dcm")
    assert seg.number_of_segments == max(1, len(document["detections"]))
    assert seg.StudyInstanceUID == STUDY["StudyInstanceUID"]
    # the patient stands in the two objects alone
    for path in Path("results/first").iterdir():
        secret = PATIENT["PatientID"].encode() in path.read_bytes()
        assert secret == (path.name in OBJECTS), path


def test_scans_that_have_no_objects_are_refused_before_any_work(project, scans):
    done = predict("--input-dir", scans, "--dicom-output", "--output", "results")
    assert done.exit_code == 1
    failed = json.loads(Path("results/summary.json").read_text())["failed"]
    assert failed.keys() == {"loose", "other"}
    assert "is for DICOM series" in failed["other"]
    assert "does not state StudyInstanceUID" in failed["loose"]
    assert not Path("results/other").exists()
    assert {path.name for path in Path("results/series").iterdir()} >= OBJECTS


def test_a_task_of_another_kind_has_no_objects(project, scans):
    with pytest.raises(ValueError, match="dicom_output does not apply to a task of kind refine"):
        Task(kind="refinement", model="models/optical", dicom_output=True)
    Task(kind="segmentation", model="models/cell", dicom_output=True)


def test_the_service_gives_the_objects_of_a_series_and_none_of_other_scans(project, scans):
    packed = shutil.make_archive(str(project / "series"), "zip", scans / "series")
    found = served(project, Path(packed))
    assert {each["name"] for each in found.listed()} >= OBJECTS
    assert predict(packed, "--dicom-output", "--output", "results/direct").exit_code == 0
    for name in OBJECTS:
        assert found.file(name).read_bytes() == Path("results/direct", name).read_bytes()
    report = pydicom.dcmread(found.file("measurements.dcm"))
    assert report.SOPClassUID == pydicom.uid.Comprehensive3DSRStorage
    # of a series to which they could not refer, too
    for upload in (shutil.make_archive(str(project / "loose"), "zip", scans / "loose"),):
        names = {each["name"] for each in served(project, Path(upload)).listed()}
        assert "detections.json" in names
        assert not OBJECTS & names
    names = {each["name"] for each in served(project, scans / "other.nii.gz").listed()}
    assert not OBJECTS & names


def test_nothing_is_made_for_the_page_of_a_series_that_an_archive_sent(project, scans):
    packed = Path(shutil.make_archive(str(project / "series"), "zip", scans / "series"))
    assert served(project, packed).viewer.is_dir()
    found = served(project, packed, by_archive=True)
    assert {each["name"] for each in found.listed()} >= OBJECTS
    assert not found.viewer.exists()
