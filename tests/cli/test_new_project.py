"""`parafovea init`: a folder that the workflow runs in, apart from any repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.config import read_project


def init(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_a_new_folder_has_a_config_that_is_valid_there(tmp_path, monkeypatch):
    done = init(tmp_path / "new" / "project")
    assert done.exit_code == 0, done.output
    assert "is ready" in done.output
    monkeypatch.chdir(tmp_path / "new" / "project")
    project = read_project(Path("config/config.yaml"))
    assert list(project.samples) == ["cell_101"]
    assert set(project.settings.tasks) == {"cell", "optical", "nodules"}
    assert all(Path(task.model).is_absolute() for task in project.settings.tasks.values())
    for name in ("slurm/profile.yaml", "profiles/default/config.yaml", "config/README.md"):
        assert Path(name).is_file()
    assert CliRunner().invoke(app, ["check"]).exit_code == 0


@pytest.mark.workflow
def test_its_snakefile_plans_every_stage_as_the_repository_does(tmp_path):
    assert init(tmp_path / "project").exit_code == 0
    command = [sys.executable, "-m", "snakemake", "--dry-run"]
    done = subprocess.run(
        command, cwd=tmp_path / "project", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for rule in ("make_phantom", "infer_shard", "render_report", "summarize_cohort"):
        assert rule in done.stdout
    # nothing but the plan was made, and what Snakemake keeps is ignored by git
    assert {path.name for path in (tmp_path / "project").iterdir()} == {
        ".gitignore", ".snakemake", "Snakefile", "config", "profiles", "slurm",
    }  # fmt: skip


def test_an_empty_folder_is_filled_and_one_with_files_is_refused(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert init(".").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    done = init(".")
    assert done.exit_code == 1
    assert ". is not empty: give the folder of a new project" in done.stderr
    done = init("Snakefile")
    assert done.exit_code == 1
    assert "Snakefile is a file: give the folder of a new project" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
