"""Snakemake, called from the outside in a folder of a test."""

import subprocess
import sys
from pathlib import Path

import pytest
from planner import Planner
from tiny_sample import random_network

from parafovea.backbones import feature_channels
from parafovea.models.folder import save_model
from parafovea.models.network import FusedUNet
from parafovea.models.spec import BackboneSpec, ModelSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Return a function that runs the workflow in a folder and returns its status and output."""

    def run(folder, *arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", folder, "--quiet", "rules", "--cores", "2", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def planned():
    """Return a function that plans the workflow and returns the number of jobs by rule."""
    planner = Planner(ROOT)
    yield planner.plan
    planner.close()


@pytest.fixture(scope="session")
def make_runnable(make_project_folder, recipe):
    """Return a function that makes a project folder whose model is really there, of random weights.

    Its only sample is `a`, of a few voxels.
    """

    def make(path):
        folder = make_project_folder(path)
        folder.rows = folder.rows[:1]
        folder.write()
        channels = feature_channels(BackboneSpec(), dimensions=3)
        numbers = {"input_channels": channels + 1, "context_channels": channels}
        spec = ModelSpec.model_validate(
            {**recipe, **numbers, "name": "cell", "weights_sha256": "0" * 64}
        )
        save_model(path / "models" / "cell", spec, random_network(FusedUNet.from_spec(spec)))
        return folder

    return make
