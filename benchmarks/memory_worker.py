"""One task of the memory benchmark, in a process of its own; prints its peaks as JSON.

Run by `memory_growth`: `python -m benchmarks.memory_worker TASK FOLDER MODEL`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
from pathlib import Path

from benchmarks.stages import blend, infer
from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.folder import load_model
from parafovea.models.model_json import read_spec
from parafovea.settings.inference import InferenceSettings
from parafovea.storage.store import Stored, create, open_stored

#: Voxels of the cube that larger ones are tiled from; a multiple of every token's size.
BRICK = 64


def peak_bytes() -> int:
    """Return the largest resident memory that this process ever had.

    `VmHWM` counts from the start of this program; `ru_maxrss`, taken where there is no /proc,
    may hold the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _inputs(folder: Path) -> ModelInputs:
    return ModelInputs(
        folder / "volume.ome.zarr", folder / "features.zarr", folder / "context.zarr"
    )


def prepare(folder: Path, model: Path, *, edge: int) -> None:
    """Write a cube's volume and features, put together from copies of one phantom's.

    How much memory inference takes does not depend on what it sees, and features of 384³ voxels
    would take a minute.
    """
    from benchmarks.samples import make_sample

    spec = read_spec(model)
    brick = make_sample(folder / "brick", spec, shape=(BRICK, BRICK, BRICK))
    whole = _inputs(folder)
    for source, target in (
        (brick.volume, whole.volume),
        (brick.features, whole.features),
        (brick.context, whole.context),
    ):
        if source is not None and target is not None:
            _repeat(open_stored(source), target, times=edge // BRICK)


def _repeat(stored: Stored, output: Path, *, times: int) -> None:
    """Write an array put together from `times` copies of another along each axis."""
    step = stored.grid.shape
    grid = Grid(
        shape3([n * times for n in step]),
        stored.grid.spacing,
        stored.grid.origin,
        stored.grid.unit,
    )
    values = stored.read()
    with create(
        output,
        grid,
        dtype=stored.array.dtype,
        channels=stored.channels,
        chunk=stored.array.chunks[-3:],
        shard=step,
        attributes=stored.attributes,
    ) as array:
        for corner in itertools.product(range(times), repeat=3):
            box = Box.sized([c * n for c, n in zip(corner, step, strict=True)], step)
            array[(..., *box.slices)] = values


def ours(folder: Path, model: Path, *, overlap: float) -> dict[str, int]:
    """Run infer_shard and blend_shards; return the peak after each."""
    sums = folder / "sums.zarr"
    infer(_inputs(folder), model, sums, InferenceSettings(overlap=overlap))
    inferred = peak_bytes()
    blend(sums, folder / "prediction.ome.zarr")
    return {"infer_peak_bytes": inferred, "peak_bytes": peak_bytes()}


def monai(folder: Path, model: Path, *, overlap: float) -> dict[str, int]:
    """Run MONAI's sliding windows over a tensor of all features; return the peak."""
    # Imported here, so that our peak does not pay for MONAI's modules.
    from benchmarks.peer import FullResolution, full_resolution, predicted_by_monai

    spec, network = load_model(model)
    stacked = full_resolution(SampleInputs(_inputs(folder), spec))
    predictor = FullResolution(network, spec.input_channels).eval()
    predicted_by_monai(predictor, stacked, spec.window, overlap=overlap)
    return {"peak_bytes": peak_bytes()}


def main() -> None:
    """Do the task and print its peaks in bytes, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("ours", "monai"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--overlap", type=float, required=True)
    given = parser.parse_args()
    task = ours if given.task == "ours" else monai
    sys.stdout.write(json.dumps(task(given.folder, given.model, overlap=given.overlap)))


if __name__ == "__main__":
    main()
