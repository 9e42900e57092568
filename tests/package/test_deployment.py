"""The workflow deployed by snakedeploy, which leaves it on its server and uses it as a module."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.workflow

#: The parts of the repository that snakedeploy and Snakemake read.
PARTS = ("LICENSE", "Snakefile", "workflow", "scripts", "envs", "config", "profiles")

ADDRESS = "https://github.com/example/parafovea"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return variables with which git takes GitHub from a folder of this machine."""
    hosts = tmp_path_factory.mktemp("hosts")
    work = hosts / "work"
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        work.mkdir(exist_ok=True)
        copy(ROOT / name, work / name)
    who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "x"), ("tag", "v1")):
        subprocess.run(["git", *command], cwd=work, check=True)
    bare = hosts / "hub" / "example" / "parafovea"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    return {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{hosts}/hub/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(hosts / "cache"),
        "PYTHONPATH": str(ROOT / "src"),
    }


def test_a_deployed_workflow_runs_with_its_config_alone(make_runnable, tmp_path, environment):
    folder = tmp_path / "deployed"
    code = "from snakedeploy.client import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, "deploy-workflow", ADDRESS, str(folder), "--tag", "v1"],
        env=environment,
        check=True,
        capture_output=True,
    )
    assert 'github("example/parafovea", path="workflow/Snakefile", tag="v1")' in (
        folder / "workflow/Snakefile"
    ).read_text(encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {"LICENSE", "config", "profiles", "workflow"}
    # the user's own samples and model
    made = make_runnable(tmp_path / "made")
    shutil.copytree(made.path, folder, dirs_exist_ok=True)

    def snakemake(*arguments):
        command = [sys.executable, "-m", "snakemake", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    snakemake("--cores", "2")
    assert (folder / "results/report.html").is_file()
    assert (folder / "results/a/report.html").is_file()
    assert "Nothing to be done" in snakemake("--dry-run")
    # scripts that came from the server are the code that `status` compares with
    done = subprocess.run(
        [sys.executable, "-c", "from parafovea.cli.main import app; app()", "status"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stale" not in done.stdout
    assert "missing" not in done.stdout


def test_shipped_models_are_found_where_the_workflow_was_deployed(tmp_path, environment):
    folder = tmp_path / "deployed"
    code = "from snakedeploy.client import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, "deploy-workflow", ADDRESS, str(folder), "--tag", "v1"],
        env=environment,
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # the config as it is, whose models do not lie in this folder
    assert done.returncode == 0, done.stdout + done.stderr
