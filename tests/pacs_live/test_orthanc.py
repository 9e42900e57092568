"""Series and results go to and fro between a real archive and the listener."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_slices import AXIAL, OBLIQUE, PATIENT
from free_port import free_port
from listener import TITLE, Listener, series_uid, study_uid, write_scan
from live_server import wait_for
from orthanc import TITLE as ARCHIVE
from orthanc import Orthanc, storescu

from parafovea.config import read_settings
from parafovea.pacs.archives import source_archive
from parafovea.pacs.pulling import chosen_series, retrieve_series
from parafovea.pacs.series_intake import SCAN

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def stored(archive: Orthanc, study: str) -> dict[str, bytes]:
    """Return the one SEG and the one SR of a study."""
    found = {}
    for modality in ("SEG", "SR"):
        (instance,) = archive.instances(study, modality)
        found[modality] = archive.file(instance)
    return found


def check_places(objects: dict[str, bytes], results: Path, scan: Path) -> int:
    """Compare the regions and positions of the archive's objects with the NIfTI heatmap."""
    segmentation = hd.seg.segread(io.BytesIO(objects["SEG"]))
    heatmap = nibabel.load(results / "heatmap.nii.gz")
    source = pydicom.dcmread(next(scan.iterdir()))
    for name in objects:
        dataset = pydicom.dcmread(io.BytesIO(objects[name]))
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert dataset.PatientID == source.PatientID
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    volume = segmentation.get_volume(combine_segments=True, skip_overlap_checks=True)
    marked = np.argwhere(volume.array > 0)
    if len(marked):
        places = volume.map_indices_to_reference(marked.astype(float))
        # RAS of NIfTI
        places = places * [-1, -1, 1]
        voxels = nibabel.affines.apply_affine(np.linalg.inv(heatmap.affine), places)
        nearest = np.rint(voxels)
        offsets = nibabel.affines.apply_affine(heatmap.affine, nearest) - places
        assert np.abs(offsets).max() < 0.01
        heat = heatmap.get_fdata()[tuple(nearest.astype(int).T)]
        assert heat.min() > 0.5
    report = pydicom.dcmread(io.BytesIO(objects["SR"]))
    table = json.loads((results / "detections.json").read_text())["detections"]
    points = [item.GraphicData for item in items(report) if item.get("ValueType") == "SCOORD3D"]
    wanted = [each["coordinates"] for each in table]
    assert len(points) == len(wanted) > 0
    assert np.abs(np.sort(points, axis=0) - np.sort(wanted, axis=0)).max() < 0.01
    assert len(segmentation.SegmentSequence) == len(table)
    return len(marked)


