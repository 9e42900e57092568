import re
import sys
from functools import cache, reduce
from operator import getitem
from pathlib import Path

from parafovea import config as parafovea_config
from parafovea.config.model_recipes import weight_files
from parafovea.formats.registry import registered_modules
from parafovea.planning.requests import JobRequests
from parafovea.errors import ParafoveaError, describe
from parafovea.storage.fingerprint import fingerprint as script_fingerprint
from parafovea.storage.runs import Run, require_writable

# Files of the command line override the one that the Snakefile names, which comes last here.
CONFIG_FILES = [
    Path(file) for file in workflow.configfiles[-1:] + workflow.configfiles[:-1]
]

# Whether features come from a cache that several workflows share: snakemake --cache.
CACHED = workflow.workflow_settings.cache is not None

try:
    PROJECT = parafovea_config.load_project(config, files=CONFIG_FILES)
    if CACHED:
        PROJECT.require_hashable()
except ParafoveaError as error:
    sys.exit(f"Nothing was run. {describe(error)}")

# Held until this process ends, so that the next run can tell whether this one was killed.
RUN = Run(job=not workflow.is_main_process)

if RUN.notice:
    print(f"Note: {RUN.notice}", file=sys.stderr)


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


plan = cache(PROJECT.plan)

STUDY = PROJECT.study

REQUESTS = JobRequests(PROJECT, planning=workflow.is_main_process)


def memory(stage):
    """Return a function of a job: the megabytes that it asks for, more at each attempt."""

    def mem_mb(wildcards, attempt):
        return REQUESTS.of(stage, dict(wildcards.items()), attempt).mem_mb

    return mem_mb


def minutes(stage):
    """Return a function of a job: its time limit in minutes, longer at each attempt."""

    def runtime(wildcards, attempt):
        return REQUESTS.of(stage, dict(wildcards.items()), attempt).runtime

    return runtime


def begin():
    """Stop where results cannot be written; note where the jobs of this run go."""
    try:
        require_writable(Path(PROJECT.settings.results))
    except ParafoveaError as error:
        sys.exit(f"Nothing was run. {describe(error)}")
    if not workflow.local_exec:
        RUN.goes_elsewhere()


def setting(key):
    """Return a function of the wildcards: a value of the sample's plan, by its dotted key."""

    def value(wildcards):
        return reduce(getitem, key.split("."), plan(wildcards.sample))

    return value


def inference(wildcards):
    """Return the inference settings of a sample."""
    return PROJECT.inference_plan(wildcards.sample)


def phantom(key):
    """Return a function of the wildcards: a setting of the phantoms of that kind."""

    def value(wildcards):
        return getattr(PROJECT.phantom(wildcards.kind), key)

    return value


def training(key):
    """Return a function of the wildcards: a value of a trained model's plan."""

    def value(wildcards):
        return PROJECT.training_plan(wildcards.model)[key]

    return value


def studied(key):
    """Return a function of the wildcards: a value of a study model's plan, by its dotted key."""

    def value(wildcards):
        plan = STUDY.plan(
            wildcards.variant, int(wildcards.seed), PROJECT.settings.results
        )
        return reduce(getitem, key.split("."), plan)

    return value


def fingerprint(stage):
    """Return the fingerprint of the package's modules that a stage's script imports."""
    script = Path(workflow.basedir) / "scripts" / f"{stage}.py"
    formats = {"parafovea.formats.registry": registered_modules()}
    return script_fingerprint(script, behind=formats)


def finds_body(wildcards):
    """Return whether body and lungs of a sample's scan are needed."""
    return PROJECT.kind(wildcards.sample) == "detection"


def augmentation(wildcards):
    """Return the augmented view that is meant, "" for the sample as it is."""
    return wildcards.get("augmentation", "")


def backbone_files(view):
    """Return a function of the wildcards: the files of the weights that a view's backbone loads."""

    def files(wildcards):
        recipe = PROJECT.recipe(wildcards.sample)
        return weight_files((recipe.context if view == "context" else recipe).backbone)

    return files


def intermediate(path):
    """Return the folder of a large store as an output, kept or not as the config says."""
    return directory(path) if PROJECT.settings.keep_features else temp(directory(path))


def model_files(wildcards):
    """Return what a sample's prediction depends on: a folder that is trained here, or its files.

    model.json holds the hash of the weights, so that a mere touch of the weights means nothing.
    """
    folder = PROJECT.task(wildcards.sample).model
    if folder in PROJECT.trained:
        return folder
    return [f"{folder}/model.json", ancient(f"{folder}/model.safetensors")]


