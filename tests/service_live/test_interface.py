"""The interface keeps what its OpenAPI says, whatever is sent: Schemathesis tries."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import httpx
import pytest
from live_server import LiveServer, make_project, wait_for

#: What is held: no failure of the server, and answers with the statuses, types and schemas stated.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory):
    """Yield a server without workers."""
    folder = make_project(tmp_path_factory.mktemp("interface") / "project")
    server = LiveServer(folder, workers="0").start()
    yield server
    server.stop()


def test_every_operation_has_an_example_of_what_it_answers(idle_server):
    schema = httpx.get(f"{idle_server.url}/openapi.json").json()
    assert sorted(schema["paths"]) == [
        "/api/v1/inference",
        "/api/v1/inference/{job}",
        "/api/v1/inference/{job}/events",
        "/api/v1/inference/{job}/results",
        "/api/v1/inference/{job}/results/{name}",
        "/api/v1/inference/{job}/viewer",
        "/api/v1/inference/{job}/viewer/{name}",
        "/api/v1/models",
        "/api/v1/tasks",
        "/healthz",
        "/metrics",
    ]
    models = schema["components"]["schemas"]
    assert all(
        "example" in models[name]
        for name in ("Submitted", "JobStatus", "Results", "Viewer", "Problem")
    )
    form = schema["paths"]["/api/v1/inference"]["post"]["requestBody"]["content"]
    assert "example" in form["multipart/form-data"]["schema"]["properties"]["config"]


def test_tasks_and_models_are_listed(idle_server):
    assert httpx.get(f"{idle_server.url}/api/v1/tasks").json() == [
        {
            "name": "nodules",
            "kind": "detection",
            "model": "tiny",
            "takes_config": True,
            "default": True,
        }
    ]
    assert httpx.get(f"{idle_server.url}/api/v1/models").json() == ["tiny"]


@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="`make test-service` installs it"
)
def test_whatever_is_sent_the_interface_answers_as_it_says(idle_server, tmp_path):
    code = "from schemathesis.cli import schemathesis; schemathesis()"
    done = subprocess.run(
        [
            sys.executable, "-c", code, "run", f"{idle_server.url}/openapi.json",
            "--checks", ",".join(CHECKS), "--max-examples", "20", "--seed", "1",
            "--phases", "examples,coverage,fuzzing", "--no-color",
        ],
        cwd=tmp_path, env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in idle_server.log.read_text()
    jobs = idle_server.folder / "spool/jobs"
    known = {job["job_id"] for job in httpx.get(f"{idle_server.url}/api/v1/inference").json()}
    wait_for(lambda: {path.name for path in jobs.iterdir()} == known, "the end of uploads")
