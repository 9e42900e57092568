"""Series and results go to and fro between a real archive and the listener."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_slices import AXIAL, OBLIQUE, PATIENT
from listener import TITLE, Listener, series_uid, study_uid, write_scan
from live_server import wait_for
from orthanc import TITLE as ARCHIVE
from orthanc import Orthanc, storescu

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
    return len(marked)


def results_of(listener: Listener, job: str) -> Path:
    (place,) = listener.spool.job(job).glob("attempt-*/scan")
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
