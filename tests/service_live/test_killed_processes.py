"""Jobs outlive their processes: SIGKILL of a worker and of the server, at work and with a queue."""

from __future__ import annotations

import httpx
from live_server import UVICORN, LiveServer, make_project, wait_for


def results(server: LiveServer, job: str) -> dict[str, bytes]:
    address = f"{server.url}/api/v1/inference/{job}/results"
    files = httpx.get(address, timeout=60).json()["files"]
    return {
        each["name"]: httpx.get(f"{address}/{each['name']}", timeout=60).content for each in files
    }


def at_work(server: LiveServer, job: str) -> None:
    """Wait until a job is within a stage."""
    wait_for(lambda: server.state(job)["stage"], "the first stage")


def test_a_job_whose_worker_is_killed_is_done_again_at_once_with_the_same_bytes(
    server, project, predicted
):
    job = server.submit(project / "scan.nii.gz")
    at_work(server, job)
    (worker,) = server.workers()
    worker.kill()
    wait_for(lambda: server.state(job)["status"] == "queued", "its return to the queue", seconds=20)
    state = server.finished(job)
    assert state["status"] == "completed"
    own = {path.name: path.read_bytes() for path in predicted.iterdir() if path.is_file()}
    assert results(server, job) == own
    left = sorted(path.name for path in (project / "spool/jobs" / job).iterdir())
    assert left == ["attempt-2", "upload"]


def test_a_queue_outlives_the_server_and_its_workers_do_not(tmp_path, predicted):
    folder = make_project(tmp_path / "project")
    server = LiveServer(folder, *UVICORN).start()
    try:
        jobs = [server.submit(folder / "scan.nii.gz") for _ in range(2)]
        at_work(server, jobs[0])
        for worker in server.kill():
            # nobody uses the device any more
            wait_for(lambda worker=worker: not worker.is_running(), "its end", seconds=30)
        server.start()
        states = [server.finished(job) for job in jobs]
        assert [state["status"] for state in states] == ["completed"] * 2
        own = {path.name: path.read_bytes() for path in predicted.iterdir() if path.is_file()}
        assert [results(server, job) == own for job in jobs] == [True] * 2
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'parafovea_jobs_total{event="completed"} 2' in metrics
        assert 'parafovea_jobs_total{event="retried"} 1' in metrics
        # asked to end, it leaves nothing behind
        workers = server.workers()
        server.stop()
        assert [worker for worker in workers if worker.is_running()] == []
    finally:
        server.stop()
