"""Results are stored once, tried again where that fails, and given up with the reason."""

from __future__ import annotations

import pytest

from parafovea.pacs.archive import ArchiveError
from parafovea.pacs.result_storing import ResultStoring
from parafovea.pacs.series_ledger import SeriesLedger
from parafovea.service.job_queue import JobQueue
from parafovea.service.spool import Spool


class FakeArchive:
    """An archive that fails at some calls."""

    def __init__(self, *failures: int, error: Exception | None = None) -> None:
        self.failures, self.error = failures, error or ArchiveError("peer pacs cannot be reached")
        self.calls = 0
        self.got: list[str] = []

    def store(self, path) -> None:
        self.calls += 1
        if self.calls in self.failures:
            raise self.error
        self.got.append(path.name)

    def close(self) -> None:
        pass


class Desk:
    def __init__(self, folder) -> None:
        self.now = 1000.0
        self.spool = Spool(folder)
        self.queue = JobQueue(self.spool.database, clock=lambda: self.now)
        self.ledger = SeriesLedger(folder / "pacs.sqlite3", clock=lambda: self.now)
        self.job = self.queue.new_id()
        self.spool.job(self.job).mkdir()
        self.ledger.add(
            self.job, peer="a", target="pacs", study="1.2", series="1.2.1", instances=["1"]
        )
        self.queue.submit(self.job, owner="pacs", task="nodules", source="scan")

    def complete(self, *names) -> None:
        claimed = self.queue.claim("worker", lease=60, attempts=3)
        folder = self.spool.attempt(self.job, 1) / "scan"
        folder.mkdir(parents=True)
        for name in (*names, "report.html"):
            (folder / name).write_bytes(b"")
        self.queue.complete(claimed, found=1, size=1)

    def storing(self, archive, *, give_up=86400.0) -> ResultStoring:
        return ResultStoring(
            self.ledger, self.queue, self.spool, lambda name: archive,
            give_up=give_up, clock=lambda: self.now,
        )  # fmt: skip

    def look(self, archive, **options) -> None:
        for record in self.ledger.due():
            self.storing(archive, **options).look_after(record)

    @property
    def record(self):
        return self.ledger.get(self.job)


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path / "spool")
    yield found
    found.queue.close()
    found.ledger.close()


def test_nothing_is_stored_before_the_job_is_done(desk):
    archive = FakeArchive()
    desk.look(archive)
    assert (desk.record.state, archive.got) == ("predicting", [])


def test_the_objects_of_a_job_are_stored_once_and_nothing_else_is(desk):
    archive = FakeArchive()
    desk.complete("segmentation.dcm", "measurements.dcm")
    for _ in range(3):
        desk.look(archive)
    assert desk.record.state == "stored"
    assert archive.got == ["measurements.dcm", "segmentation.dcm"]


def test_what_was_confirmed_is_not_sent_again(desk):
    archive = FakeArchive(2)
    desk.complete("segmentation.dcm", "measurements.dcm")
    desk.look(archive)
    assert (desk.record.state, desk.record.error) == ("storing", "peer pacs cannot be reached")
    # not before its time
    desk.look(archive)
    assert archive.calls == 2
    desk.now += 5
    desk.look(archive)
    assert desk.record.state == "stored"
    assert archive.got == ["measurements.dcm", "segmentation.dcm"]


def test_pauses_grow_and_at_the_end_it_is_given_up_with_the_reason(desk):
    archive = FakeArchive(*range(1, 1000))
    desk.complete("segmentation.dcm")
    pauses = []
    while desk.record.state != "failed":
        desk.look(archive, give_up=7200)
        pauses.append(desk.record.next_try - desk.now)
        desk.now = max(desk.now, desk.record.next_try)
    assert pauses[:9] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert desk.now - 1000 < 7200 + 601
    assert desk.record.error == "peer pacs cannot be reached"


def test_what_an_error_of_the_program_says_is_not_repeated(desk):
    desk.complete("segmentation.dcm")
    desk.look(FakeArchive(1, error=ValueError("Secretname")))
    assert desk.record.error == "storing failed: ValueError"


def test_the_reason_of_a_failed_job_is_that_of_its_series(desk):
    claimed = desk.queue.claim("worker", lease=60, attempts=3)
    desk.queue.fail(claimed, "the uploaded file has a gantry tilt")
    desk.look(FakeArchive())
    assert (desk.record.state, desk.record.error) == (
        "failed", "the uploaded file has a gantry tilt",
    )  # fmt: skip


def test_results_that_are_gone_fail_with_the_reason(desk):
    desk.complete("segmentation.dcm")
    desk.look(FakeArchive(1))
    desk.now += 10_000
    desk.queue.swept(keep_seconds=1, keep_bytes=0)
    desk.look(FakeArchive())
    assert (desk.record.state, desk.record.error) == ("failed", "peer pacs cannot be reached")


def test_a_prediction_without_objects_is_no_success(desk):
    desk.complete()
    desk.look(FakeArchive())
    assert (desk.record.state, desk.record.error) == (
        "failed", "the prediction made no DICOM objects",
    )  # fmt: skip


def test_what_is_over_is_forgotten_with_its_job(desk):
    desk.complete("segmentation.dcm")
    desk.look(FakeArchive())
    desk.ledger.forget(desk.queue.ids())
    assert desk.record is not None
    desk.ledger.forget(frozenset())
    assert desk.record is None
