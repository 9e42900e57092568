"""A fourth kind of task is one module, one stage and one block of the config."""

import json
import os
import shutil
import subprocess
import sys
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
    sample = wildcards["sample"]
    return {
        "sample": sample,
        **project.block(sample, "counting"),
        "limits": project.limits(sample),
    }


count_voxels = Stage(
    name="count_voxels",
    step="postprocess",
    inputs={"prediction": PREDICTION},
    outputs={
        "counts": Output(layout.in_sample("count.json")),
        "quality": Output(QUALITY),
        "table": Output(QUALITY_TABLE),
        "page": Output(PAGE),
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

from parafovea.quality.metrics import judge
from parafovea.quality.quality_files import quality_json, quality_table
from parafovea.settings.quality import Limit
from parafovea.settings.field_types import Strict
from parafovea.storage.provenance import record
from parafovea.storage.store import open_stored


class CountingSettings(Strict):
    """How voxels are counted."""

    threshold: float = Field(0.5, description="Above it a voxel counts.")


def metric_names(recipe, task, layouts):
    """Return the names of the metrics."""
    return ("voxels",)


def cohort_view(results, *, sample, task):
    """Return what the page of all samples shows."""
    from parafovea.report.sample_results import read_metrics, verdict
    from parafovea.report.segmentation.sample_view import SampleView

    metrics = read_metrics(results.quality_table)
    return SampleView(
        sample=sample,
        task=task,
        title=sample,
        degraded=(),
        facts={},
        verdict=verdict(metrics),
        metrics=metrics,
        classes=(),
        objects=(),
        object_count=0,
        provenance={},
        drawings=(),
    )


def count_voxels(prediction, counts, quality, table, page, *, sample, threshold, limits):
    """Count the voxels of a prediction."""
    values = np.asarray(open_stored(prediction).array)
    found = [int(each) for each in (values > threshold).sum(axis=(1, 2, 3))]
    counts.write_text(json.dumps({"sample": sample, "threshold": threshold, "voxels": found}))
    ranges = {name: Limit.model_validate(each) for name, each in limits.items()}
    values = {("voxels",): sum(found)}
    judged = judge(values, ranges)
    made = record("count_voxels", threshold=threshold)
    quality.write_text(quality_json(values, judged, made))
    table.write_text(quality_table(judged))
    page.write_text(f"<p>{sample}: {found}</p>")
'''

SCRIPT = '''
"""Count voxels."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
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


@pytest.mark.workflow
def test_a_fourth_kind_is_a_module_a_stage_and_a_block(repository, make_runnable, tmp_path):
    folder = make_runnable(tmp_path / "project")
    model = folder.path / "models/cell/model.json"
    spec = json.loads(model.read_text())
    model.write_text(json.dumps({**spec, "kind": "counting"}))
    folder.config["tasks"]["cell"] |= {"kind": "counting", "counting": {"threshold": 0.25}}
    folder.config["tasks"]["cell"]["quality"] = {"limits": {"voxels": {"min": 1}}}
    folder.write()
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=folder.path,
            env=environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    snakemake = ("-m", "snakemake", "--snakefile", repository / "Snakefile", "--cores", "2")
    run(*snakemake, "--quiet", "rules")
    results = folder.path / "results"
    count = json.loads((results / "a/count.json").read_text())
    assert count["sample"] == "a"
    assert count["threshold"] == 0.25
    assert len(count["voxels"]) == len(spec["classes"])
    assert "voxels" in (results / "cohort/quality.tsv").read_text()
    assert "Nothing to be done" in run(*snakemake)
    commands = ("-c", "from parafovea.cli.main import app; app()")
    assert "count_voxels" in run(*commands, "plan")
    status = run(*commands, "status", "--snakefile", str(repository / "Snakefile"))
    assert "missing" not in status
    # the run in one process gives the same
    (results / "a/count.json").unlink()
    run(*commands, "run", "--sample", "a")
    assert json.loads((results / "a/count.json").read_text()) == count
    # a block of another kind, or a wrong key of its own, is refused before any job
    folder.config["tasks"]["cell"]["postprocess"] = {"connectivity": 6}
    folder.write()
    refused = subprocess.run(
        [sys.executable, *map(str, snakemake), "--dry-run"],
        capture_output=True,
        text=True,
        cwd=folder.path,
        env=environment,
    )
    assert refused.returncode != 0
    assert "postprocess does not apply to a task of kind counting" in refused.stderr
