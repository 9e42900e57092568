import functools
import gc
import inspect
import re
import sys
import time
from pathlib import Path

from parafovea import config as parafovea_config
from parafovea.chain.figure_stages import figure_jobs
from parafovea.chain.stage import CONSTRAINTS
from parafovea.config.extras import require_packages
from parafovea.config.snakemake_options import require_one_configfile
from parafovea.config.stage_code import code_of
from parafovea.drivers.failed_run import OpenJob, conclude
from parafovea.drivers.module_start import at_start
from parafovea.errors import ParafoveaError, describe
from parafovea.formats.registry import remote_documents
from parafovea.kinds.stages import stages
from parafovea.planning.requests import JobRequests
from parafovea.planning.staleness import Staleness
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.runtime.runs import Run
from parafovea.runtime.shipped_files import announce_source, shipped
from parafovea.runtime.slurm import require_slurm
from parafovea.runtime.writers import share_results
from parafovea.storage.changes import ChangeMark
from parafovea.storage.contents import MEMO, Contents
from parafovea.storage.layout import PHANTOMS

# Where the config comes from, for messages: later ones override earlier ones. Snakemake appends the
# Snakefile's own file, if there is one, to those of the command line.
GIVEN = len(workflow.overwrite_configfiles)
CONFIG_FILES = [
    *map(Path, workflow.configfiles[GIVEN:] + workflow.configfiles[:GIVEN]),
    workflow.config_settings.config,
]

STARTED = time.time()

# What a library says of a damaged header is in the error of its sample.
quiet_libraries()

# Whether features are in a cache shared between workflows: snakemake --cache.
CACHED = workflow.workflow_settings.cache is not None

# The run that a job belongs to has asked for the metadata of its sources at addresses.
if not workflow.is_main_process:
    remote_documents().trust()

try:
    require_one_configfile(sys.argv[1:] if workflow.is_main_process else ())
    PROJECT = parafovea_config.load_project(config, files=CONFIG_FILES)
    if CACHED:
        PROJECT.require_hashable()
    if workflow.is_main_process:
        require_packages(PROJECT)
        PROJECT.require_any()
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


wildcard_constraints:
    **CONSTRAINTS,
    model="|".join(map(re.escape, PROJECT.trained)) or "(?!)",


STAGES = stages()

# Above the folder of this file; those of the package where this file came from a server.
SCRIPTS = Path(str(workflow.current_basedir)).parents[1] / "scripts"
if not SCRIPTS.is_dir():
    SCRIPTS = shipped("scripts")

# For envs/parafovea.post-deploy.sh.
announce_source()

STALENESS = Staleness(
    PROJECT,
    scripts=SCRIPTS,
    contents=Contents(MEMO, announce=lambda text: print(text, file=sys.stderr)),
)

MARK = ChangeMark()

if workflow.is_main_process:
    MARK.write()

# A shared cache identifies results by the content of all inputs, of which the mark is none.
if CACHED and workflow.is_main_process and workflow.dag_settings:
    workflow.dag_settings.forcerun = {
        *workflow.dag_settings.forcerun,
        *STALENESS.stale(),
    }

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


# As a module of another workflow, where only the onstart of that one runs.
at_start(workflow, begin)


def of_a_job(function):
    """Return a function that states its signature, which Snakemake looks up several times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def inputs(name):
    """Return an input function: the inputs of a stage, and `waits`, its other dependencies.

    Whether a result is current follows from its record. The inputs of a current one are ancient,
    and one of those that are not current, the mark, is newer than it.
    """
    stage = STAGES[name]

    @of_a_job
    def paths(wildcards):
        found = stage.input_paths(PROJECT, wildcards)
        waits = [str(path) for path in stage.waits(PROJECT, wildcards)]
        state = state_of(stage, dict(wildcards.items()))
        if state == "current":
            found = {key: ancient(paths) for key, paths in found.items()}
        # a file that is made here is plain, so that its job is followed by this one
        waits = [
            path if state != "current" and STALENESS.maker(path) else ancient(path)
            for path in waits
        ]
        if CACHED:
            return {**found, "waits": waits}
        if state in ("current", "missing"):
            mark = ancient(str(MARK.path))
        else:
            MARK.follow(stage.output_paths(PROJECT, wildcards).values())
            mark = str(MARK.path)
        return {**found, "waits": [*waits, mark]}

    return paths


def state_of(stage, wildcards):
    """Return the state of a job's outputs; "missing" where Snakemake itself has to find out."""
    if not workflow.is_main_process:
        return "missing"
    return STALENESS.state(stage, wildcards)


