"""The calls of the lung nodule inference guide against a running service."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
import tifffile
import websockets
from live_server import GUIDE_CONFIG, LiveServer, wait_for, write_scan
from tiny_detector import SPACING

from parafovea.client import InferenceClient, ServiceError

#: The snippets of the guide; its server is at port 8000, and its package is called `src.api`.
PYTHON = """
from parafovea.client import InferenceClient

# Initialize client
client = InferenceClient(base_url='http://localhost:8000')

# Submit inference
job_id = client.submit_inference(
    scan_path='scan.nii.gz',
    config='configs/inference.yaml'
)

# Wait for completion
results = client.wait_for_results(job_id, timeout=300)

# Download outputs
client.download_results(job_id, output_dir='results/')
"""

WEBSOCKET = """
import asyncio
import websockets

async def stream_inference():
    uri = "ws://localhost:8000/api/v1/inference/stream"
    async with websockets.connect(uri) as websocket:
        # Send scan data
        await websocket.send(scan_bytes)

        # Receive progress updates
        async for message in websocket:
            data = json.loads(message)
            print(f"Progress: {data['progress']}%")
            if data['status'] == 'completed':
                print(f"Detections: {data['detections']}")
                break

asyncio.run(stream_inference())
"""

CURL = """
curl -s -X POST http://localhost:8000/api/v1/inference \\
  -F "file=@scan.nii.gz" \\
  -F "config=@configs/inference.yaml"
"""


def of(server: LiveServer, text: str) -> str:
    return text.replace("localhost:8000", f"localhost:{server.port}")


@pytest.fixture
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the scan and a config of the guide."""
    shutil.copy(project / "scan.nii.gz", tmp_path / "scan.nii.gz")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/inference.yaml").write_text(GUIDE_CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_job_ends_with_the_bytes_of_predict(server, predicted, project, tmp_path):
    with InferenceClient(server.url) as client:
        job = client.submit_inference(project / "scan.nii.gz")
        results = client.wait_for_results(job, timeout=200)
        paths = client.download_results(job, tmp_path / "out")
    own = {path.name: path.read_bytes() for path in predicted.iterdir() if path.is_file()}
    assert {path.name: path.read_bytes() for path in paths} == own
    assert results["detections"] == json.loads(own["detections.json"])["detections"]
    assert results["scan_id"] == "scan"
    assert results["detections"]
    # no path of the machine, and no id
    assert [name for name, content in own.items() if str(project).encode() in content] == []


def test_the_python_snippet_runs_with_its_config(server, here):
    names: dict[str, object] = {}
    exec(of(server, PYTHON), names)  # noqa: S102
    names["client"].close()
    results = names["results"]
    assert results["status"] == "completed"
    assert len(results["detections"]) == results["summary"]["num_detections"] == results["found"]
    for name in ("detections.json", "detections.csv", "heatmap.nii.gz", "report.pdf"):
        assert (here / "results" / name).stat().st_size > 0
    assert json.loads((here / "results/detections.json").read_text())["scan_id"] == "scan"


def test_the_websocket_snippet_runs_and_ends_with_the_detections(server, here, predicted):
    names = {"scan_bytes": (here / "scan.nii.gz").read_bytes(), "json": json}
    with redirect_stdout(io.StringIO()) as printed:
        exec(of(server, WEBSOCKET), names)  # noqa: S102
    lines = printed.getvalue().splitlines()
    shares = [float(line.split()[1].rstrip("%")) for line in lines if line.startswith("Progress")]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert len(set(shares)) > 2
    found = json.loads((predicted / "detections.json").read_text())["detections"]
    assert lines[-1] == f"Detections: {found}"


def test_curl_uploads_and_asks_for_results(server, here):
    done = subprocess.run(["bash", "-c", of(server, CURL)], capture_output=True, check=True)
    job = json.loads(done.stdout)["job_id"]
    early = httpx.get(f"{server.url}/api/v1/inference/{job}/results")
    assert early.status_code == 409
    assert server.finished(job)["status"] == "completed"
    done = subprocess.run(
        ["curl", "-s", f"{server.url}/api/v1/inference/{job}/results"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["status"] == "completed"
    # gone with all of its files
    assert httpx.delete(f"{server.url}/api/v1/inference/{job}").status_code == 204
    assert httpx.get(f"{server.url}/api/v1/inference/{job}/results").status_code == 404
    assert not (server.folder / "spool/jobs" / job).exists()


def test_a_running_job_is_cancelled_and_the_next_one_goes_on(server, tmp_path):
    write_scan(tmp_path / "first.nii.gz")
    first = server.submit(tmp_path / "first.nii.gz")
    messages = []
    with httpx.stream("GET", f"{server.url}/api/v1/inference/{first}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: ")))
                if messages[-1].get("stage") and len(messages) < 20:
                    httpx.delete(f"{server.url}/api/v1/inference/{first}")
    assert messages[-1]["status"] == "cancelled"
    second = server.submit(tmp_path / "first.nii.gz", data={"task": "nodules"})
    assert server.finished(second)["status"] == "completed"
    gone = server.folder / "spool/jobs" / first
    wait_for(lambda: not gone.exists(), "the removal of the files", seconds=60)


