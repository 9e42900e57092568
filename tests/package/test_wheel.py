"""The wheel in an empty environment: `make test-package` installs it and runs a project with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]

#: What `make demo` may install, in bytes.
MOST = 1.5e9

#: Phantoms small enough for a test.
SMALL = """
phantoms:
  cell: {shape: [32, 64, 64], spacing: [16, 16, 16], unit: nanometer}
  chest: {shape: [64, 96, 96], spacing: [4.5, 3.7, 3.7], unit: millimeter}
  landscape: {tiles: [4], sizes: [64]}
"""

SHEET = """\
sample\ttask\tsource\ttruth\tmetadata
cell\tcell\tresults/phantoms/cell_seed1.ome.zarr\t\t
chest\tnodules\tresults/phantoms/chest_seed1.nii.gz\t\t
land\toptical\tresults/phantoms/landscape_seed1\t\t
"""

TRAINING = """
tasks:
  cell:
    model: models/new
    training:
      samples: [cell]
      validation: [other]
      recipe:
        spacing: [16, 16, 16]
        context: {spacing: [64, 64, 64]}
        window: [16, 32, 32]
        classes: [background, mitochondrion, nucleus, membrane]
"""


def call(*command: object, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command outside of the repository and of this environment."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env={**kept, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def done(*command: object, folder: Path) -> str:
    """Return the output of a command that has to succeed."""
    ran = call(*command, folder=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """Return a folder for what is built and installed."""
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def wheel(empty) -> Path:
    """Return the wheel, built from the source distribution."""
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", empty, ROOT, folder=empty)
    (found,) = empty.glob("*.whl")
    return found


def test_the_wheel_can_be_built_from_what_an_image_is_given(empty, wheel):
    image = empty / "image"
    image.mkdir()
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1:]:
        name = line.removeprefix("!")
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, image / name)
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    done(*build, "--outdir", empty / "other", image, folder=empty)
    other = empty / "other" / wheel.name
    first, second = (ZipFile(path).namelist() for path in (wheel, other))
    assert sorted(first) == sorted(second)


@pytest.fixture(scope="module")
def binaries(empty, wheel) -> Path:
    """Return the programs of an environment with the wheel and the lock of runs alone."""
    done(sys.executable, "-m", "venv", "environment", folder=empty)
    pip = (empty / "environment/bin/python", "-m", "pip", "install", "--quiet", "--no-deps")
    torch = ("--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0")
    lock = ("--no-compile", "--require-hashes", "--requirement")
    done(*pip, *lock, ROOT / "envs/torch-cpu.txt", *torch, folder=empty)
    done(*pip, *lock, ROOT / "envs/run.txt", folder=empty)
    done(*pip, wheel, folder=empty)
    return empty / "environment/bin"


@pytest.fixture(scope="module")
def project(empty, binaries) -> Path:
    """Return a project folder of `parafovea init`, with a small sample of each kind."""
    done(binaries / "parafovea", "init", "project", folder=empty)
    folder = empty / "project"
    config = folder / "config/config.yaml"
    before, _, after = config.read_text(encoding="utf-8").partition("\nphantoms:")
    tasks = after[after.index("\ntasks:") :]
    tasks = tasks.replace("overlap: 0.25", "overlap: 0")
    config.write_text(before + SMALL + tasks, encoding="utf-8")
    (folder / "config/samples.tsv").write_text(SHEET, encoding="utf-8")
    return folder


def test_the_environment_of_the_demo_is_small_and_complete(binaries):
    files = [path for path in binaries.parent.rglob("*") if not path.is_symlink()]
    used = sum(path.stat().st_blocks * 512 for path in files)
    print(f"{used / 1e9:.2f} GB")
    assert used < MOST
    # each package has what it needs, in a version that it allows
    assert "No broken requirements found" in done(
        binaries / "python", "-m", "pip", "check", folder=binaries
    )
    names = {path.name.partition("-")[0] for path in binaries.parent.glob("lib/*/site-packages/*")}
    assert not {name for name in names if name.startswith(("nvidia", "triton", "cuda"))}
    assert not names & {"lightning", "monai", "transformers", "rasterio", "pydicom", "pytest"}


def test_the_workflow_of_the_wheel_runs_a_sample_of_each_kind(project, binaries):
    text = done(binaries / "parafovea", "check", folder=project)
    assert "3 samples OK" in text
    done(binaries / "snakemake", "--cores", "2", folder=project)
    for name in ("report.html", "cell/objects.tsv", "chest/3d_rendering.html", "land/tiles.tsv"):
        assert (project / "results" / name).is_file()
    ran = call(binaries / "snakemake", "--dry-run", folder=project)
    assert "Nothing to be done" in ran.stdout + ran.stderr
    table = done(binaries / "parafovea", "status", folder=project)
    assert "stale" not in table
    assert "missing" not in table


def test_a_missing_extra_is_one_error_with_the_pip_command(project, binaries):
    first, second = (f"results/phantoms/cell_seed{seed}" for seed in (1, 2))
    sheet = SHEET.replace(f"{first}.ome.zarr\t\t", f"{first}.ome.zarr\t{first}_truth.ome.zarr\t")
    sheet += f"other\tcell\t{second}.ome.zarr\t{second}_truth.ome.zarr\t\n"
    (project / "other.tsv").write_text(sheet, encoding="utf-8")
    (project / "train.yaml").write_text("samples: other.tsv" + TRAINING, encoding="utf-8")
    for command in (
        ("snakemake", "--dry-run", "--configfile", "train.yaml"),
        ("parafovea", "check", "--config", "train.yaml"),
    ):
        ran = call(binaries / command[0], *command[1:], folder=project)
        text = ran.stdout + ran.stderr
        assert ran.returncode == 1, text
        assert "task 'cell' trains models/new (einops, lightning, monai)" in text
        assert text.count('run `pip install "parafovea[train]"`') == 1
        assert "Traceback" not in text
    # and pip finds the extra of what is installed, without an index that has parafovea
    found = done(
        binaries / "python", "-m", "pip", "install", "--dry-run", "parafovea[train]", folder=project
    )
    assert "lightning" in found.partition("Would install")[2]


def test_the_core_alone_does_without_every_extra(project, binaries):
    done(binaries / "python", "-m", "pip", "uninstall", "--yes", "plotly", folder=project)
    ran = call(binaries / "snakemake", "--dry-run", "--forceall", folder=project)
    assert ran.returncode == 1
    assert "sample 'chest' has the stage render_detections (plotly)" in ran.stdout + ran.stderr
    lines = SHEET.splitlines(keepends=True)
    (project / "config/samples.tsv").write_text("".join(lines[:2]), encoding="utf-8")
    done(binaries / "snakemake", "--cores", "2", "--forcerun", "render_report", folder=project)
