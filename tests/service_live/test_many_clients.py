"""Two hundred jobs of twenty clients: none is lost, none is done twice, and memory stays flat."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from live_server import LiveServer, make_project, wait_for

from parafovea.client import InferenceClient
from parafovea.service.job_prediction import Outcome
from parafovea.service.job_queue import JobQueue
from parafovea.service.prediction_worker import Worker
from parafovea.service.spool import Spool

CLIENTS, JOBS = 20, 10

#: Bytes of an upload, and of what the server may grow by after a first round.
SIZE, GROWTH = 200_000, 24 * 2**20


class Hashing:
    """Predicts a job as the hash of its upload, and counts the jobs."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.done: Counter[str] = Counter()

    def __call__(self, job, observer):
        self.done[job.id] += 1
        content = (self._spool.upload(job.id) / job.source).read_bytes()
        place = self._spool.attempt(job.id, job.attempt) / "scan"
        place.mkdir(parents=True)
        found = hashlib.sha256(content).hexdigest()
        (place / "summary.json").write_text(json.dumps({"hash": found}))
        observer("hash", 1.0)
        return Outcome()


def run_client(server: LiveServer, folder: Path, number: int, jobs: int) -> list[str]:
    """Upload scans of one client, wait for each, and return what differs."""
    wrong = []
    with InferenceClient(server.url) as client:
        for round_ in range(jobs):
            content = b"\x1f\x8b" + f"{number} {round_} ".encode() * (SIZE // 8)
            scan = folder / f"{number}_{round_}" / "scan.nii.gz"
            scan.parent.mkdir()
            scan.write_bytes(content)
            job = client.submit_inference(scan)
            results = client.wait_for_results(job, timeout=120)
            if results["summary"]["hash"] != hashlib.sha256(content).hexdigest():
                wrong.append(job)
    return wrong


@pytest.fixture
def idle_server(tmp_path):
    """Yield a server without workers."""
    server = LiveServer(make_project(tmp_path / "project"), workers="0").start()
    yield server
    server.stop()


def test_many_clients_get_their_own_results_once_and_memory_is_flat(idle_server, tmp_path):
    server = idle_server
    spool = Spool(server.folder / "spool")
    predict, stop = Hashing(spool), threading.Event()
    with JobQueue(spool.database) as queue:
        worker = Worker(queue, spool, predict, lease=60, attempts=3)
        thread = threading.Thread(target=worker.run, args=(stop.is_set,))
        thread.start()
        try:
            process = psutil.Process(server.process.pid)
            (tmp_path / "warm").mkdir()
            assert run_client(server, tmp_path / "warm", 0, 10) == []
            before = process.memory_info().rss
            with ThreadPoolExecutor(CLIENTS) as pool:
                wrong = [
                    pool.submit(run_client, server, tmp_path, number, JOBS)
                    for number in range(CLIENTS)
                ]
                assert [each.result() for each in wrong] == [[]] * CLIENTS
            grown = process.memory_info().rss - before
        finally:
            stop.set()
            thread.join()
        assert queue.states() == {"completed": CLIENTS * JOBS + 10}
        assert queue.counters()["retried"] == 0
    assert len(predict.done) == CLIENTS * JOBS + 10
    assert set(predict.done.values()) == {1}
    # forty megabytes went through it
    assert grown < GROWTH
    wait_for(lambda: process.num_fds() < 60, "the end of connections", seconds=30)
