"""A disk that is full before an upload, fills during it, and fills during a job: on a small one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_server import LiveServer, make_project, wait_for

#: Bytes of the disk, and those that a job of the small scan does with beside the upload.
SIZE, ENOUGH = 64 * 2**20, 32 * 2**20

#: Bytes that no job does with.
SCARCE = 600_000

FULL = "the disk of the service is full, or almost"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Yield a service whose spool is a disk of its own."""
    folder = make_project(tmp_path_factory.mktemp("small") / "project")
    spool = folder / "spool"
    spool.mkdir(mode=0o700)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", spool],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"only root can mount a small disk: {made.stderr.strip()}")
    server = LiveServer(folder, min_free="0", lease="6")
    try:
        server.start()
        yield server
    finally:
        server.stop()
        subprocess.run(["umount", spool], check=True)


@pytest.fixture
def spool(small: LiveServer) -> Iterator[Path]:
    """Return the spool, which is emptied of what a test filled it with."""
    found = small.folder / "spool"
    yield found
    (found / "filler").unlink(missing_ok=True)
    for each in httpx.get(f"{small.url}/api/v1/inference").json():
        httpx.delete(f"{small.url}/api/v1/inference/{each['job_id']}")


def free(spool: Path) -> int:
    facts = os.statvfs(spool)
    return facts.f_bavail * facts.f_frsize


def fill(spool: Path, *, but: int) -> None:
    """Fill the disk but for some bytes, to the last one for 0."""
    with (spool / "filler").open("ab", buffering=0) as file:
        try:
            while (left := free(spool) - but) > 0:
                file.write(bytes(min(left, 2**20)))
        except OSError:
            assert but == 0


def folders(spool: Path) -> set[str]:
    return {path.name for path in (spool / "jobs").iterdir()}


def upload(server: LiveServer, size: int, *, stated: bool) -> httpx.Response:
    """Upload random voxels, whose number is stated or not."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii.gz"\r\n\r\n'
    tail = b"\r\n--x--\r\n"

    def body() -> Iterator[bytes]:
        yield head + b"\x1f\x8b"
        for _ in range(size // 2**20):
            yield os.urandom(2**20)
        yield tail

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if stated:
        length = len(head) + 2 + size // 2**20 * 2**20 + len(tail)
        headers["Content-Length"] = str(length)
    return httpx.post(f"{server.url}/api/v1/inference", content=body(), headers=headers, timeout=60)


@pytest.mark.parametrize("stated", [True, False])
def test_an_upload_that_the_disk_has_no_room_for_is_refused_and_leaves_nothing(
    small, spool, stated
):
    fill(spool, but=6 * 2**20)
    before, room = folders(spool), free(spool)
    refused = upload(small, 16 * 2**20, stated=stated)
    assert refused.status_code == 507
    assert refused.json()["detail"].startswith(FULL)
    assert folders(spool) == before
    assert free(spool) > room - 2**20
    # a smaller one fits
    accepted = upload(small, 2**20, stated=stated)
    assert accepted.status_code == 202
    assert small.finished(accepted.json()["job_id"])["status"] == "failed"


def test_a_job_that_fills_the_disk_fails_alone_and_the_next_one_goes_on(small, spool, predicted):
    scan = small.folder / "scan.nii.gz"
    (worker,) = small.workers()
    fill(spool, but=scan.stat().st_size + SCARCE)
    state = small.finished(small.submit(scan))
    assert state["status"] == "failed"
    assert state["error"].startswith(FULL)
    left = sorted(path.name for path in (spool / "jobs" / state["job_id"]).iterdir())
    assert left == ["upload"]
    (spool / "filler").unlink()
    fill(spool, but=ENOUGH)
    job = small.submit(scan)
    assert small.finished(job)["status"] == "completed"
    own = {path.name: path.read_bytes() for path in predicted.iterdir() if path.is_file()}
    results = f"{small.url}/api/v1/inference/{job}/results"
    for name, content in own.items():
        assert httpx.get(f"{results}/{name}", timeout=60).content == content
    assert worker.is_running()


def test_a_disk_that_is_full_to_the_last_byte_is_freed_by_deleting_results(small, spool):
    scan = small.folder / "scan.nii.gz"
    done = small.submit(scan)
    assert small.finished(done)["status"] == "completed"
    fill(spool, but=0)
    assert httpx.get(f"{small.url}/healthz").status_code == 503
    with scan.open("rb") as file:
        refused = httpx.post(f"{small.url}/api/v1/inference", files={"file": file})
    assert refused.status_code == 507
    # everything else is there, for several looks of the server at its workers
    time.sleep(4)
    assert small.state(done)["status"] == "completed"
    address = f"{small.url}/api/v1/inference/{done}"
    assert httpx.get(f"{address}/results").json()["detections"]
    assert httpx.get(f"{small.url}/metrics").status_code == 200
    assert httpx.delete(address).status_code == 204
    assert not (spool / "jobs" / done).exists()
    wait_for(
        lambda: httpx.get(f"{small.url}/healthz").status_code == 200, "the free disk", seconds=10
    )
    # the room that its results had is enough for another one, and for the queue
    (spool / "filler").unlink()
    assert small.finished(small.submit(scan))["status"] == "completed"
    assert "Traceback" not in small.log.read_text()
