"""A series becomes one job when it is complete, whenever the process is killed."""

from __future__ import annotations

import contextlib
import io
import os

import pytest
from pacs_nodes import STUDY, pacs_settings, planes

from parafovea.pacs.received_objects import ReceivedObject, RefusedObject
from parafovea.pacs.series_intake import OWNER, SCAN, SeriesIntake
from parafovea.pacs.series_ledger import SeriesLedger
from parafovea.service.job_queue import JobQueue
from parafovea.service.spool import Spool

SERIES = f"{STUDY}.1"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """An intake on a spool, which can be opened again as a new process would."""

    def __init__(self, folder, **settings) -> None:
        self.clock = Clock()
        self.spool = Spool(folder)
        self.settings = pacs_settings(quiet_seconds=10.0, **settings)
        self.min_free, self.max_queued = 0, 10
        self.queue = JobQueue(self.spool.database)
        self.ledger = SeriesLedger(folder / "pacs.sqlite3")
        self.open()

    def open(self) -> None:
        self.intake = SeriesIntake(
            self.settings, self.spool, self.queue, self.ledger,
            min_free=self.min_free, max_queued=self.max_queued, clock=self.clock,
        )  # fmt: skip

    def take(self, *datasets, association=1) -> list[bool]:
        return [
            self.intake.add(
                "scanner", header_of(dataset), encoded(dataset), association=association
            )
            for dataset in datasets
        ]

    def finish(self, association=1) -> int:
        self.intake.released(association)
        self.clock.now += 11
        return self.intake.admit_complete()

    def close(self) -> None:
        self.queue.close()
        self.ledger.close()


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path / "spool")
    yield found
    found.close()


def encoded(dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def header_of(dataset) -> ReceivedObject:
    return ReceivedObject.read(io.BytesIO(encoded(dataset)))


def uploaded(desk, job) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (desk.spool.upload(job) / SCAN).iterdir()}


def test_a_series_is_complete_after_the_quiet_seconds_and_not_before(desk):
    slices = planes(3)
    desk.take(slices[0])
    desk.intake.released(1)
    desk.clock.now += 9
    assert desk.intake.admit_complete() == 0
    desk.take(*slices[1:], association=2)
    desk.clock.now += 30
    # the association is still there
    assert desk.intake.admit_complete() == 0
    assert desk.finish(2) == 1
    (job,) = desk.queue.jobs()
    assert (job.owner, job.task, job.source, job.state) == (OWNER, "nodules", SCAN, "queued")
    assert uploaded(desk, job.id) == {f"{d.SOPInstanceUID}.dcm": encoded(d) for d in slices}
    assert desk.spool.dicom_wanted(job.id).is_file()
    record = desk.ledger.get(job.id)
    assert (record.peer, record.target, record.study, record.series) == (
        "scanner", "scanner", STUDY, SERIES,
    )  # fmt: skip
    assert desk.intake.waiting() == 0
    assert list(desk.intake.root.rglob("*.dcm")) == []


def test_an_association_that_goes_on_with_another_series_does_not_hold_the_first(desk):
    first, second = planes(2), planes(2, series=f"{STUDY}.2")
    desk.take(*first, *second)
    desk.clock.now += 11
    assert desk.intake.admit_complete() == 1
    assert desk.ledger.records()[0].series == SERIES


def test_an_object_that_comes_twice_is_there_once(desk):
    (dataset,) = planes(1)
    assert desk.take(dataset, dataset) == [True, False]


def test_the_same_series_again_is_no_second_job(desk):
    slices = planes(3)
    desk.take(*slices)
    assert desk.finish() == 1
    desk.take(*slices[:2], association=2)
    assert desk.finish(2) == 0
    assert len(desk.queue.jobs()) == 1
    assert desk.intake.waiting() == 0


def test_a_series_whose_job_failed_is_predicted_again(desk):
    desk.take(*planes(2))
    desk.finish()
    (job,) = desk.queue.jobs()
    desk.ledger.finish(job.id, "failed", "no reason")
    desk.take(*planes(2), association=2)
    assert desk.finish(2) == 1


def test_more_of_a_complete_series_is_a_job_of_all_of_it(desk):
    slices = planes(5)
    desk.take(*slices[:3])
    desk.finish()
    (first,) = desk.queue.jobs()
    desk.take(*slices[2:], association=2)
    assert desk.finish(2) == 1
    second = desk.queue.jobs()[0]
    assert uploaded(desk, second.id) == {f"{d.SOPInstanceUID}.dcm": encoded(d) for d in slices}
    # the part is not predicted, and its results are stored nowhere
    assert desk.ledger.get(first.id).state == "replaced"
    assert [each.id for each in desk.queue.jobs()] == [second.id]
    assert not desk.spool.job(first.id).exists()


