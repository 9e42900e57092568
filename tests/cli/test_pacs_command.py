"""What `parafovea pacs` says of configs, peers and series, before and after the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from free_port import free_port
from tiny_detector import save_detector
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.pacs.listening import Listening, ledger_path
from parafovea.pacs.series_ledger import SeriesLedger
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool

# pynetdicom leaves closing to the garbage collector where nobody listens
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

SCANNER = {"ae_title": "SCANNER", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": 9}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_detector(tmp_path / "models/tiny")
    write(tmp_path, peers={"scanner": SCANNER})
    return tmp_path


def write(folder: Path, **pacs) -> None:
    (folder / "config").mkdir(exist_ok=True)
    tasks = {"nodules": {"kind": "detection", "model": "models/tiny"}}
    tasks["cells"] = {"kind": "refinement", "model": "models/tiny"}
    settings = {"tasks": tasks, "pacs": {"port": free_port(), **pacs}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(settings))


def told(*arguments: str, status: int = 1) -> str:
    result = CliRunner().invoke(app, ["pacs", *arguments])
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("pacs", "reason"),
    [
        ({}, "no peer may send: name those that may in the config, under pacs.peers"),
        ({"task": "other"}, "task 'other' of pacs.task is not in the config"),
        ({"task": "cells"}, "is of kind refinement, whose results are not written as DICOM"),
        ({"host": "pacs.example", "peers": {"a": SCANNER}}, "is no IP address"),
        (
            {
                "peers": {
                    "a": {
                        **SCANNER,
                        "dicomweb": "http://127.0.0.1:9",
                        "token_variable": "NO_SUCH_VARIABLE",
                    }
                }
            },
            "the environment variable NO_SUCH_VARIABLE is not set",
        ),
    ],
)
def test_a_listener_that_could_not_work_does_not_start(project, pacs, reason):
    write(project, **pacs)
    assert reason in told("listen")


def test_a_spool_has_one_listener(project):
    from parafovea.config import config_files, read_settings

    service = ServiceSettings(spool=project / "spool", workers=0)
    settings = read_settings(*config_files([]))
    listening = Listening(settings, service)
    try:
        assert "another parafovea pacs listen has the folder" in told(
            "listen", "--spool", str(project / "spool")
        )
    finally:
        listening.close()


def test_the_state_of_series_is_listed_with_the_reason(project):
    assert "is not the folder of parafovea pacs listen" in told("status")
    with SeriesLedger(ledger_path(Spool(project / "spool"))) as ledger:
        for number in (1, 2):
            ledger.add(
                f"job{number}", peer="scanner", target="archive", study="1.2",
                series=f"1.2.{number}", instances=["1", "2", "3"],
            )  # fmt: skip
        ledger.finish("job1", "failed", "the uploaded file has a gantry tilt")
    listed = told("status", status=0)
    assert "scanner archive 1.2.1 3 failed the uploaded file has a gantry tilt" in listed
    assert "scanner archive 1.2.2 3 predicting" in listed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("pull", "../../etc"), "the study is no UID"),
        (("pull", "1.2", "--series", "1.2/3"), "--series is no UID"),
        (("pull", "1.2", "--from", "nobody"), "peer 'nobody' is not in the config"),
        (("pull", "1.2"), "peer scanner cannot be reached: check its host and port"),
        (("echo",), "peer scanner cannot be reached: check its host and port"),
    ],
)
def test_what_cannot_be_asked_is_named(project, arguments, reason):
    assert reason in told(*arguments)


def test_without_peers_nobody_is_asked(project):
    write(project)
    for arguments in (("pull", "1.2"), ("echo",)):
        assert "the config names no peers: add them under pacs.peers" in told(*arguments)


def test_of_several_peers_one_has_to_be_chosen(project):
    write(project, peers={"a": SCANNER, "b": {"dicomweb": "http://127.0.0.1:9"}})
    assert "choose a peer with --from: a, b" in told("pull", "1.2")
