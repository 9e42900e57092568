"""`parafovea view`: serves until Ctrl-C, and says readably what it cannot show."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import tensorstore
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.geometry.grid import Grid
from parafovea.service.neuroglancer import VIEWER
from parafovea.storage.store import create

GRID = Grid((2, 30, 40), (1, 1, 1))
VOXELS = np.random.default_rng(0).random(GRID.shape).astype(np.float16)


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["view", *arguments])
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.fixture
def results(tmp_path: Path) -> Path:
    with create(tmp_path / "cell" / "volume.ome.zarr", GRID, dtype=np.float16) as array:
        array[...] = VOXELS
    return tmp_path / "cell"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_link_of_the_command_shows_the_voxels_until_it_is_stopped(results, ending) -> None:
    # where the tests run in the background of a script, SIGINT is ignored by all they start
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; from parafovea.cli.main import app; app()"
    command = [sys.executable, "-c", code, "view"]
    with subprocess.Popen(
        [*command, str(results), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(4)]
            link = lines[1].removeprefix("Neuroglancer").strip()
            state = json.loads(unquote(link.partition("#!")[2]))
            address = state["layers"][0]["source"]["url"].removesuffix("|zarr3:")
            spec = {"driver": "zarr3", "kvstore": f"{address}0/"}
            found = tensorstore.open(spec, read=True).result().read().result()
            np.testing.assert_array_equal(found, VOXELS)
            parts = urlsplit(address)
            connection = http.client.HTTPConnection(parts.netloc, timeout=10)
            connection.request("GET", parts.path, headers={"Origin": VIEWER.rstrip("/")})
            assert connection.getresponse().headers["Access-Control-Allow-Origin"] in link
            connection.close()
            napari = shlex.split(lines[2].removeprefix("napari "))
            assert napari[-1] == str(results / "volume.ome.zarr")
            process.send_signal(ending)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert (out, err) == ("Stopped.\n", "")


def test_a_port_that_is_taken_is_named(results) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use" in refusal(str(results), "--port", port)


def test_a_folder_without_results_is_named(tmp_path) -> None:
    assert "has neither a volume nor a prediction yet" in refusal(f"{tmp_path}/", "--port", "0")
    assert "is not a folder: give a folder of results" in refusal(f"{tmp_path}/nothing")


def test_a_viewer_has_to_be_a_page(results) -> None:
    for address in ("neuroglancer", "file:///x", "https://", "http://[::1"):
        assert "is not the address of a page" in refusal(str(results), "--viewer", address)


def test_samples_are_those_of_the_sheet(project_folder, monkeypatch) -> None:
    monkeypatch.chdir(project_folder.path)
    project_folder.write()
    assert "sample 'a' has no results in results/a yet: run the workflow" in refusal("a")
    assert "nobody" in refusal("nobody")