def items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """Yield all items of a report."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def scans_equal(folder: Path, files: list[Path]) -> bool:
    """Return whether a folder has the slices of some files, whatever else their headers say."""
    own = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, files)}
    got = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert sorted(each.SOPInstanceUID for each in got) == sorted(own)
    return all(
        each.PixelData == own[each.SOPInstanceUID].PixelData
        and each.ImagePositionPatient == own[each.SOPInstanceUID].ImagePositionPatient
        for each in got
    )


def results_of(listener: Listener, job: str) -> Path:
    (place,) = listener.spool.job(job).glob(f"attempt-*/{SCAN}")
    return place


@pytest.mark.parametrize(
    ("number", "calling", "directions"),
    [(1, "SCANNER", AXIAL), (2, ARCHIVE, OBLIQUE)],
    ids=["axial, stored by STOW-RS", "oblique, stored by C-STORE"],
)
def test_a_series_that_is_sent_gets_its_results_in_the_study(
    archive, listener, tmp_path, number, calling, directions
):
    scan = tmp_path / "scan"
    files = write_scan(scan, number, directions=directions)
    done = storescu(archive.dicom, files, calling="SCANNER", called=ARCHIVE)
    assert done.returncode == 0, done.stderr
    if calling == ARCHIVE:
        archive.send(study_uid(number), "parafovea")
    else:
        done = storescu(listener.port, files, calling=calling, called=TITLE)
        assert done.returncode == 0, done.stderr
    record = listener.over(series_uid(number))
    assert (record.state, record.error) == ("stored", None)
    objects = stored(archive, study_uid(number))
    marked = check_places(objects, results_of(listener, record.job), scan)
    assert marked > 0
    # nothing of the patient is in the log
    assert not any(secret in listener.log.read_text() for secret in PATIENT.values())


def test_a_study_that_comes_again_with_our_results_in_it_changes_nothing(
    archive, listener, tmp_path
):
    number = 2
    before = listener.records()
    there = stored(archive, study_uid(number))
    sent = archive.send(study_uid(number), "parafovea")
    # the archive takes each object for delivered, or it would send again and again
    assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (42, 0)
    log = listener.log.read_text
    wait_for(lambda: "received again, of job" in log(), "the end of the series", seconds=30)
    assert listener.records() == before
    assert stored(archive, study_uid(number)) == there


def test_strangers_are_refused(listener, tmp_path):
    files = write_scan(tmp_path / "scan", 50)[:1]
    for calling, called in (("STRANGER", TITLE), ("SCANNER", "ANOTHER")):
        done = storescu(listener.port, files, calling=calling, called=called)
        assert done.returncode != 0
        assert "Association Rejected" in done.stdout + done.stderr
    assert not (listener.spool.root / "received/scanner" / series_uid(50)).exists()


def pulling(project: Path, archive: Orthanc, **changes: object) -> Listener:
    """Return what runs `parafovea pacs` with the archive as its only peer; nothing listens."""
    peer = {
        "ae_title": ARCHIVE, "host": "127.0.0.1", "port": archive.dicom, "dicomweb": archive.root,
        "user_variable": "PACS_USER", "password_variable": "PACS_PASSWORD", **changes,
    }  # fmt: skip
    return Listener(project, archive.known["puller"][2], ae_title="PULLER", peers={"orthanc": peer})


@pytest.mark.parametrize("way", ["dicomweb", "move", "get"])
def test_each_way_of_retrieval_gives_the_slices(archive, pacs_project, tmp_path, credentials, way):
    number = 60
    files = write_scan(tmp_path / "scan", number)
    assert storescu(archive.dicom, files, calling="SCANNER", called=ARCHIVE).returncode == 0
    settings = read_settings(pulling(pacs_project, archive, retrieve=way).config).pacs
    found = source_archive(settings, "orthanc")
    found.echo()
    (entry,) = chosen_series(found, study_uid(number), only=None, settings=settings)
    assert (entry.series, entry.modality, entry.instances) == (series_uid(number), "CT", 40)
    counts: list[int] = []
    folder = retrieve_series(
        found, study_uid(number), entry, tmp_path / "pulled",
        settings=settings, min_free=0, progress=lambda entry, count: counts.append(count),
    )  # fmt: skip
    found.close()
    assert scans_equal(folder, files)
    assert counts == list(range(1, 41))


@pytest.mark.parametrize(
    ("number", "way", "store", "directions"),
    [(3, "dicomweb", "dicomweb", AXIAL), (4, "move", "dimse", OBLIQUE)],
    ids=["DICOMweb, axial", "C-MOVE and C-STORE, oblique"],
)
def test_a_study_that_is_pulled_gets_its_results(
    archive, pacs_project, tmp_path, credentials, number, way, store, directions
):
    scan = tmp_path / "scan"
    files = write_scan(scan, number, directions=directions)
    # a study has an overview image, in a series of its own
    overview = pydicom.dcmread(files[0])
    overview.SeriesInstanceUID = f"{study_uid(number)}.2"
    overview.SOPInstanceUID = overview.file_meta.MediaStorageSOPInstanceUID = (
        f"{study_uid(number)}.3"
    )
    overview.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    overview.save_as(tmp_path / "overview.dcm", enforce_file_format=True)
    files.append(tmp_path / "overview.dcm")
    assert storescu(archive.dicom, files, calling="SCANNER", called=ARCHIVE).returncode == 0
    puller = pulling(pacs_project, archive, retrieve=way, store=store)
    done = puller.run(
        "pull", study_uid(number), "--config", str(puller.config), "--store",
        "--output", str(tmp_path / "results"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 results are stored at orthanc" in done.stdout
    assert f"left out series {study_uid(number)}.2 has no slices of CT" in done.stderr
    results = tmp_path / "results" / series_uid(number)
    objects = stored(archive, study_uid(number))
    assert check_places(objects, results, scan) > 0
    # the slices are not kept, and nothing of the patient is shown
    assert [place.name for place in (tmp_path / "results").iterdir()] == [results.name]
    assert not any(secret in done.stdout + done.stderr for secret in PATIENT.values())


def test_killed_at_any_time_a_series_is_predicted_and_stored_once(
    archive, pacs_project, tmp_path, credentials
):
    number, target = 5, free_port()
    later = Orthanc(free_port(), target, {}, title="SCANNER")
    peer = {
        "ae_title": "SCANNER", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": target,
    }  # fmt: skip
    listener = Listener(pacs_project, free_port(), quiet_seconds=5.0, peers={"scanner": peer})
    listener.start()
    try:
        scan = tmp_path / "scan"
        files = write_scan(scan, number)
        # killed while it receives
        half = storescu(listener.port, files[:17], calling="SCANNER", called=TITLE)
        assert half.returncode == 0
        listener.kill()
        assert len(list(listener.spool.root.glob("received/scanner/*/*.dcm"))) == 17
        listener.start()
        rest = storescu(listener.port, files[10:], calling="SCANNER", called=TITLE)
        assert rest.returncode == 0
        # killed while it predicts
        job = wait_for(
            lambda: next((r.job for r in listener.records() if len(r.instances) == 40), None),
            "the job of the whole series",
        )
        attempts = listener.spool.job(job).glob
        wait_for(lambda: list(attempts("work-*")), "the beginning of its prediction")
        listener.kill()
        listener.start()
        # the archive is not there: the reason is listed, and it is tried again
        wait_for(lambda: listener.records()[0].error, "the first attempt to store")
        listed = listener.run("status", "--spool", str(listener.spool.root)).stdout
        assert series_uid(number) in listed
        assert "storing" in listed
        assert "peer scanner cannot be reached: check its host and port" in listed
        # killed while it waits for the archive
        listener.kill()
        later.start()
        listener.start()
        record = listener.over(series_uid(number))
        assert (record.job, record.state, len(record.instances)) == (job, "stored", 40)
        # where this machine is slow, the first half was complete before the rest came
        assert {each.state for each in listener.records()} <= {"stored", "replaced"}
        objects = stored(later, study_uid(number))
        assert check_places(objects, results_of(listener, record.job), scan) > 0
    finally:
        listener.stop()
        later.stop()
