"""What jobs ask of a machine: memory and minutes, from the grid of the sample and its model.

The one place for such numbers; docs/cluster.md shows what comes out. The rates are those of two
CPU cores, and three times what was measured is asked, so that a request holds on a slow node and
is generous on a GPU. A job that is tried again asks for twice as much each time.

Neither torch nor zarr is imported: the workflow parses this in every job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from parafovea.grid import Grid, Shape
from parafovea.inference.planning import planned_layout, window_bytes
from parafovea.inference.settings import InferenceSettings
from parafovea.models.spec import BackboneSpec, Recipe
from parafovea.training.settings import TrainingSettings
from parafovea.windows import Layout

#: Voxels along z, y, x of a sample whose source cannot be opened yet.
UNKNOWN_SHAPE: Shape = (1024, 1024, 1024)

#: Stages of many short jobs, which a cluster takes as one array. All jobs of an array ask for what
#: its first one asks for, so they ask for what the largest sample needs.
SHORT = ("make_phantom", "measure_quality", "render_report")

#: How much more than measured is asked for.
MARGIN = 1.5
SLOWNESS = 3.0

#: Memory of Python with the libraries of a stage, in bytes: without torch, with it, and with the
#: libraries that a GPU needs beside it.
PLAIN, TORCH = 500e6, 2500e6

#: Minutes until a job begins: imports from a slow shared disk, Snakemake's own start.
START = 10

#: Voxels of the slabs and blocks that stages hold.
PLANES = 32
RESAMPLED = (64, 256, 256)
BLENDED = (64, 128, 128)
SCANNED = 2**24


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


@dataclass(frozen=True)
class Work:
    """A sample, as far as the size of its jobs depends on it.

    Parameters
    ----------
    source : Grid
        Of its source, in the unit of the recipe.
    recipe : Recipe
        What its model expects.
    inference : InferenceSettings
        How it is predicted.
    """

    source: Grid
    recipe: Recipe
    inference: InferenceSettings

    @property
    def volume(self) -> Grid:
        """The grid of the model's local view."""
        return self.source.resampled(self.recipe.spacing)

    @property
    def predicted(self) -> Shape:
        """Voxels of the prediction along z, y, x."""
        z, y, x = (
            math.ceil(n * scale)
            for n, scale in zip(self.volume.shape, self.inference.output_scales, strict=True)
        )
        return z, y, x

    @property
    def layout(self) -> Layout:
        """The windows that cover the volume."""
        return planned_layout(self.volume.shape, self.recipe, self.inference)


def request(stage: str, work: Work, attempt: int = 1) -> Request:
    """Return what a stage's job asks for.

    Parameters
    ----------
    stage : str
        Name of the stage; `make_phantom` is one too.
    work : Work
        The sample.
    attempt : int
        1 for the first; each further one doubles the request.
    """
    return _grown(*STAGES[stage](work), attempt)


def largest_request(stage: str, works: Iterable[Work], attempt: int = 1) -> Request:
    """Return what is enough for a stage's job of each of some samples."""
    each = [request(stage, work, attempt) for work in works]
    return Request(max(r.mem_mb for r in each), max(r.runtime for r in each))


def cohort_request(samples: int, attempt: int = 1) -> Request:
    """Return what a job asks for that reads the tables of all samples."""
    return _grown(PLAIN + 2e6 * samples, 0.1 * samples, attempt)


def training_request(settings: TrainingSettings, attempt: int = 1) -> Request:
    """Return what the training of a model asks for.

    The memory was measured at 480 bytes a voxel of a batch and channel of the first level; the
    time at 3 µs a voxel of a window, at 16 such channels.
    """
    width = settings.recipe.network.base_channels
    voxels = settings.batch_size * math.prod(settings.recipe.window)
    samples = len(settings.samples) + len(settings.validation)
    memory = TORCH + 500 * width * voxels + 100e6 * samples
    return _grown(memory, 3e-6 * settings.steps * voxels * _width_factor(width), attempt)


