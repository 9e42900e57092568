"""Every block of code of the README and of the pages is run, or checked as far as it can be.

Blocks of Python are executed, commands of `parafovea` invoked and those of `snakemake` planned, in
a project of small phantoms. Where that takes another machine, data that are not part of the
repository, or minutes, the page says so in a comment above the block, or `NOT_RUN` does; options,
targets, files and imports are then compared with those that exist.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import snakemake.cli
import typer
import yaml
from code_blocks import SHELL_WORDS, Block, code_blocks, commands
from dicom_slices import write_series
from typer.testing import CliRunner

import parafovea
from parafovea.cli.main import app
from parafovea.cli.new_project import make_project
from parafovea.config.schema import Settings
from parafovea.config.sheet import COLUMNS
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.pacs import PacsSettings
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.settings.training import TrainingSettings

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "config/README.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
BLOCKS = [block for page in PAGES for block in code_blocks(page)]
LANGUAGES = {
    *("bash", "ini", "js", "json", "mermaid", "nginx", "python", "snakemake", "text", "tsv", "yaml")
}

#: Programs and commands that no test runs here, by how their words begin.
NOT_RUN = {
    ("make",): "installs packages, and takes minutes",
    ("pip",): "downloads packages",
    ("python", "-m", "build"): "is run by tests/package",
    ("python", "-m", "http.server"): "serves until Ctrl-C",
    ("mkdocs", "serve"): "serves until Ctrl-C",
    ("srun",): "needs Slurm",
    ("squeue",): "needs Slurm",
    ("ray",): "needs a Ray cluster",
    ("napari",): "opens a window",
    ("curl",): "needs a running service",
    ("openssl",): "makes a key",
    ("rocrate-validator",): "is installed apart, by make test-crate",
    ("uvicorn",): "serves until Ctrl-C",
    ("parafovea", "view"): "serves until Ctrl-C",
    ("parafovea", "serve"): "serves until Ctrl-C",
    ("parafovea", "crate"): "needs the results of all samples, as in tests/sharing",
    ("parafovea", "stac"): "needs the results of all samples, as in tests/sharing",
    ("parafovea", "export-bids"): "needs the results of all samples, as in tests/sharing",
    ("parafovea", "import-model"): "reads a network that is not part of the repository",
    ("parafovea", "import-backbone"): "reads a network that is not part of the repository",
    ("parafovea", "merge-masks"): "reads masks that are not part of the repository",
    ("parafovea", "evaluate-detections"): "reads tables of the user",
    ("parafovea", "calibrate"): "reads tables of the user",
}

#: Options that do the same.
OPTIONS_NOT_RUN = {
    "ray": "needs a Ray cluster",
    "slurm": "needs Slurm",
    "gpu=4": "needs four GPUs",
    "--cache": "needs a folder shared between projects",
    "--measure": "measures for a minute",
    "--num-workers": "starts a process a scan, as tests/drivers does",
    "--guide-config": "reads a config of the user, as tests/drivers does",
    "config/real_em.yaml": "reads data that are not part of the repository",
    "config/real_em_context.yaml": "reads data that are not part of the repository",
    "config/real_tiles.yaml": "reads data that are not part of the repository",
}

COMMANDS = typer.main.get_command(app).commands


def name(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=name)


def excuse(block: Block, words: Sequence[str]) -> str | None:
    """Return why a command is not run, None if it is."""
    for length in range(len(words), 0, -1):
        if reason := NOT_RUN.get(tuple(words[:length])):
            return reason
    options = (OPTIONS_NOT_RUN[word] for word in words if word in OPTIONS_NOT_RUN)
    return next(options, block.reason)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Return a project of small phantoms, with the files that the pages name."""
    folder = tmp_path_factory.mktemp("pages") / "project"
    make_project(folder)
    shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
    config = yaml.safe_load((folder / "config/config.yaml").read_text(encoding="utf-8"))
    config["phantoms"] = {
        "cell": {"shape": [48, 64, 64]},
        "chest": {"shape": [72, 64, 88], "spacing": [2.9, 2.8, 2.9]},
        "landscape": {"tiles": [4], "sizes": [64]},
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "resources").symlink_to(ROOT / "resources")
    (folder / "docs").symlink_to(ROOT / "docs")
    here = Path.cwd()
    os.chdir(folder)
    try:
        for sample in ("cell_101", "landscape_401"):
            invoked(folder, "run", "--sample", sample)
        shape, spacing = ("72", "64", "88"), ("2.9", "2.8", "2.9")
        size = ("--shape", *shape, "--spacing", *spacing)
        invoked(folder, "phantom", "--kind", "chest", "--output", "chest", *size)
    finally:
        os.chdir(here)
    (scan,) = (folder / "chest").glob("chest_seed1.nii.gz")
    shutil.copy(scan, folder / "scan.nii.gz")
    voxels = np.asarray(nibabel.load(scan).dataobj).transpose(2, 1, 0).astype(np.int16)
    study = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    write_series(folder / "series", voxels, spacing=tuple(map(float, spacing)), **study)
    shutil.copytree(folder / "results/phantoms/landscape_seed401", folder / "data/fields")
    return folder


