"""What to run on a machine with a CUDA device: `python -m benchmarks.gpu [--device cuda:0]`.

Compares a GPU's results with the CPU's, its rates with the best product of matrices, makes memory
run out, and lets two processes share it. Prints a table, writes it as JSON, and ends with status 1
if a limit is not met. With `--device cpu --quick` it tries itself out.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import machine
from benchmarks.convolution_rate import operations
from benchmarks.measure import Ratio, in_turns, whole
from benchmarks.samples import make_sample, read_fused_spec, times
from benchmarks.stages import blend, extract_context, extract_local, infer
from benchmarks.table import Limit, Row, render, write_json
from parafovea.geometry.grid import Shape
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.inference.window_plan import planned_layout, window_bytes
from parafovea.runtime.devices import DEVICE_VARIABLE, choose_device, choose_dtype
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.store import open_stored

NAME = "gpu"
MODEL = Path("resources/models/cell")
RESULTS = Path("benchmarks/results/gpu.json")

#: Characters of a line of the table.
WIDTH = 120

#: Largest difference of a probability in float32; convolutions of a GPU add in another order, and
#: those of cuDNN round to 10 bits where TF32 is allowed.
TOLERANCE = 5e-3

#: Share of voxels with the same label, a GPU at its own precision and the CPU in float32, in %.
SAME_LABELS = 99.5

#: Bytes of a device that are left to the process whose memory is to run out, as a share of what
#: its first batch needs.
SHORT = 0.5


class Size(NamedTuple):
    """Voxels of the volume, the side of the matrices, and rounds."""

    shape: Shape
    matrix: int
    rounds: int


FULL, QUICK = Size((256, 384, 384), 8192, 3), Size((64, 64, 96), 256, 1)


@contextmanager
def on(device: str) -> Iterator[None]:
    """Let stages run on a device."""
    before = os.environ.get(DEVICE_VARIABLE)
    os.environ[DEVICE_VARIABLE] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ[DEVICE_VARIABLE]
        else:
            os.environ[DEVICE_VARIABLE] = before


class Sample:
    """A phantom with its features, and what a device makes of it.

    Parameters
    ----------
    folder : Path
        Where everything is written.
    shape : tuple of int
        Voxels along z, y, x.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder = folder
        self.shape = shape
        self.spec: ModelSpec = read_fused_spec(MODEL)
        with on("cpu"):
            self.inputs: ModelInputs = make_sample(folder, self.spec, shape=shape)

    def predicted(self, device: str, settings: InferenceSettings) -> NDArray[np.float32]:
        """Return the probabilities (class, z, y, x) that a device computes."""
        self.infer(device, settings)
        blend(self.folder / "sums.zarr", self.folder / "prediction.ome.zarr")
        return open_stored(self.folder / "prediction.ome.zarr").read().astype(np.float32)

    def infer(self, device: str, settings: InferenceSettings) -> None:
        """Write the sums of all windows."""
        with on(device):
            infer(self.inputs, MODEL, self.folder / "sums.zarr", settings)

    def extract(self, device: str) -> None:
        """Compute the features of both views."""
        with on(device):
            extract_local(self.inputs, self.spec)
            extract_context(self.inputs, self.spec)


def equality(sample: Sample, device: str) -> list[Row]:
    """Compare the results of a device with the CPU's."""
    exact = InferenceSettings(precision="float32")
    wanted = sample.predicted("cpu", exact)
    found = sample.predicted(device, exact)
    own = sample.predicted(device, InferenceSettings())
    labels = 100 * float((own.argmax(0) == wanted.argmax(0)).mean())
    precision = str(choose_dtype("auto", torch.device(device))).removeprefix("torch.")
    return [
        Row(
            NAME,
            "largest difference of a probability from the CPU's, float32",
            float(np.abs(found - wanted).max()),
            unit="",
            limit=Limit("at most", TOLERANCE),
            note=f"{times(sample.shape)} voxels",
        ),
        Row(
            NAME,
            f"voxels with the label of the CPU in float32, at the precision {precision}",
            labels,
            unit="%",
            limit=Limit("at least", SAME_LABELS),
        ),
    ]


def rates(sample: Sample, device: str, size: Size) -> list[Row]:
    """Measure features and inference against the best product of matrices."""
    place = torch.device(device)
    left, right = (
        torch.randn(size.matrix, size.matrix, device=place, dtype=torch.bfloat16) for _ in range(2)
    )

    def product() -> None:
        torch.mm(left, right)
        _wait(place)

    works: dict[str, Callable[[], object]] = {
        "matrices": product,
        "inference": lambda: sample.infer(device, InferenceSettings()),
        "features": lambda: sample.extract(device),
    }
    counts = {name: operations(work) for name, work in works.items()}
    seconds = in_turns({name: whole(work) for name, work in works.items()}, repeats=size.rounds)
    found = {name: tuple(counts[name] / taken for taken in each) for name, each in seconds.items()}
    best = max(found["matrices"])
    rows = []
    for name in ("inference", "features"):
        share = Ratio.of(found[name], found["matrices"])
        rows.append(
            Row(
                NAME,
                f"rate of {name}, disk to disk, over a product of matrices in bfloat16",
                share.value,
                unit="",
                spread=share.spread,
                seconds={name: seconds[name]},
                note=f"{max(found[name]) / 1e12:.2f} of {best / 1e12:.2f} TFLOP/s; "
                f"{times(sample.shape)} voxels in {min(seconds[name]):.2f} s",
            )
        )
    return rows


