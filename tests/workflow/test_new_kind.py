"""A fourth kind of task is one module, one stage and one block of the config."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KIND = '''
"""Counting: how many voxels are more likely than not."""

from parafovea.chain.stage import Output, Stage
from parafovea.chain.tile_stages import PAGE, QUALITY, QUALITY_TABLE
from parafovea.chain.volume_stages import PREDICTION
from parafovea.kinds.kind import Kind
from parafovea.storage import layout


def _counting(project, wildcards):
    return {"sample": wildcards["sample"], **project.block(wildcards["sample"], "counting")}


count_voxels = Stage(
    name="count_voxels",
    step="postprocess",
    inputs={"prediction": PREDICTION},
    outputs={
        "count": Output(layout.in_sample("count.json"), wanted=True),
        "quality": Output(QUALITY, wanted=True),
        "table": Output(QUALITY_TABLE),
        "page": Output(PAGE, wanted=True),
    },
    arguments=_counting,
)

KIND = Kind(
    name="counting",
    meaning="how many voxels are more likely than not",
    scores="one number a class (sigmoid)",
    blocks={"counting": "parafovea.stages.count_voxels:CountingSettings"},
    stages={"volume": (count_voxels,)},
    results={"volume": "count.json"},
    metrics="parafovea.stages.count_voxels:metric_names",
    cohort_page={"volume": "parafovea.stages.count_voxels:cohort_view"},
)
'''

STAGE = '''
"""Stage count_voxels: how many voxels of each class are more likely than a threshold."""

import json

import numpy as np
from pydantic import Field

from parafovea.settings.recipe import Strict
from parafovea.storage.store import open_stored


class CountingSettings(Strict):
    """How voxels are counted."""

    threshold: float = Field(0.5, description="Above it a voxel counts.")


def metric_names(recipe, task, layouts):
    """Return the names of the metrics."""
    return ("voxels",)


def cohort_view(results, *, sample, task):
    """Return what the page of all samples shows."""
    from parafovea.report.segmentation.sample_view import SampleView

    return SampleView.empty(sample, task)


def count_voxels(prediction, count, quality, table, page, *, sample, threshold):
    """Count the voxels of a prediction."""
    values = np.asarray(open_stored(prediction).array)
    found = [int(each) for each in (values > threshold).sum(axis=(1, 2, 3))]
    count.write_text(json.dumps({"sample": sample, "threshold": threshold, "voxels": found}))
    quality.write_text(json.dumps({"metrics": {}}))
    table.write_text("metric\\tvalue\\n")
    page.write_text(f"<p>{sample}: {found}</p>")
'''

SCRIPT = '''
"""Count voxels."""

from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.count_voxels import count_voxels

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    count_voxels(**call)
'''


@pytest.fixture
def repository(tmp_path):
    """Return a copy of the repository with the kind `counting` in it."""
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(ROOT / "Snakefile", code)
    for name in ("workflow", "scripts", "profiles", "envs", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, code / name, ignore=ignored)
    (code / "src/parafovea/kinds/counting.py").write_text(KIND)
    (code / "src/parafovea/stages/count_voxels.py").write_text(STAGE)
    (code / "scripts/count_voxels.py").write_text(SCRIPT)
    rule = (code / "workflow/rules/segment_objects.smk").read_text()
    rule = rule.replace("segment_objects", "count_voxels").replace("{params.arguments[method]}", "")
    (code / "workflow/rules/count_voxels.smk").write_text(rule)
    return code
