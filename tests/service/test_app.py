"""The application answers foreign pages that are named, strange forms, and errors of its own."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from served_job import done, write_tasks
from tiny_detector import save_detector

from parafovea.formats.tiles.npz import write_tile
from parafovea.service.app import create_app
from parafovea.service.keys import Keys
from parafovea.service.refusal import Refusal
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.uploads import AROUND, Body, Limits

KEY = "k" * 32
JOBS = "/api/v1/inference"


@pytest.fixture
def app(tmp_path, monkeypatch):
    """Return a function that makes a service without workers."""
    monkeypatch.chdir(tmp_path)
    save_detector(Path("models/tiny"))
    Path("config.yaml").write_text("tasks: {nodules: {kind: detection, model: models/tiny}}\n")

    def make(*, keys=(), **settings):
        given = {"workers": 0, "min_free": 0, "config": (Path("config.yaml"),), **settings}
        made = create_app(ServiceSettings(**given), Keys(keys))
        return TestClient(made, base_url="http://127.0.0.1", client=("127.0.0.1", 5))

    return make


def test_pages_of_named_origins_may_read_answers_and_those_of_others_may_not(app):
    viewer = "https://viewer.example"
    with app(keys=(KEY,), origins=(f"{viewer}/",)) as client:
        asked = {
            "Access-Control-Request-Method": "DELETE",
            "Access-Control-Request-Headers": "authorization",
        }
        # a preflight has no key
        allowed = client.options(f"{JOBS}/{'a' * 32}", headers={"Origin": viewer, **asked})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == viewer
        assert "DELETE" in allowed.headers["access-control-allow-methods"]
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        answer = client.get(JOBS, headers={"Origin": viewer, "X-API-Key": KEY})
        assert answer.json() == []
        assert answer.headers["access-control-allow-origin"] == viewer
        assert client.get(JOBS, headers={"Origin": viewer}).status_code == 401
        for origin in ("https://evil.example", "null"):
            for found in (
                client.options(JOBS, headers={"Origin": origin, **asked}),
                client.get(JOBS, headers={"Origin": origin, "X-API-Key": KEY}),
            ):
                assert found.status_code in (400, 403)
                assert "access-control-allow-origin" not in found.headers
    with app() as client:
        found = client.options(JOBS, headers={"Origin": viewer, **asked})
        assert found.status_code == 403


def test_what_is_wrong_in_a_config_is_told_by_its_line_without_the_place_of_its_file(app, tmp_path):
    for spool in (Path("spool"), tmp_path.parent / f"{tmp_path.name}_spool"):
        with app(spool=spool) as client:
            files = {
                "file": ("scan.nii.gz", b"\x1f\x8b"),
                "config": ("inference.yaml", b"inference:\n  patch: [1, 1, 1]\n"),
            }
            answer = client.post(JOBS, files=files)
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith("config:2: inference.patch is not a known")
            assert "jobs" not in answer.text


def test_an_error_of_the_service_is_logged_by_its_place_without_its_words(app, monkeypatch, caplog):
    with app() as client, caplog.at_level(logging.INFO):

        def failing(**options):
            raise ValueError("Secretname^Erika")

        monkeypatch.setattr(client.app.state.service.queue, "jobs", failing)
        answer = client.get(JOBS)
        assert answer.status_code == 500
        assert answer.json()["detail"].startswith("the service failed at this request")
        assert client.get("/healthz").status_code == 200
    assert "ValueError at " in caplog.text
    assert "test_app.py" in caplog.text
    assert "Secretname" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "a" * 300 + ".nii.gz",
        "é" * 200 + ".nii.gz",
        "../../../etc/cron.d/x.nii.gz",
        "C:\\scans\\x.nii.gz",
        ".nii.gz",
        "..nii.gz",
        "-rf.nii.gz",
        "con.nii.gz",
        "a b;rm -rf.nii.gz",
        "%2e%2e%2fx.nii.gz",
        "\u202egz.iin.nii.gz",
        "x.NII.GZ",
    ],
)
def test_no_name_of_a_file_leads_anywhere_or_breaks_anything(app, name, tmp_path):
    with app() as client:
        answer = client.post(JOBS, files={"file": (name, gzip.compress(b"x"))})
        assert answer.status_code == 202, answer.text
        job = answer.json()["job_id"]
        (stored,) = (tmp_path / "spool/jobs" / job / "upload").iterdir()
        assert stored.name.lower().endswith(".nii.gz")
        assert len(stored.name) < 130
        assert [path.name for path in (tmp_path / "spool/jobs" / job).iterdir()] == ["upload"]


def test_words_on_a_file_are_kept_beside_it_and_refused_by_name(app, tmp_path):
    with app() as client:
        file = {"file": ("a.nii.gz", gzip.compress(b"x"))}
        words = "spacing=2.5,0.7,0.7 unit=mm"
        job = client.post(JOBS, files=file, data={"metadata": words}).json()["job_id"]
        stored = tmp_path / "spool/jobs" / job / "metadata.txt"
        assert stored.read_text(encoding="utf-8") == words
        before = set((tmp_path / "spool/jobs").iterdir())
        for bad in ("objects=/etc/passwd", "x.json", "spacing=1", "a" * 5000, "truth_unit=mm"):
            answer = client.post(JOBS, files=file, data={"metadata": bad})
            assert answer.status_code in (413, 422)
            assert "metadata" in answer.json()["detail"]
        assert set((tmp_path / "spool/jobs").iterdir()) == before


def body_of(pieces, *, size):
    """Return the body of a request that comes in pieces."""
    waiting = iter(pieces)

    async def receive():
        piece = next(waiting, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Body(receive, Limits(size=size, patience=5, rate=0, free=lambda: 10**12))


def test_what_stands_around_the_file_is_counted_too():
    async def read(count):
        taken = 0
        async for piece in body_of((bytes(2**18) for _ in range(count)), size=1000).pieces():
            taken += len(piece)
        return taken

    assert asyncio.run(read(4)) == AROUND
    with pytest.raises(Refusal) as caught:
        asyncio.run(read(10**9))
    assert caught.value.status == 413


def test_size_and_type_of_results_are_told_without_them(app, tmp_path):
    write_tasks()
    image = np.full((4, 32, 32), 0.1, np.float32)
    write_tile(tmp_path / "sent", "tile", {"opt_v1": image}, {"month": 6, "biome_code": 4})
    shutil.make_archive("sent", "zip", "sent")
    job = done(tmp_path / "sent.zip", task="optical")
    with app(spool=Path("spool")) as client:
        for name in ("summary.json", "tiles.zip"):
            address = f"{JOBS}/{job.id}/results/{name}"
            whole, told = client.get(address), client.head(address)
            assert (whole.status_code, told.status_code) == (200, 200), whole.text
            assert told.content == b""
            assert told.headers["content-type"] == whole.headers["content-type"]
            assert told.headers.get("content-length") == whole.headers.get("content-length")
        assert client.head(f"{JOBS}/{job.id}/results/none.json").status_code == 404
