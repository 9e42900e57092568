import gc
import inspect
import re
import sys
from pathlib import Path

from parafovea import config as parafovea_config
from parafovea.chain.stage import AncientPath
from parafovea.config.snakemake_options import require_one_configfile
from parafovea.config.stage_code import code_of
from parafovea.errors import ParafoveaError, describe
from parafovea.kinds.stages import stages
from parafovea.planning.requests import JobRequests
from parafovea.runtime.runs import Run
from parafovea.runtime.slurm import require_slurm
from parafovea.runtime.writers import share_results
from parafovea.storage.layout import PHANTOMS

# Where the config comes from, for messages: later ones override earlier ones. Snakemake appends the
# Snakefile's own file, if there is one, to those of the command line.
GIVEN = len(workflow.overwrite_configfiles)
CONFIG_FILES = [
    *map(Path, workflow.configfiles[GIVEN:] + workflow.configfiles[:GIVEN]),
    workflow.config_settings.config,
]

# Whether features are in a cache shared between workflows: snakemake --cache.
CACHED = workflow.workflow_settings.cache is not None

try:
    require_one_configfile(sys.argv[1:] if workflow.is_main_process else ())
    PROJECT = parafovea_config.load_project(config, files=CONFIG_FILES)
    if CACHED:
        PROJECT.require_hashable()
except ParafoveaError as error:
    sys.exit(f"Nothing was run. {describe(error)}")

RESULTS = Path(PROJECT.settings.results)

# Held until this process ends, so that the next run can detect whether this one was killed.
RUN = Run(job=not workflow.is_main_process)

if RUN.notice:
    print(f"Note: {RUN.notice}", file=sys.stderr)

# The folder of the results, held until this process ends: by a job, too, which may outlive its run.
HELD = []
if not workflow.is_main_process:
    try:
        HELD.append(share_results(RESULTS, []))
    except ParafoveaError as error:
        sys.exit(describe(error))


pathvars:
    results=PROJECT.settings.results,
    logs=f"{PROJECT.settings.results}/logs",
    benchmarks=f"{PROJECT.settings.results}/benchmarks",


SAMPLE = "[A-Za-z0-9_-][A-Za-z0-9._-]*"


wildcard_constraints:
    sample=SAMPLE,
    shard=r"[1-9]\d*",
    kind="[a-z]+",
    seed=r"\d+",
    augmentation="[a-z0-9_+]+",
    model="|".join(map(re.escape, PROJECT.trained)) or "(?!)",


STAGES = stages()

REQUESTS = JobRequests(PROJECT, planning=workflow.is_main_process)

# What was loaded so far stays until the end. Snakemake makes so many objects that looking through
# all of this again and again for garbage took an eighth of the planning.
gc.freeze()


def begin():
    """Stop if results cannot be written or jobs not be submitted; record where the jobs run."""
    try:
        HELD.append(share_results(RESULTS, [*PROJECT.samples, PHANTOMS]))
        if workflow.executor_plugin.name == "slurm":
            require_slurm()
    except ParafoveaError as error:
        sys.exit(f"Nothing was run. {describe(error)}")
    if not workflow.local_exec:
        RUN.goes_elsewhere()


def of_a_job(function):
    """Return a function that states its signature, which Snakemake looks up several times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def inputs(name):
    """Return an input function: the inputs of a stage, and `waits`, its other dependencies."""
    stage = STAGES[name]

    @of_a_job
    def paths(wildcards):
        waits = stage.waits(PROJECT, wildcards)
        return {
            **stage.input_paths(PROJECT, wildcards),
            "waits": [
                ancient(path) if isinstance(path, AncientPath) else path
                for path in waits
            ],
        }

    return paths


def outputs(name):
    """Return the outputs of a stage by name, with Snakemake's flags."""
    found = STAGES[name].outputs_of(PROJECT)
    return {key: flagged(output) for key, output in found.items()}


def flagged(output):
    """Return an output with Snakemake's flags."""
    path = f"<results>/{output.path}"
    if output.folder:
        path = directory(path)
    if output.temporary and not PROJECT.settings.keep_features:
        path = temp(path)
    if output.caption is None:
        return path
    labels = {"sample": "{sample}"} if "{sample}" in output.path else {}
    return report(
        path,
        caption=f"../report/{output.caption.name}.rst",
        category=output.caption.category,
        labels={**labels, "content": output.caption.content},
        patterns=list(output.caption.patterns),
    )


def arguments(name):
    """Return a params function: the arguments of a stage, with the fingerprint of its code."""
    stage = STAGES[name]

    @of_a_job
    def values(wildcards):
        return {
            **stage.arguments(PROJECT, wildcards),
            "content": stage.content(PROJECT, wildcards),
            "code": code_of(stage, PROJECT, wildcards),
        }

    return values


def resources(name):
    """Return the resources of a stage: memory and runtime, doubled at each attempt, and a GPU."""

    @of_a_job
    def mem_mb(wildcards, attempt):
        return REQUESTS.of(name, dict(wildcards.items()), attempt).mem_mb

    @of_a_job
    def runtime(wildcards, attempt):
        return REQUESTS.of(name, dict(wildcards.items()), attempt).runtime

    gpu = {"gpu": 1} if STAGES[name].device == "gpu" else {}
    return {"mem_mb": mem_mb, "runtime": runtime, **gpu}


def samples_of(name):
    """Return a regular expression for the samples that a stage applies to."""
    names = [
        sample for sample in PROJECT.samples if STAGES[name] in PROJECT.stages(sample)
    ]
    if len(names) == len(PROJECT.samples):
        return SAMPLE
    return "|".join(map(re.escape, names)) or "(?!)"


def wanted():
    """Return the results that a run requests explicitly, so that deleted ones are recreated."""
    return [
        f"{PROJECT.settings.results}/{output.path.format(sample=sample)}"
        for sample in PROJECT.predicted
        for stage in PROJECT.stages(sample)
        for output in stage.outputs.values()
        if output.wanted
    ]
