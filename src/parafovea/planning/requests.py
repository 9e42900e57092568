"""What a job asks of a machine: memory and minutes, with room to spare; docs/cluster.md shows it.

Half as much memory as a stage takes is added, and ten times its time on two good cores is asked
for, so that a request holds on a slow node and is generous on a GPU. A job that is tried again asks
for twice as much each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from parafovea.planning.costs import PLAIN, STAGES, TORCH, cost, width_factor
from parafovea.planning.tile_work import TileWork
from parafovea.planning.work import Work
from parafovea.training.settings import TrainingSettings

#: Stages of many short jobs, which a cluster takes as one array. All jobs of an array ask for what
#: its first one asks for, so they ask for what the largest sample needs.
SHORT = ("make_phantom", "measure_quality", "render_report")

#: Rules that ask for themselves; the views of a sample ask alike.
ASKING = tuple(stage for stage in STAGES if stage != "extract_context")

#: How much more than measured is asked for.
MARGIN = 1.5
SLOWNESS = 10.0

#: Minutes until a job begins: imports from a slow shared disk, Snakemake's own start.
START = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What one attempt of a job asks for.

    Parameters
    ----------
    mem_mb : int
        Memory, in megabytes.
    runtime : int
        Time limit, in minutes.
    """

    mem_mb: int
    runtime: int


def request(stage: str, work: Work | TileWork, attempt: int = 1) -> Request:
    """Return what a stage's job asks for.

    Parameters
    ----------
    stage : str
        One of `ASKING` or `MOSAIC_STAGES`, of tiles one of `TILE_STAGES`; `extract_features` is
        enough for context, too.
    work : Work or TileWork
        The sample.
    attempt : int
        1 for the first; each further one doubles the request.
    """
    stages = ("extract_features", "extract_context") if stage == "extract_features" else (stage,)
    costs = [cost(each, work) for each in stages]
    return grown(max(c.memory for c in costs), max(c.seconds for c in costs), attempt)


def largest_request(stage: str, works: Iterable[Work], attempt: int = 1) -> Request:
    """Return what is enough for a stage's job of each of some samples."""
    each = [request(stage, work, attempt) for work in works]
    return Request(max(r.mem_mb for r in each), max(r.runtime for r in each))


def cohort_request(samples: int, attempt: int = 1) -> Request:
    """Return what a job asks for that reads the tables of all samples."""
    return grown(PLAIN + 2e6 * samples, 0.03 * samples, attempt)


def training_request(settings: TrainingSettings, attempt: int = 1) -> Request:
    """Return what the training of a model asks for.

    The memory was measured at 480 bytes a voxel of a batch and channel of the first level; the
    time at 3 µs a voxel of a window, at 16 such channels, on two busy cores.
    """
    width = settings.recipe.network.base_channels
    voxels = settings.batch_size * math.prod(settings.recipe.window)
    samples = len(settings.samples) + len(settings.validation)
    memory = TORCH + 500 * width * voxels + 100e6 * samples
    return grown(memory, 3e-6 * settings.steps * voxels * width_factor(width), attempt)


def grown(memory: float, seconds: float, attempt: int) -> Request:
    """Return the request of an attempt: with margins, rounded up, doubled for each failure."""
    growth = 2 ** (attempt - 1)
    megabytes = 500 * math.ceil(MARGIN * memory / 500e6)
    minutes = 10 * math.ceil((START + SLOWNESS * seconds / 60) / 10)
    return Request(megabytes * growth, minutes * growth)