def test_the_async_stream_of_the_client_yields_progress_and_the_detections(server, here, predicted):
    async def watched():
        client = InferenceClient(server.url)
        found = [state async for state in client.stream_inference("scan.nii.gz")]
        client.close()
        return found

    states = asyncio.run(watched())
    assert states[0]["status"] in ("queued", "running")
    assert any(state["stage"] for state in states if state["status"] == "running")
    found = json.loads((predicted / "detections.json").read_text())["detections"]
    assert states[-1]["detections"] == found


def test_a_scan_in_several_messages_without_a_word_before_it_is_one_scan(server, here):
    data = Path("scan.nii.gz").read_bytes()

    async def watched():
        address = f"ws://127.0.0.1:{server.port}/api/v1/inference/stream"
        async with websockets.connect(address) as socket:
            for start in range(0, len(data), 3000):
                await socket.send(data[start : start + 3000])
            return json.loads(await socket.recv())

    state = asyncio.run(watched())
    stored = server.folder / "spool/jobs" / state["job_id"] / "upload/scan.nii.gz"
    assert stored.read_bytes() == data
    with InferenceClient(server.url) as client:
        client.delete(state["job_id"])


def test_one_message_larger_than_the_usual_limit_of_a_websocket_arrives(server):
    data = b"\x1f\x8b" + os.urandom(20 * 2**20)

    async def watched():
        address = f"ws://127.0.0.1:{server.port}/api/v1/inference/stream"
        async with websockets.connect(address, max_size=None) as socket:
            await socket.send(data)
            return [json.loads(message) async for message in socket]

    states = asyncio.run(watched())
    # it came whole, and is no scan
    assert states[-1]["status"] == "failed"
    assert "scan" not in states[-1]["error"].replace("a scan", "")
    assert states[-1]["job_id"]


def test_the_client_zips_a_folder_and_names_what_the_service_refuses(server, tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series/notes.txt").write_text("no slice")
    with InferenceClient(server.url) as client:
        job = client.submit_inference(tmp_path / "series")
        with pytest.raises(ServiceError, match="the uploaded file"):
            client.wait_for_results(job, timeout=100)
        with pytest.raises(ServiceError, match=r"^422: there is no such task: tasks are nodules"):
            client.submit_inference(tmp_path / "series", task="other")
        (tmp_path / "model.pth").write_bytes(b"PK\x03\x04")
        with pytest.raises(ServiceError, match=r"^415: .*models are chosen by name"):
            client.submit_inference(tmp_path / "model.pth")
        with pytest.raises(ServiceError, match="404"):
            client.status("a" * 32)
    archive = server.folder / "spool/jobs" / job / "upload/series.zip"
    with zipfile.ZipFile(archive) as found:
        assert found.namelist() == ["notes.txt"]


def test_a_stack_that_states_no_spacing_is_predicted_with_words_on_it(
    server, project, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    voxels = np.asarray(nibabel.load(project / "scan.nii.gz").dataobj).transpose(2, 1, 0)
    tifffile.imwrite("stack.tif", voxels.astype(np.int16), photometric="minisblack")
    words = f"spacing={','.join(map(str, SPACING))} unit=mm"
    for name in ("config", "models"):
        (tmp_path / name).symlink_to(project / name)
    subprocess.run(
        [
            sys.executable, "-c", "from parafovea.cli.main import app; app()",
            "predict", "stack.tif", "--metadata", words, "--output", "own/stack",
        ],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1"}, check=True,
    )  # fmt: skip
    own = {path.name: path.read_bytes() for path in Path("own/stack").iterdir() if path.is_file()}
    with InferenceClient(server.url) as client:
        silent = client.submit_inference("stack.tif")
        with pytest.raises(ServiceError, match="in the field metadata"):
            client.wait_for_results(silent, timeout=100)
        job = client.submit_inference("stack.tif", metadata=words)
        results = client.wait_for_results(job, timeout=200)
        paths = client.download_results(job, "out")
        with pytest.raises(ServiceError, match="422: metadata: objects is of a truth"):
            client.submit_inference("stack.tif", metadata=f"{words} objects=/etc/passwd")
    assert results["detections"]
    assert {path.name: path.read_bytes() for path in paths} == own

    async def streamed() -> dict[str, object]:
        client = InferenceClient(server.url)
        states = [state async for state in client.stream_inference("stack.tif", metadata=words)]
        client.close()
        return states[-1]

    assert asyncio.run(streamed())["detections"] == results["detections"]


def test_a_client_without_a_service_says_so():
    with (
        InferenceClient("http://127.0.0.1:9") as client,
        pytest.raises(ServiceError, match=r"127\.0\.0\.1:9 cannot be reached"),
    ):
        client.status("a" * 32)


def test_waiting_ends_after_the_timeout(server, here):
    with InferenceClient(server.url) as client:
        job = client.submit_inference("scan.nii.gz")
        with pytest.raises(TimeoutError, match="wait for it again"):
            client.wait_for_results(job, timeout=0.01)
        client.delete(job)