def _grown(memory: float, seconds: float, attempt: int) -> Request:
    """Return the request of an attempt: with margins, rounded up, doubled for each failure."""
    growth = 2 ** (attempt - 1)
    megabytes = 500 * math.ceil(MARGIN * memory / 500e6)
    minutes = 10 * math.ceil((START + SLOWNESS * seconds / 60) / 10)
    return Request(megabytes * growth, minutes * growth)


Cost = tuple[float, float]


def _make_phantom(work: Work) -> Cost:
    """Hold all of it, in a dozen arrays."""
    return PLAIN + 60 * work.source.size, work.source.size / 2e6


def _resample_volume(work: Work) -> Cost:
    """Hold a block of the result or a slab of the source, and the pages that files decode whole."""
    ratio = [t / s for s, t in zip(work.source.spacing, work.recipe.spacing, strict=True)]
    behind = math.prod(
        min(m, math.ceil(n * max(1.0, r)))
        for n, m, r in zip(RESAMPLED, work.source.shape, ratio, strict=True)
    )
    page = work.source.shape[1] * work.source.shape[2]
    voxels = 2 * work.source.size + work.volume.size
    held = min(work.source.size, max(behind, SCANNED))
    return PLAIN + 24 * held + 16 * page, voxels / 4e6


def _extract_features(work: Work) -> Cost:
    """Hold blocks of a fixed size, with a transformer its weights; the costlier view counts."""
    local = _view(work.recipe.backbone, work.volume.size)
    context = work.recipe.context
    if context is None:
        return local
    memory, seconds = _view(context.backbone, work.source.resampled(context.spacing).size)
    # the volume is read whole for the coarse view
    seconds += work.volume.size / 1e7
    return max(memory, local[0]), max(seconds, local[1])


def _view(backbone: BackboneSpec, voxels: int) -> Cost:
    return (TORCH + 6e9, voxels / 1e5) if backbone.name == "dinov3" else (TORCH, voxels / 1e6)


def _infer_shard(work: Work) -> Cost:
    """Hold a batch of windows, and the sums that windows still come to, of 3 x 3 x 3 windows."""
    network, classes = work.recipe.network, len(work.recipe.classes)
    layout, settings = work.layout, work.inference
    window = math.prod(layout.window)
    memory = settings.batch_size * window_bytes(
        layout.window, base_channels=network.base_channels, classes=classes
    )
    if settings.mode == "sliding_window":
        memory += 27 * window * 8 * classes
    voxels = layout.lattice.size * window * settings.views / settings.shards
    return TORCH + memory, voxels / 1e6 * _width_factor(network.base_channels)


def _blend_shards(work: Work) -> Cost:
    """Hold a block of the prediction: sums, weights and probabilities of all classes."""
    classes = len(work.recipe.classes)
    voxels = max(math.prod(work.predicted), work.volume.size)
    return PLAIN + 40 * classes * math.prod(BLENDED), classes * voxels / 1e7


def _segment_objects(work: Work) -> Cost:
    """Hold a slab of planes with its classes, components and objects."""
    _, y, x = work.predicted
    return PLAIN + 40 * PLANES * y * x, math.prod(work.predicted) / 2e6


def _measure_quality(work: Work) -> Cost:
    """Hold a slab of planes with the truth beside it."""
    _, y, x = work.predicted
    return PLAIN + 40 * PLANES * y * x, math.prod(work.predicted) / 2e6


def _render_report(work: Work) -> Cost:
    """Hold a few planes of everything."""
    _, y, x = work.predicted
    return PLAIN + 100 * y * x, 60.0


#: Bytes and seconds of a stage, as measured on two cores.
STAGES: Mapping[str, Callable[[Work], Cost]] = {
    "make_phantom": _make_phantom,
    "resample_volume": _resample_volume,
    "extract_features": _extract_features,
    "infer_shard": _infer_shard,
    "blend_shards": _blend_shards,
    "segment_objects": _segment_objects,
    "measure_quality": _measure_quality,
    "render_report": _render_report,
}


def _width_factor(base_channels: int) -> float:
    """Return how much longer a network takes than one of 16 channels."""
    return max(0.5, (base_channels / 16) ** 2)
