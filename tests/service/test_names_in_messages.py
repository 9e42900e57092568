"""Names of files, and what is in them, may be those of patients: no message and no log has them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_slices import save, slice_dataset
from served_job import done, write_tasks

from parafovea.drivers.predict_scans import ScanResult
from parafovea.formats.tiles.npz import write_tile
from parafovea.service import job_prediction


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Go to a folder with a config of two tasks and their models."""
    monkeypatch.chdir(tmp_path)
    write_tasks()
    return tmp_path


def truncated(slices: list[Path]) -> None:
    slices[3].write_bytes(slices[3].read_bytes()[:-500])


def of_two_series(slices: list[Path]) -> None:
    for number in (20, 21):
        name = slices[0].with_name(f"Secretname_IM{number}.dcm")
        save(plane(number, series="1.2.3.4"), name)


def twice_at_a_place(slices: list[Path]) -> None:
    shutil.copy(slices[3], slices[0].with_name("Secretname_copy.dcm"))


def with_a_gap(slices: list[Path]) -> None:
    slices[3].unlink()


def of_two_sizes(slices: list[Path]) -> None:
    save(plane(3, rows=30), slices[3])


def without_a_position(slices: list[Path]) -> None:
    save(plane(3, ImagePositionPatient=None), slices[3])


def plane(number: int, *, rows: int = 40, **elements):
    stored = np.full((rows, 40), -500, np.int16)
    return slice_dataset(stored, (0, 0, 6.0 * number), spacing=(4.0, 4.0), **elements)


@pytest.mark.parametrize(
    "damage",
    [truncated, of_two_series, twice_at_a_place, with_a_gap, of_two_sizes, without_a_position],
)
def test_errors_of_a_series_count_its_files_instead_of_naming_them(here, damage, caplog):
    folder = here / "zip/Secretname^Erika/CT 1"
    slices = [folder / f"Secretname_IM{number:02}.dcm" for number in range(8)]
    for number, place in enumerate(slices):
        save(plane(number), place)
    damage(slices)
    shutil.make_archive("Secret_scan", "zip", "zip")
    with caplog.at_level(logging.INFO):
        found = done(here / "Secret_scan.zip")
    assert found.state == "failed"
    assert "Secret" not in found.error
    assert "Secret" not in caplog.text
    assert str(here) not in found.error
    assert "(by name)" in found.error


def test_errors_of_tiles_count_them_instead_of_naming_them(here):
    values = np.full((3, 32, 32), 0.1, np.float32)
    for number in range(2):
        write_tile(here / "in", f"Secretname_{number}", {"opt_v1": values}, {"month": 6})
    shutil.make_archive("Secret_fields", "zip", "in")
    found = done(here / "Secret_fields.zip", task="optical")
    assert "Secret" not in str(found.error)


def test_an_error_that_nobody_foresaw_is_told_by_its_type_alone(here, monkeypatch):
    def predict_scan(project, name, **options):
        return ScanResult(name, 0.0, None, "ValueError: 'Secretname' is no number", foreseen=False)

    monkeypatch.setattr(job_prediction, "predict_scan", predict_scan)
    for number in range(8):
        save(plane(number), here / f"zip/IM{number}.dcm")
    shutil.make_archive("series", "zip", "zip")
    found = done(here / "series.zip")
    assert found.error == "the service failed at this file (ValueError): tell its operator"


@pytest.mark.parametrize("name", ["models", "config"])
def test_tiles_of_the_name_of_a_folder_of_the_service_are_predicted(here, name):
    (here / "config").mkdir()
    for number in range(2):
        values = np.random.default_rng(number).uniform(0, 0.5, (4, 32, 32)).astype(np.float32)
        write_tile(here / "in", f"tile_{number}", {"opt_v1": values}, {"month": 6})
    Path("up").mkdir()
    shutil.make_archive(f"up/{name}", "zip", "in")
    found = done(here / f"up/{name}.zip", task="optical")
    assert found.error is None
    assert found.state == "completed"
    results = here / "spool/jobs" / found.id / "attempt-1" / name
    assert len(list((results / "tiles").glob("*.npz"))) == 2
