"""An edit of the code that reads a format runs the samples of that format again, no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from format_samples import WRITERS
from planner import Planner
from tiny_sample import tiny_model, tiny_recipe, tiny_refinement

from parafovea.formats.location import format_modules
from parafovea.formats.registry import registered_modules
from parafovea.storage.fingerprint import imported_modules

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
TILES = ("npz_tiles", "geotiff_tiles")


def _made(name):
    """Return the first result of a sample: what the stage makes that reads its source."""
    return f"results/{name}/" + ("shards/1.tsv" if name in TILES else "volume.ome.zarr")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Copy the code; read one source of each format with it; return both folders."""
    code, project = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "Snakefile", code)
    for name in ("workflow", "scripts", "profiles", "envs", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, code / name, ignore=ignored)
    scans = tiny_recipe(context=False).model_copy(
        update={"unit": "millimeter", "spacing": (4.0, 1.0, 1.0)}
    )
    tasks = {
        "scans": {"model": str(tiny_model(project / "models/scans", scans))},
        "optical": {
            "kind": "refinement",
            "model": str(tiny_model(project / "models/optical", tiny_refinement())),
        },
    }
    samples = {}
    lines = [["sample", "task", "source", "metadata"]]
    for name, write in WRITERS.items():
        folder = project / "data" / name
        folder.mkdir(parents=True)
        samples[name] = write(folder)
        task = "optical" if samples[name].bands else "scans"
        lines.append([name, task, samples[name].path, samples[name].metadata])
    (project / "config").mkdir()
    (project / "config/config.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    (project / "config/samples.tsv").write_text("".join("\t".join(row) + "\n" for row in lines))
    command = [sys.executable, "-m", "snakemake", "--snakefile", code / "Snakefile"]
    done = subprocess.run(
        [*command, "--quiet", "rules", "--cores", "2", *map(_made, samples)],
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(code / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reads = {
        name: set(imported_modules(format_modules(sample.path, bands=bool(sample.bands))))
        for name, sample in samples.items()
    }
    planner = Planner(code)
    yield SimpleNamespace(code=code, project=project, reads=reads, planner=planner)
    planner.close()


def _runs_again(place):
    return {name for name in WRITERS if place.planner.plan(place.project, _made(name))}


def test_nothing_runs_again_without_an_edit(place):
    assert place.planner.plan(place.project, *map(_made, WRITERS)) == {}


@pytest.mark.parametrize("module", sorted(registered_modules()))
def test_an_edit_of_a_format_runs_its_samples_again(place, module):
    file = place.code.joinpath("src", *module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    text = file.read_text()
    file.write_text(f"{text}\nMORE = 1\n")
    try:
        jobs = place.planner.plan(place.project, *map(_made, WRITERS))
    finally:
        file.write_text(text)
    readers = {name for name in WRITERS if module in place.reads[name]}
    # results of tiles are NPZ files, whatever the tiles come as
    readers |= set(TILES) if module.endswith("tiles.npz") else set()
    assert readers, f"no sample is read by {module}: add one to tests/format_samples.py"
    tiles = readers & set(TILES)
    expected = {"resample_volume": len(readers - tiles), "predict_tiles": len(tiles)}
    assert {rule: count for rule, count in expected.items() if count} == {
        rule: count for rule, count in jobs.items() if rule != "all"
    }


def test_an_edit_of_nrrd_runs_nrrd_again_and_nothing_else(place):
    file = place.code / "src/parafovea/formats/nrrd.py"
    text = file.read_text()
    file.write_text(f"{text}\nMORE = 1\n")
    try:
        assert _runs_again(place) == {"nrrd", "nhdr"}
    finally:
        file.write_text(text)