def context_store(wildcards):
    """Return the context features of a sample, if its model sees context."""
    if PROJECT.recipe(wildcards.sample).context is None:
        return []
    return f"{PROJECT.folder(wildcards.sample)}/context.zarr"


def view_stores(name):
    """Return a function of the wildcards: a store of each augmented view, if the model reads it."""

    def stores(wildcards):
        if name == "context.zarr" and not context_store(wildcards):
            return []
        folder = f"{PROJECT.folder(wildcards.sample)}/views"
        views = PROJECT.inference(wildcards.sample).tta
        return [f"{folder}/{view}/{name}" for view in views]

    return stores


def calibration_file(wildcards):
    """Return the calibration of a sample's scores, if its task has one."""
    return PROJECT.task(wildcards.sample).triage.calibration or []


def concentric_window(wildcards):
    """Return the window that concentric context has to cover, None for registered context."""
    recipe = PROJECT.recipe(wildcards.sample)
    return None if recipe.context_ratio is None else recipe.window


def shard_stores(wildcards):
    """Return the stores of all shards of a sample."""
    count = PROJECT.shards(wildcards.sample)
    return [
        f"{PROJECT.folder(wildcards.sample)}/shards/{shard}.zarr"
        for shard in range(1, count + 1)
    ]


def tile_ledgers(wildcards):
    """Return the ledgers of all shares of a folder of tiles."""
    count = PROJECT.shards(wildcards.sample)
    return [
        f"{PROJECT.folder(wildcards.sample)}/shards/{shard}.tsv"
        for shard in range(1, count + 1)
    ]


def predicted(name):
    """Return one file of each sample that is predicted."""
    return [f"{PROJECT.folder(sample)}/{name}" for sample in PROJECT.predicted]


def predicted_of(kind, name, type="volume"):
    """Return one file of each volume of a kind that is predicted, or of each folder of tiles."""
    samples = PROJECT.predicted_of(kind, type)
    return [f"{PROJECT.folder(sample)}/{name}" for sample in samples]


def predicted_volumes(name):
    """Return one file of each volume that is predicted, of any kind."""
    return [f"{PROJECT.folder(sample)}/{name}" for sample in PROJECT.predicted_volumes]


def predicted_tiles(name):
    """Return one file of each folder of tiles that is predicted, of any kind."""
    return [f"{PROJECT.folder(sample)}/{name}" for sample in PROJECT.predicted_tiles]


def samples_of(kind, type="volume"):
    """Return what the names of volumes of a kind match: anything where all samples are such."""
    return named(
        sample
        for sample in PROJECT.samples
        if PROJECT.kind(sample) == kind and PROJECT.source_type(sample) == type
    )


def samples_of_type(type):
    """Return what the names of volumes match, or those of folders of tiles."""
    return named(
        sample for sample in PROJECT.samples if PROJECT.source_type(sample) == type
    )


def samples_with_ledger():
    """Return what the names match of folders of tiles, and of mosaics, which count as such."""
    return named(
        sample
        for sample in PROJECT.samples
        if PROJECT.is_tiles(sample) or PROJECT.kind(sample) == "refinement"
    )


def refined_mosaic(wildcards):
    """Return the refined image of a mosaic, nothing for a folder of tiles."""
    if PROJECT.is_tiles(wildcards.sample):
        return []
    return f"{PROJECT.folder(wildcards.sample)}/refined.tif"


def tile_files(what):
    """Return a function of the wildcards: what the source or truth of a tile sample waits for.

    Of a folder that is there before the run its own time says nothing: `tile_content` does.
    """

    def files(wildcards):
        found = plan(wildcards.sample)["files"][what]
        is_tiles = PROJECT.is_tiles(wildcards.sample)
        if not is_tiles or PROJECT.tile_folder(wildcards.sample, what) is None:
            return found
        return [ancient(path) for path in found]

    return files


def tile_content(what):
    """Return a function of the wildcards: a hash of the tiles in such a folder."""

    def content(wildcards):
        if not PROJECT.is_tiles(wildcards.sample):
            return ""
        return PROJECT.tile_content(wildcards.sample, what)

    return content


def named(samples):
    """Return what the names of some samples match: anything where they are all of the sheet."""
    names = list(samples)
    if len(names) == len(PROJECT.samples):
        return SAMPLE
    return "|".join(map(re.escape, names)) or "(?!)"
