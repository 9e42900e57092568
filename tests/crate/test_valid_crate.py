"""A run crate before `rocrate-validator`, which `make test-crate` installs apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rocrate
from recorded_results import make_everything
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.runtime.shipped_files import shipped

#: Folder of the validator's packages.
PACKAGES = os.environ.get("PARAFOVEA_CRATE_VALIDATOR", "")

#: In which RO-Crate 1.1 differs from the context that comes with `rocrate`, that of 1.3.
OLDER = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}

#: Recommendations that a run does not meet: scripts have no address, authors no affiliation,
#: results no publisher. The last one is of a shape of the validator itself, not of an entity.
OPEN = (
    "The Application SHOULD have a url",
    "The author SHOULD have",
    "The `publisher` property of a `Root Data Entity`",
    "The SoftwareApplication id SHOULD be an absolute URI",
)


@pytest.fixture
def crate(project_folder, monkeypatch):
    """Return a crate of a run, and the place of its context."""
    monkeypatch.chdir(project_folder.path)
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    author = ["--author", "A. Person", "--orcid", "https://orcid.org/0000-0002-1825-0097"]
    found = CliRunner().invoke(app, ["crate", "-o", "crate", "--licence", "CC-BY-4.0", *author])
    assert found.exit_code == 0, found.output
    return Path("crate")


def issues(crate: Path) -> list[list[str]]:
    bundled = Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"
    context = json.loads(bundled.read_text(encoding="utf-8"))
    context["@context"].update(OLDER)
    Path("context.jsonld").write_text(json.dumps(context))
    script = Path(__file__).with_name("offline_validation.py")
    done = subprocess.run(
        [sys.executable, script, crate, "context.jsonld", "cache"],
        env={**os.environ, "PYTHONPATH": PACKAGES},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_meets_all_requirements_and_recommendations_of_the_profile(crate):
    found = issues(crate)
    assert [each for each in found if each[1] == "REQUIRED"] == []
    others = [each for each in found if not each[2].startswith(OPEN)]
    assert {each[2] for each in others} == set()


def test_what_breaks_the_profile_is_found(crate):
    file = crate / "ro-crate-metadata.json"
    document = json.loads(file.read_text())
    for entity in document["@graph"]:
        if entity["@id"] == "#run":
            del entity["instrument"]
    file.write_text(json.dumps(document))
    assert any(severity == "REQUIRED" for _, severity, _ in issues(crate))
