"""Rows `tiles`: a folder of tiles, beside one tile at a time, the model alone, and its memory."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.measure import in_turns, whole
from benchmarks.memory_growth import growth
from benchmarks.network_calls import recorded, replayed
from benchmarks.samples import Bench, Sized
from benchmarks.stages import refine_tiles
from benchmarks.table import Limit, Row, ratio_row
from parafovea.formats.tiles.npz import write_tile
from parafovea.formats.tiles.reading import read_tile
from parafovea.formats.tiles.results import BAND_FORM, Maker, write_result
from parafovea.formats.tiles.tile import Tile
from parafovea.formats.tiles.tile_folder import list_tiles
from parafovea.inference.execution import Execution
from parafovea.inference.tile_batches import TileModel
from parafovea.inference.window_predictors import choose_computation
from parafovea.models.folder import load_model
from parafovea.runtime.devices import choose_dtype
from parafovea.settings.inference import InferenceSettings

logger = logging.getLogger(__name__)

NAME = "tiles"


class Sizes(NamedTuple):
    """Tiles of each side, in pixels, and counts of tiles of 120 x 120 whose memory is compared."""

    tiles: Mapping[int, int]
    memory: tuple[int, ...]


SIZE = Sized(
    full=Sizes({120: 120, 256: 32}, (100, 1000, 5000)),
    quick=Sizes({120: 16, 256: 4}, (8, 24)),
)

BATCH = 8
CPU = torch.device("cpu")
SETTINGS = InferenceSettings(batch_size=BATCH)


def write_tiles(folder: Path, count: int, *, side: int, distinct: int | None = None) -> Path:
    """Write tiles of smoothed noise, as a first stage leaves them.

    Parameters
    ----------
    folder : Path
        Made.
    count : int
        Tiles.
    side : int
        Their height and width, in pixels.
    distinct : int, optional
        How many differ; the others are links to them.
    """
    random = np.random.default_rng(side)
    noise = random.normal(size=(4, 1024, 1024)).astype(np.float32)
    scene = ndimage.gaussian_filter(noise, (0, 2, 2))
    scene = 0.02 + 0.6 * (scene - scene.min()) / np.ptp(scene)
    distinct = min(count, distinct or count)
    for number in range(count):
        name = f"tile_{number:05d}"
        if number >= distinct:
            for ending in ("npz", "json"):
                first = folder / f"tile_{number % distinct:05d}.{ending}"
                os.link(first, folder / f"{name}.{ending}")
            continue
        y, x = random.integers(0, 1024 - side, 2)
        values = scene[:, y : y + side, x : x + side]
        facts = {"month": 1 + number % 12, "biome_code": number % 16, "tile_id": name}
        write_tile(folder, name, {"opt_v1": values}, facts)
    return folder


def tile_model(folder: Path, *, batch: int) -> TileModel:
    """Return the model, ready as `predict_tiles` has it."""
    spec, network = load_model(folder)
    return TileModel(
        spec,
        network,
        settings=SETTINGS,
        execution=Execution(CPU, batch),
        computation=choose_computation(network, SETTINGS, CPU),
    )


def batches_of(tiles: Sequence[Tile]) -> list[tuple[NDArray[np.float32], dict[str, list[int]]]]:
    """Return the tiles in batches, with their month and biome."""
    parts = [tiles[first : first + BATCH] for first in range(0, len(tiles), BATCH)]
    return [
        (
            np.stack([tile.values for tile in part]),
            {"month": [tile.month for tile in part], "biome": [tile.biome for tile in part]},
        )
        for part in parts
    ]


class Folder:
    """A folder of tiles, and the ways to work through it.

    Parameters
    ----------
    source : Path
        Of the tiles, all of one size.
    model : Path
        Model folder.
    scratch : Path
        Where results go.
    """

    def __init__(self, source: Path, model: Path, scratch: Path) -> None:
        self.source = source
        self.model = model
        self.scratch = scratch
        tiles = [read_tile(file) for file in list_tiles(source)]
        self._batches = batches_of(tiles)
        self._ready = tile_model(model, batch=BATCH)
        self._calls = recorded(self._ready.predictor, self.in_memory)

    def stage(self) -> float:
        """Run the whole job; return its seconds."""
        out = self.scratch / "stage"
        shutil.rmtree(out, ignore_errors=True)
        return whole(lambda: refine_tiles(self.source, self.model, out, SETTINGS))()

    def one_by_one(self) -> float:
        """Read, predict and write one tile after the other; return the seconds."""
        out = self.scratch / "single"
        shutil.rmtree(out, ignore_errors=True)
        return whole(lambda: self._singly(out))()

    def _singly(self, out: Path) -> None:
        model = tile_model(self.model, batch=1)
        maker = Maker(
            kind=model.spec.kind,
            form=BAND_FORM,
            model=str(self.model),
            weights_sha256=model.spec.weights_sha256,
            classes=model.spec.classes,
            settings={},
            device="cpu",
            half=model.predictor.dtype != torch.float32,
        )
        for file in list_tiles(self.source):
            tile = read_tile(file, bands=model.spec.bands)
            known = {"month": [tile.month], "biome": [tile.biome]}
            (values,) = model(tile.values[None], conditions=known)
            fingerprint = maker.fingerprint([tile.sha256])
            write_result(out, tile, values, maker=maker, fingerprint=fingerprint, seconds=0.0)

    def in_memory(self) -> None:
        """Compute features, context and network of tiles in memory."""
        for images, known in self._batches:
            self._ready(images, conditions=known)

    def network_alone(self) -> float:
        """Run the network, as it is prepared, over its inputs in memory; return the seconds."""
        return replayed(self._ready.predictor.engine, self._calls, count=len(self._calls))


def speed_rows(bench: Bench, side: int, count: int) -> list[Row]:
    """Measure tiles of one size."""
    source = write_tiles(bench.scratch / f"{side}", count, side=side)
    folder = Folder(source, bench.tile_model, bench.scratch)
    seconds = in_turns(
        {
            "folder": folder.stage,
            "one by one": folder.one_by_one,
            "in memory": whole(folder.in_memory),
            "network": folder.network_alone,
        },
        repeats=bench.rounds(3),
    )
    precision = str(choose_dtype(SETTINGS.precision, CPU)).removeprefix("torch.")
    size = f"{count} tiles of {side} x {side}"
    rates = {name: count / min(times) for name, times in seconds.items()}
    note = (
        f"{size}, batches of {BATCH}, {precision}, NPZ and JSON in and out; one by one: "
        f"{rates['one by one']:.1f} tiles a second; features, context and network in memory: "
        f"{rates['in memory']:.1f}; the prepared network alone: {rates['network']:.1f}"
    )
    return [
        Row(
            NAME,
            f"predict_tiles, {size}",
            rates["folder"],
            unit="tiles/s",
            seconds={"folder": seconds["folder"]},
            note=note,
        ),
        ratio_row(
            NAME,
            f"time of one tile at a time over predict_tiles, {side} x {side}",
            seconds,
            ("one by one", "folder"),
            note=note,
        ),
        ratio_row(
            NAME,
            f"predict_tiles over features, context and network in memory, {side} x {side}",
            seconds,
            ("folder", "in memory"),
            limit=Limit("at most", 1.3),
            note=note,
        ),
        ratio_row(
            NAME,
            f"predict_tiles over the bare network, {side} x {side}",
            seconds,
            ("folder", "network"),
            note=note,
        ),
    ]


def peak_of(source: Path, model: Path, out: Path) -> int:
    """Return the peak memory of `predict_tiles` in a fresh process, in bytes."""
    command = [sys.executable, "-m", "benchmarks.tile_worker", str(source), str(model), str(out)]
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    shutil.rmtree(out)
    return cast(int, json.loads(finished.stdout)["peak_bytes"])


def memory_row(bench: Bench) -> Row:
    """Measure how the peak memory grows with the number of tiles."""
    peaks = []
    counts = bench.of(SIZE).memory
    for count in counts:
        logger.info("  %d tiles", count)
        source = write_tiles(bench.scratch / f"n{count}", count, side=120, distinct=100)
        peaks.append(peak_of(source, bench.tile_model.resolve(), bench.scratch / "out"))
        shutil.rmtree(source)
    each = ", ".join(
        f"{count:,}: {peak / 2**20:,.0f} MiB" for count, peak in zip(counts, peaks, strict=True)
    )
    return Row(
        NAME,
        f"growth of the peak memory from {counts[0]:,} to {counts[-1]:,} tiles",
        growth((peaks[0], peaks[-1])),
        unit="%",
        limit=Limit("at most", 10),
        note=f"tiles of 120 x 120, batches of {BATCH}, each folder in a process of its own: {each}",
    )


def run(bench: Bench) -> list[Row]:
    """Measure the speed of both sizes, then the memory."""
    rows = [
        row
        for side, count in bench.of(SIZE).tiles.items()
        for row in speed_rows(bench, side, count)
    ]
    return [*rows, memory_row(bench)]
