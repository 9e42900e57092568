"""`parafovea licences`, and the files that state the project's own."""

from __future__ import annotations

import tomllib
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from parafovea import __version__
from parafovea.cli.main import app
from parafovea.runtime.licences import installed_licences, licence

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Installed(metadata.Distribution):
    """A package of which only the metadata are there."""

    def __init__(self, **fields: str) -> None:
        self.fields = Message()
        for name, value in fields.items():
            for each in value.split("; "):
                self.fields[name.replace("_", "-")] = each

    @property
    def metadata(self) -> Message:
        return self.fields

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: str) -> Path:
        return Path(path)


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "other"}, "MIT OR Apache-2.0"),
        (
            {"Classifier": "Topic :: X; License :: OSI Approved :: BSD License", "License": "a\nb"},
            "BSD License",
        ),
        (
            {"Classifier": "License :: OSI Approved", "License": "BSD 3-Clause\n\nText"},
            "BSD 3-Clause",
        ),
        ({"License": "x" * 200}, "x" * 99 + "…"),
        ({}, "not stated"),
    ],
)
def test_a_licence_is_the_expression_else_the_classifiers_else_the_first_line(fields, stated):
    assert licence(Installed(**fields)) == stated


def test_the_packages_of_packages_and_of_extras_are_listed_once():
    found = {name.lower(): version for name, version, _ in installed_licences()}
    assert found["parafovea"] == __version__
    for name in ("torch", "sympy", "zarr", "lightning", "torchmetrics"):
        assert found[name] == metadata.version(name)
    # of other packages, only what they cannot do without
    assert "sphinx" not in found
    assert installed_licences("no-such-package") == []


def test_the_command_states_the_licence_of_this_project():
    done = CliRunner().invoke(app, ["licences"])
    assert done.exit_code == 0, done.output
    (own,) = [line.split() for line in done.output.splitlines() if line.startswith("parafovea ")]
    assert own == ["parafovea", __version__, "MIT"]


def test_licence_authors_and_version_are_the_same_in_every_file():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    reuse = tomllib.loads((ROOT / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    (author,) = [each["name"] for each in PROJECT["authors"]]
    assert text.startswith("MIT License")
    assert author in text
    assert (ROOT / "LICENSES/MIT.txt").read_text(encoding="utf-8") == text
    assert cited["authors"] == [{"name": author}]
    assert cited["version"] == PROJECT["version"] == __version__
    assert cited["license"] == PROJECT["license"] == "MIT"
    (own,) = [each for each in reuse if each["path"] == "**"]
    assert own["SPDX-License-Identifier"] == "MIT"
    assert author in own["SPDX-FileCopyrightText"]


def test_code_of_others_names_its_authors_and_its_licences_are_there():
    reuse = tomllib.loads((ROOT / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    (viewer,) = [each for each in reuse if each["path"] != "**"]
    assert len(list(ROOT.glob(viewer["path"]))) == 1
    assert "Niivue" in viewer["SPDX-FileCopyrightText"]
    assert "Niivue" in (ROOT / "NOTICE").read_text(encoding="utf-8")
    stated = {part for each in reuse for part in each["SPDX-License-Identifier"].split(" AND ")}
    assert stated == {path.stem for path in (ROOT / "LICENSES").iterdir()}


def test_every_model_that_is_shipped_is_in_the_notice_with_what_it_was_trained_by():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for folder in (ROOT / "resources/models").iterdir():
        (line,) = [line for line in notice.splitlines() if line.split()[:1] == [folder.name]]
        config = yaml.safe_load((ROOT / line.split()[1]).read_text(encoding="utf-8"))
        (trained,) = [
            task["training"]
            for task in config["tasks"].values()
            if task.get("model") == f"resources/models/{folder.name}" and "training" in task
        ]
        numbers = [int(word) for word in line.replace(",", " ").split() if word.isdigit()]
        sheet = (ROOT / config["samples"]).read_text(encoding="utf-8")
        assert len(trained["validation"]) in numbers
        assert all("results/phantoms/" in row or "@" in row for row in sheet.splitlines()[1:])
