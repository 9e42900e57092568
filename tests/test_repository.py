"""What the Snakemake workflow catalog and GitHub read of the repository."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_root_snakefile_includes_that_of_the_catalog_and_states_no_rule():
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert text.startswith('include: "workflow/Snakefile"\n')
    assert not re.search(r"^(rule|checkpoint|use rule|module|configfile)\b", text, flags=re.M)


def test_no_two_test_modules_share_a_name_which_pytest_imports_them_by():
    modules = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    folders = defaultdict(list)
    for path in modules:
        folders[path.name].append(path.parent.relative_to(ROOT))
    assert {name: where for name, where in folders.items() if len(where) > 1} == {}


def test_everything_that_the_catalog_wants_is_there():
    for name in (
        "LICENSE",
        "config/README.md",
        "workflow/Snakefile",
        ".test/config/config.yaml",
        ".github/workflows/main.yml",
    ):
        assert (ROOT / name).is_file(), name
    assert list((ROOT / "workflow/rules").glob("*.smk"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    stated = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))
    assert stated == {
        "usage": {"software-stack-deployment": {"conda": True, "report": True}, "report": True}
    }


def test_the_steps_on_github_are_targets_of_make_and_commands_that_it_installs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    flow = yaml.safe_load((ROOT / ".github/workflows/main.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for job in flow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {"make lint", "make docs", "make demo CORES=4", "make test-package"} <= set(runs)
    for command in runs:
        program, target, *_ = command.split()
        if program == "make":
            assert target in targets, command
        else:
            assert program.startswith(".venv/bin/"), command
    versions = flow["jobs"]["test"]["strategy"]["matrix"]["python"]
    stated = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert versions == re.findall(r"Python :: (3\.\d+)", stated)


def test_every_path_that_a_github_workflow_uploads_is_made_by_one_of_its_steps():
    flow = yaml.safe_load((ROOT / ".github/workflows/main.yml").read_text(encoding="utf-8"))
    paths = [
        path
        for job in flow["jobs"].values()
        for step in job["steps"]
        if "upload-artifact" in step.get("uses", "")
        for path in step["with"]["path"].split()
    ]
    assert paths == ["site", "dist", "results/report.html", "results/snakemake.html"]


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Containerfile with their arguments, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines()]


def test_the_containerfile_installs_the_locks_by_its_argument_and_runs_the_command():
    steps = instructions((ROOT / "Containerfile").read_text(encoding="utf-8"))
    names = [name for name, _ in steps]
    assert set(names) <= {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert names[:2] == ["ARG", "FROM"]
    assert steps[-2:] == [("ENTRYPOINT", '["parafovea"]'), ("CMD", '["--help"]')]
    assert ("ARG", "TORCH=cpu") in steps
    installed = " ".join(text for name, text in steps if name == "RUN")
    for kind in ("cpu", "cuda"):
        assert (ROOT / f"envs/torch-{kind}.txt").is_file()
    for name in re.findall(r"envs/([a-z]+\.txt)", installed):
        assert (ROOT / "envs" / name).is_file()
    assert installed.count("--require-hashes") == 2
    # every command is one that a shell can parse
    for name, text in steps:
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", text], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"\.\[([a-z0-9,]+)\]", installed)
    every = set(project["optional-dependencies"]) - {"dev", "docs", "openvino", "ray"}
    assert set(extras.split(",")) == every


def test_what_the_image_is_built_from_is_there():
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert kept[0] == "*"
    for line in kept[1:]:
        assert (ROOT / line.removeprefix("!")).exists(), line


def test_the_apptainer_definition_holds_the_environment_of_the_rules():
    text = (ROOT / "envs/apptainer.def").read_text(encoding="utf-8")
    environment = (ROOT / "envs/parafovea.yaml").read_bytes()
    assert f"conda_env_hash {hashlib.sha256(environment).hexdigest()}" in text
    embedded = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    assert environment.decode().splitlines() == embedded[2:]
    header, *sections = re.split(r"^%", text, flags=re.M)
    assert "\nBootstrap: docker\nFrom: condaforge/miniforge3:latest\n" in header
    assert [section.split()[0] for section in sections] == ["labels", "files", "post"]
    (source, target) = sections[1].split()[1:]
    assert (ROOT / source).is_file()
    assert f"--file {target}" in sections[2]
    # each rule that runs a script names this environment
    rules = (ROOT / "workflow/rules").glob("*.smk")
    texts = [path.read_text(encoding="utf-8") for path in rules]
    named = {name for text in texts for name in re.findall(r'"([^"]+\.yaml)"', text)}
    assert named == {"../../envs/parafovea.yaml"}