def test_results_that_are_stored_stay_when_more_of_their_series_comes(desk):
    slices = planes(3)
    desk.take(*slices[:2])
    desk.finish()
    (first,) = desk.queue.jobs()
    desk.ledger.finish(first.id, "stored")
    desk.take(slices[2], association=2)
    assert desk.finish(2) == 1
    assert desk.ledger.get(first.id).state == "stored"
    assert len(desk.queue.jobs()) == 2
    assert len(uploaded(desk, desk.queue.jobs()[0].id)) == 3


def test_objects_of_one_series_and_two_studies_are_refused(desk):
    desk.take(*planes(1))
    with pytest.raises(RefusedObject, match="name two studies"):
        desk.take(planes(2, StudyInstanceUID="1.2.3")[1])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_series_bytes": 3000}, r"more than 3000 bytes \(pacs.max_series_bytes\)"),
        ({"max_series_instances": 2}, r"more than 2 objects \(pacs.max_series_instances\)"),
    ],
)
def test_a_series_has_a_most_of_bytes_and_objects(tmp_path, settings, reason):
    desk = Desk(tmp_path / "spool", **settings)
    try:
        with pytest.raises(RefusedObject, match=reason) as refusal:
            desk.take(*planes(5))
        assert refusal.value.full
    finally:
        desk.close()


def test_on_a_full_disk_objects_are_refused_before_they_are_written(desk):
    desk.min_free = desk.spool.free() + 2**40
    desk.open()
    with pytest.raises(RefusedObject, match="almost full"):
        desk.take(*planes(1))
    assert list(desk.intake.root.rglob("*.dcm")) == []


def test_with_a_full_queue_a_series_waits_on_the_disk(desk):
    desk.max_queued = 1
    desk.open()
    desk.take(*planes(2))
    desk.finish()
    desk.take(*planes(2, series=f"{STUDY}.2"))
    assert desk.finish() == 0
    assert (desk.intake.waiting(), len(desk.ledger.records())) == (1, 1)
    assert len(list(desk.spool.jobs.iterdir())) == 1
    desk.queue.delete(desk.queue.jobs()[0].id)
    assert desk.intake.admit_complete() == 1


def test_what_an_earlier_process_received_is_taken_up_again(desk):
    slices = planes(3)
    desk.take(*slices[:2])
    # killed while it wrote the third
    (desk.intake.folder("scanner", SERIES) / ".0123456789abcdef").write_bytes(b"half")
    desk.open()
    desk.take(slices[2], association=5)
    assert desk.finish(5) == 1
    (job,) = desk.queue.jobs()
    assert uploaded(desk, job.id) == {f"{d.SOPInstanceUID}.dcm": encoded(d) for d in slices}


def test_where_a_job_cannot_be_made_the_series_stays_and_is_tried_again(desk, monkeypatch):
    slices = planes(2)
    desk.take(*slices)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "1.2.3.dcm")

    with monkeypatch.context() as patch:
        patch.setattr("parafovea.pacs.series_intake.os.link", full)
        assert desk.finish() == 0
    assert (desk.queue.jobs(), desk.ledger.records()) == ([], [])
    assert list(desk.spool.jobs.iterdir()) == []
    assert desk.intake.admit_complete() == 1
    assert len(uploaded(desk, desk.queue.jobs()[0].id)) == 2


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(8))
def test_killed_between_a_complete_series_and_its_job_it_becomes_one_job(desk, moment, monkeypatch):
    slices = planes(2)
    desk.take(*slices)
    calls = iter(range(100))

    def dying(function):
        def call(*arguments, **options):
            if next(calls) == moment:
                raise Killed
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        module = "parafovea.pacs.series_intake"
        patch.setattr(f"{module}._write", dying(_module("_write")))
        patch.setattr(f"{module}.os.link", dying(os.link))
        patch.setattr(f"{module}.shutil.rmtree", dying(_module("shutil").rmtree))
        patch.setattr(desk.ledger, "add", dying(desk.ledger.add))
        patch.setattr(desk.queue, "submit", dying(desk.queue.submit))
        with contextlib.suppress(Killed):
            desk.finish()
    desk.open()
    desk.finish()
    (job,) = desk.queue.jobs()
    assert uploaded(desk, job.id) == {f"{d.SOPInstanceUID}.dcm": encoded(d) for d in slices}
    assert [each.job for each in desk.ledger.records()] == [job.id]
    assert [place.name for place in desk.spool.jobs.iterdir()] == [job.id]
    assert desk.intake.waiting() == 0


def _module(name):
    import parafovea.pacs.series_intake as found

    return getattr(found, name)