def outputs(name):
    """Return the outputs of a stage by name, with Snakemake's flags."""
    found = STAGES[name].outputs_of(PROJECT)
    return {key: flagged(output) for key, output in found.items()}


def flagged(output):
    """Return an output with Snakemake's flags."""
    path = output.path if output.placed else f"<results>/{output.path}"
    if output.folder:
        path = directory(path)
    if output.part or (output.temporary and not PROJECT.settings.keep_features):
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
    """Return a params function: the arguments of a stage, and what it is to be made from."""
    stage = STAGES[name]

    @of_a_job
    def values(wildcards):
        given = stage.arguments(PROJECT, wildcards)
        if stage.states_code:
            given["code"] = code_of(stage, PROJECT, wildcards)
        order = STALENESS.order(stage, dict(wildcards.items()))
        return {**given, "order": order.plain()}

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
    """Return a regular expression for the samples that a stage applies to.

    A job is told its rule, and need not open the headers of all samples to find it.
    """
    if not workflow.is_main_process:
        return CONSTRAINTS["sample"]
    names = [
        sample for sample in PROJECT.samples if STAGES[name] in PROJECT.makers(sample)
    ]
    if len(names) == len(PROJECT.samples):
        return CONSTRAINTS["sample"]
    return "|".join(map(re.escape, names)) or "(?!)"


def wanted(wildcards):
    """Return all results but intermediate ones, so that deleted ones are made again.

    Of a job whose results are all there, or all missing, the first one stands for the others.
    Results of samples that fail are left out, and an output that never is made comes last.
    """
    if workflow.dryrun:
        say_left_out()
    jobs = [
        (stage, job)
        for sample in PROJECT.planned
        for stage in PROJECT.stages(sample)
        if any(output.kept for output in stage.outputs.values())
        for job in PROJECT.jobs(stage, sample)
    ]
    if PROJECT.planned:
        jobs.append((STAGES["summarize_cohort"], {}))
    if PROJECT.failed:
        jobs.append((STAGES["report_failures"], {}))
    found = []
    for stage, job in jobs:
        first, *others = stage.output_paths(PROJECT, job).values()
        found.append(first)
        found += (
            [path for path in others if not Path(path).exists()]
            if Path(first).exists()
            else []
        )
    return [*PROJECT.trainable, *found]


def figures_wanted(wildcards):
    """Return all figures for papers that can be drawn; end the run if there are none."""
    try:
        jobs = figure_jobs(PROJECT)
    except ParafoveaError as error:
        sys.exit(f"Nothing was drawn. {describe(error)}")
    if PROJECT.study:
        jobs.append((STAGES[PROJECT.study.drawn_by], {}))
    return [
        path
        for stage, job in jobs
        for path in stage.output_paths(PROJECT, job).values()
    ]


def left_out():
    """Return a sentence about each sample without jobs."""
    return [
        f"sample {name!r} is left out: {reason}"
        for name, reason in PROJECT.failed.items()
    ]


@functools.cache
def say_left_out():
    """Print once which samples have no jobs, since a dry run does not start."""
    for notice in left_out():
        print(f"Note: {notice}", file=sys.stderr)


def notices():
    """Return what a user should know while the jobs run."""
    kept = [
        f"sample {name!r} keeps its finished results, which cannot be made again: {reason}"
        for name, reason in PROJECT.absent.items()
        if PROJECT.archived(name)
    ]
    return [*PROJECT.notices, *left_out(), *kept]


def conclusion():
    """Report the samples that are finished, and return which are not, and why."""
    jobs = [
        OpenJob(
            job.rule.name, dict(job.wildcards.items()), [str(log) for log in job.log]
        )
        for job in workflow.dag.needrun_jobs()
    ]
    return conclude(PROJECT, jobs, since=STARTED)
