"""The wheel in an empty environment: `make test-package` installs it and runs a project with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from live_server import GUIDE_CONFIG, LiveServer, make_project

ROOT = Path(__file__).parents[2]

#: Extras whose packages are in envs/run.txt.
RUN_EXTRAS = ("run", "report3d", "slurm")

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
    # the web page of the service with the viewer and its licences
    page = {name for name in first if name.startswith("parafovea/service/page/")}
    assert {Path(name).name for name in page} >= {"index.html", "page.js", "LICENSES.txt"}
    assert any("/vendor/niivue-" in name for name in page)


@pytest.fixture(scope="module")
def binaries(empty, wheel) -> Path:
    """Return the programs of an environment with the wheel and the lock of runs alone."""
    done(sys.executable, "-m", "venv", "environment", folder=empty)
    pip = (empty / "environment/bin/python", "-m", "pip", "install", "--quiet", "--no-deps")
    torch = ("--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0")
    lock = ("--no-compile", "--require-hashes", "--requirement")
    done(*pip, *lock, ROOT / "envs/torch-cpu.txt", *torch, folder=empty)
    done(*pip, *lock, ROOT / "envs/run.txt", folder=empty)
    # each package that the extras of the lock ask for is there, in a version that they allow
    extras = f"{wheel}[{','.join(RUN_EXTRAS)}]"
    done(*pip[:-1], "--no-index", extras, folder=empty)
    return empty / "environment/bin"


@pytest.fixture(scope="module")
def client(empty, wheel) -> Path:
    """Return the programs of an environment with the wheel and its client alone."""
    done(sys.executable, "-m", "venv", "client", folder=empty)
    text = (ROOT / "envs/dev.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^[a-z0-9._-]+==\S+", text, flags=re.M)
    (empty / "versions.txt").write_text("\n".join(pins), encoding="utf-8")
    pip = (empty / "client/bin/python", "-m", "pip", "install", "--quiet")
    done(*pip, "--constraint", empty / "versions.txt", f"{wheel}[client]", folder=empty)
    return empty / "client/bin"


def test_the_client_is_installed_without_anything_that_computes(empty, client):
    lines = done(client / "python", "-m", "pip", "list", "--format", "freeze", folder=empty)
    names = {line.partition("==")[0] for line in lines.splitlines()}
    assert {"parafovea", "httpx", "websockets"} <= names
    # of the rest, only what these two need
    assert names <= {
        "anyio", "certifi", "h11", "httpcore", "httpx", "idna", "parafovea", "pip", "setuptools",
        "sniffio", "typing_extensions", "websockets",
    }  # fmt: skip
    files = [path for path in client.parent.rglob("*") if not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 60e6


def test_the_snippet_of_the_guide_runs_with_the_client_alone(empty, client, tmp_path):
    server = LiveServer(make_project(tmp_path / "project")).start()
    (tmp_path / "guide.yaml").write_text(GUIDE_CONFIG, encoding="utf-8")
    scan = tmp_path / "project/scan.nii.gz"
    try:
        code = f"""
import asyncio, sys
from parafovea.client import InferenceClient
client = InferenceClient(base_url={server.url!r})
job_id = client.submit_inference(scan_path={str(scan)!r}, config='guide.yaml')
results = client.wait_for_results(job_id, timeout=300)
client.download_results(job_id, output_dir='results/')
async def last():
    async for state in client.stream_inference({str(scan)!r}):
        pass
    return state
assert asyncio.run(last())["status"] == "completed"
assert not {{"torch", "zarr", "numpy"}} & set(sys.modules)
print(len(results["detections"]))
"""
        text = done(client / "python", "-c", code, folder=tmp_path)
    finally:
        server.stop()
    found = json.loads((tmp_path / "results/detections.json").read_text(encoding="utf-8"))
    assert int(text) == len(found["detections"]) > 0


def test_the_command_without_what_runs_need_is_one_error_with_the_pip_command(empty, client):
    for arguments in ((), ("--help",), ("predict", "scan.nii.gz"), ("serve",)):
        ran = call(client / "parafovea", *arguments, folder=empty)
        assert ran.returncode == 1
        assert ran.stderr.count("\n") == 1
        assert 'run `pip install "parafovea[run]"`' in ran.stderr
        assert ran.stdout == ""
    assert done(client / "parafovea", "--version", folder=empty).startswith("parafovea ")
    ran = call(client / "python", "-c", "from parafovea import load_model", folder=empty)
    assert 'run `pip install "parafovea[run]"`' in ran.stderr.splitlines()[-1]


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