def memory(sample: Sample, device: str) -> list[Row]:
    """Compare the peak memory with the plan's, and let memory run out."""
    place = torch.device(device)
    if place.type != "cuda":
        return [Row(NAME, "memory of a device", None, note=f"{device} has none of its own")]
    settings = InferenceSettings(batch_size=4)
    torch.cuda.reset_peak_memory_stats(place)
    wanted = sample.predicted(device, settings)
    peak = torch.cuda.max_memory_allocated(place)
    window = planned_layout(sample.shape, sample.spec, settings).window
    itemsize = choose_dtype("auto", place).itemsize
    planned = settings.batch_size * window_bytes(window, sample.spec, itemsize)
    total = torch.cuda.get_device_properties(place).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SHORT * peak / total, place)
    try:
        found = sample.predicted(device, settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, place)
    record = _record(sample.folder / "sums.zarr")
    return [
        Row(
            NAME,
            "peak memory of the device over what is planned",
            peak / planned,
            unit="x",
            limit=Limit("at most", 1.0),
            note=f"{peak / 1e9:.2f} of {planned / 1e9:.2f} GB, {settings.batch_size} windows of "
            f"{times(window)}",
        ),
        Row(
            NAME,
            "largest difference of a probability after memory ran out",
            float(np.abs(found - wanted).max()),
            unit="",
            limit=Limit("at most", TOLERANCE),
            note="; ".join(record) or "memory did not run out",
            failed=not record,
        ),
    ]


def _record(sums: Path) -> list[str]:
    """Return what the record of a shard says of the lack of memory."""
    return cast(list[str], open_stored(sums).attributes["execution"]["fallbacks"])


def together(sample: Sample, device: str, shape: Shape) -> list[Row]:
    """Let two processes share a device, beside one alone."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", device, "--worker"]
    folders = [sample.folder / f"worker_{number}" for number in (1, 2)]
    for folder in folders:
        folder.mkdir()

    def started(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, str(folder), "--voxels", *map(str, shape)])

    def ended(processes: Sequence[subprocess.Popen[bytes]]) -> float:
        begin = time.perf_counter()
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError(f"a process on {device} ended with status {max(codes)}")
        return time.perf_counter() - begin

    alone = ended([started(folders[0])])
    both = ended([started(folder) for folder in folders])
    results = [(folder / "labels.npy").read_bytes() for folder in folders]
    return [
        Row(
            NAME,
            "time of two processes on one device over that of one, their start included",
            both / alone,
            note=f"{both:.1f} and {alone:.1f} s",
            limit=Limit("at most", 2.2),
        ),
        Row(
            NAME,
            "labels that both processes agree on",
            100.0 if results[0] == results[1] else 0.0,
            unit="%",
            limit=Limit("at least", 100),
        ),
    ]


def work(folder: Path, device: str, shape: Shape) -> None:
    """Predict a phantom in a process of its own, and write its labels."""
    sample = Sample(folder, shape)
    labels = sample.predicted(device, InferenceSettings()).argmax(0).astype(np.uint8)
    np.save(folder / "labels.npy", labels)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 1 if a limit is not met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="in torch's notation")
    parser.add_argument("--quick", action="store_true", help="as little as possible")
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--voxels", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with on(given.device):
        choose_device()  # an error if there is none
    if given.worker is not None:
        work(given.worker, given.device, tuple(given.voxels))
        return 0
    size = QUICK if given.quick else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="parafovea-gpu-") as scratch:
        sample = Sample(Path(scratch), size.shape)
        rows += equality(sample, given.device)
        rows += rates(sample, given.device, size)
        rows += memory(sample, given.device)
        rows += together(sample, given.device, QUICK.shape if given.quick else (128, 160, 160))
    if given.quick:
        rows = [replace(row, limit=None) for row in rows]
    settings = {"quick": given.quick, "device": _name(given.device)}
    write_json(given.json, rows, machine=machine.facts(), settings=settings)
    title = f"{_name(given.device)}, torch {torch.__version__}"
    Console(width=WIDTH).print(render(rows, title=title))
    return int(any(row.passed is False for row in rows))


def _name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return device


if __name__ == "__main__":
    sys.exit(main())