@functools.cache
def invoked(folder: Path, *words: str) -> None:
    """Run a command of parafovea, which has to succeed; once, if several pages have it."""
    assert folder == Path.cwd()
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


@functools.cache
def planned(folder: Path, *words: str) -> None:
    """Plan a run of snakemake, which has to succeed; once, if several pages have it."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--dry-run", "--quiet", "all"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pages_have_blocks_of_known_languages():
    assert len(BLOCKS) > 60
    untyped = {name(block) for block in BLOCKS if block.language not in LANGUAGES}
    assert untyped == set()


def test_a_reason_is_given_only_where_it_is_needed():
    for block in BLOCKS:
        if block.reason and block.language == "bash":
            assert any(excuse(block, words) == block.reason for words in commands(block))


@of("bash")
def test_commands_have_programs_options_targets_and_files_that_exist(block):
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert done.stderr == ""
    for program, *words in commands(block):
        if program == "parafovea":
            command, *rest = words
            if not command.startswith("-"):
                COMMANDS[command].make_context(command, rest)
        elif program == "snakemake":
            _, arguments = snakemake.cli.parse_args(words)
            for path in arguments.configfile:
                assert (ROOT / path).is_file() or path.name == "my.yaml", path
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
            wanted = [word for word in words if "=" not in word]
            assert set(wanted) <= set(targets)
        elif program == "srun":
            inner = words[words.index("--") + 1 :]
            assert inner[0] == "parafovea"
            COMMANDS[inner[1]].make_context(inner[1], inner[2:])
        elif program == "python" and words[0].startswith("benchmarks"):
            assert importlib.util.find_spec(words[1])
        else:
            assert program in SHELL_WORDS or excuse(block, [program, *words]), program


def run(chosen: Sequence[Sequence[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands one after the other, where the ones before left off."""
    for program, *words in chosen:
        if program == "parafovea":
            invoked(Path.cwd(), *words)
        elif program == "snakemake":
            planned(Path.cwd(), *(word for word in words if word != "--dry-run"))
        elif program == "cd":
            monkeypatch.chdir(words[0])


@of("bash")
def test_commands_run_in_a_project_of_small_phantoms(block, project, monkeypatch):
    chosen = [words for words in commands(block) if not excuse(block, words)]
    if all(words[0] in SHELL_WORDS for words in chosen):
        pytest.skip("; ".join(sorted({excuse(block, words) or "" for words in commands(block)})))
    monkeypatch.chdir(project)
    run(chosen, monkeypatch)


def imported(tree: ast.AST) -> set[tuple[str, str]]:
    """Return the modules and names of the project that a program uses."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("parafovea"):
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "parafovea":
            found.add(("parafovea", node.attr))
    return found


@of("python")
def test_python_imports_what_there_is(block):
    tree = ast.parse(block.text, filename=name(block))
    for module, attribute in imported(tree):
        assert hasattr(importlib.import_module(module), attribute), (module, attribute)
    assert {attribute for module, attribute in imported(tree) if module == "parafovea"} <= set(
        parafovea.__all__
    )


@of("python")
def test_python_runs_on_results_of_small_phantoms(block, project, monkeypatch):
    if block.reason:
        pytest.skip(block.reason)
    monkeypatch.chdir(project)
    # what a page shows in Python are the results of its commands, which may have run elsewhere
    for before in BLOCKS:
        if (before.page, before.language) == (block.page, "bash") and before.line < block.line:
            run([each for each in commands(before) if not excuse(before, each)], monkeypatch)
            monkeypatch.chdir(project)
    exec(compile(block.text, name(block), "exec"), {"__name__": "__main__"})  # noqa: S102


@of("snakemake")
def test_a_snakefile_of_a_page_is_planned(block, project):
    path = project / "Snakefile_of_a_page"
    path.write_text(block.text, encoding="utf-8")
    planned(project, "--snakefile", str(path), "--cores", "1", "parafovea_all")


@of("yaml")
def test_settings_of_a_page_are_valid(block):
    settings = yaml.safe_load(block.text)
    if "tasks" in settings:
        for task in settings["tasks"].values():
            task.setdefault("model", "resources/models/cell")
        Settings.model_validate(settings)
    elif "inference" in settings:
        InferenceSettings.model_validate(settings.pop("inference"))
        assert settings == {}
    elif "pacs" in settings:
        PacsSettings.model_validate(settings.pop("pacs"))
        assert settings == {}
    elif "training" in settings:
        example = yaml.safe_load((ROOT / "config/train_cell.yaml").read_text())
        whole = example["tasks"]["cell"]["training"] | settings.pop("training")
        TrainingSettings.model_validate(whole)
        assert settings == {}
    else:
        assert set(settings) <= set(Recipe.model_fields)
        BackboneSpec.model_validate(settings["backbone"])


@of("json")
def test_json_of_a_page_can_be_read(block):
    assert json.loads(block.text)


@of("tsv")
def test_sheets_of_a_page_have_the_columns_of_a_sheet(block):
    rows = [line.split("\t") for line in block.text.splitlines()]
    assert set(rows[0]) <= set(COLUMNS)
    assert {"sample", "task", "source"} <= set(rows[0])
    for row in rows[1:]:
        assert 3 <= len(row) <= len(rows[0])
