"""Stage predict_tiles: a folder of tiles, read ahead, predicted in batches, written one by one."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.devices import choose_device, choose_dtype
from parafovea.errors import TileError
from parafovea.inference.ahead import Buckets, read_ahead
from parafovea.inference.engines import choose_engine
from parafovea.inference.memory import Execution, run_within_memory
from parafovea.inference.settings import InferenceSettings
from parafovea.inference.surroundings import Place, Surroundings
from parafovea.inference.tiles import TileModel
from parafovea.models.folder import load_model
from parafovea.models.spec import ModelSpec
from parafovea.progress import tracked
from parafovea.readers.metadata import parse_metadata
from parafovea.readers.tiles import (
    TileFile,
    TileOptions,
    list_tiles,
    read_tile,
    tile_digest,
    tile_place,
)
from parafovea.readers.tiles.keys import INPUT_KEYS, chosen_key
from parafovea.store import replacing
from parafovea.tiles import Tile
from parafovea.writers.tile_results import Maker, is_finished, write_result

logger = logging.getLogger(__name__)

#: Batches that are read before they are needed, and that may wait for others of their size.
AHEAD = 2
WAITING = 6

#: Tiles that are kept in memory for those beside them.
KEPT = 64

COLUMNS = (
    "name",
    "status",
    "reason",
    "height",
    "width",
    "month",
    "biome",
    "assumed",
    "crs",
    "x",
    "y",
    "pixel_size",
    "input",
    "output",
    "input_sha256",
    "fingerprint",
    "clipped",
)


@dataclass
class _Read:
    """A tile that was read, or why there is nothing to do with it."""

    file: TileFile
    tile: Tile | None = None
    reason: str = ""
    fingerprint: str = ""
    finished: bool = False
    canvas: NDArray[np.float32] | None = None
    neighbours: tuple[str, ...] = ()


@dataclass
class _Counts:
    """What became of the tiles, and how long it took."""

    done: int = 0
    finished: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    fallbacks: list[str] = field(default_factory=list)


def predict_tiles(
    source: Path,
    model: Path,
    folder: Path,
    ledger: Path,
    *,
    metadata: str = "",
    settings: InferenceSettings,
    shard: int = 1,
    shards: int = 1,
    overwrite: bool = False,
    code: str = "",
) -> None:
    """Predict the tiles of a folder that are not finished yet.

    Tiles of one size share batches. A tile that cannot be read, or has no place in the model, is
    noted with its reason, and the others go on. Nothing is written for it.

    Parameters
    ----------
    source : Path
        Folder of tiles.
    model : Path
        Model folder.
    folder : Path
        Where `NAME.npz` and `NAME.json` of each result go, each whole.
    ledger : Path
        Table to write when all is done: a row a tile, with its `status`, finished or quarantined.
    metadata : str
        The sheet's `metadata` of the sample: what is to be known of the files.
    settings : InferenceSettings
        Batch, precision, windows and blending.
    shard, shards : int
        Which share of the tiles, counted from 1, and of how many.
    overwrite : bool
        Predict tiles anew that are finished: whole, by this model and these settings, from the
        same input.
    code : str
        Fingerprint of the code that predicts: tiles of other code are not finished.

    Raises
    ------
    ModelError
        If the model folder is wrong, or takes no tiles.
    SourceError
        If the folder holds no tiles, or two of one name.
    """
    files = list_tiles(source)
    mine = files[len(files) * (shard - 1) // shards : len(files) * shard // shards]
    options = parse_metadata(metadata, folder=Path()).tiles
    run = _Run(files, model, folder, options=options, settings=settings, code=code)
    rows = sorted(run.rows(mine, overwrite=overwrite), key=lambda row: str(row["name"]))
    with replacing(ledger) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    run.tell()


class _Run:
    """One job's model and tiles."""

    def __init__(
        self,
        files: Sequence[TileFile],
        model: Path,
        folder: Path,
        *,
        options: TileOptions,
        settings: InferenceSettings,
        code: str,
    ) -> None:
        self._spec, self._network = load_model(model)
        self._folder = folder
        self._options = options
        self._settings = settings
        device = choose_device()
        self._dtype = choose_dtype(settings.precision, device)
        self._engine = choose_engine(settings.engine, device, compiled=settings.compile)
        self._execution = Execution(device, settings.batch_size)
        self._model = self._on(self._execution)
        self._maker = Maker(
            kind=self._spec.kind,
            model=str(model),
            weights_sha256=self._spec.weights_sha256,
            classes=self._spec.classes,
            settings={
                **_recorded(settings, self._spec, str(self._dtype), self._engine),
                "code": code,
            },
            device=str(device),
            half=self._dtype.itemsize < 4,
        )
        self._counts = _Counts()
        self._files = {file.name: file for file in files}
        self._values = lru_cache(KEPT)(self._read_values)
        self._digest = lru_cache(None)(self._read_digest)
        self._around = Surroundings(self._places(), self._values, margin=self._model.margin)
        logger.info(
            "%d tiles; %s on %s, %s, batches of %d",
            len(files),
            self._spec.name,
            device,
            str(self._dtype).removeprefix("torch."),
            settings.batch_size,
        )

    def _on(self, execution: Execution) -> TileModel:
        return TileModel(
            self._spec,
            self._network,
            settings=self._settings,
            execution=execution,
            dtype=self._dtype,
            engine=self._engine,
        )

    # ---- reading, in threads

    def _places(self) -> dict[str, Place]:
        """Return where tiles are, if anything is to be seen around them; faults come up later."""
        found: dict[str, Place] = {}
        if not self._model.margin:
            return found
        for file in self._files.values():
            try:
                place = tile_place(file, self._key(file))
            except TileError:
                continue
            if place is not None:
                found[file.name] = Place(*place)
        return found

    def _key(self, file: TileFile) -> str:
        return chosen_key(file, INPUT_KEYS, self._options)

    def _read_tile(self, file: TileFile) -> Tile:
        return read_tile(file, bands=self._spec.bands, key=self._key(file), options=self._options)

    def _read_values(self, name: str) -> NDArray[np.float32] | None:
        try:
            return self._read_tile(self._files[name]).values
        except TileError:
            return None

    def _read_digest(self, name: str) -> str:
        try:
            return tile_digest(self._files[name])
        except TileError:
            return ""

    def _read(self, file: TileFile, overwrite: bool) -> _Read:
        read = _Read(file)
        try:
            read.neighbours = self._around.neighbours(file.name)
            digests = [tile_digest(file), *map(self._digest, read.neighbours)]
            read.fingerprint = self._maker.fingerprint(digests)
            read.finished = not overwrite and is_finished(self._folder, file.name, read.fingerprint)
            read.tile = self._read_tile(file)
            self._check_pixels(read.tile)
            if self._model.margin and not read.finished:
                read.canvas = self._around.canvas(file.name, read.tile.values)
        except TileError as error:
            read.reason, read.tile, read.finished = str(error), None, False
        return read

    def _check_pixels(self, tile: Tile) -> None:
        """Raise `TileError` where pixels are not those that the model was trained on."""
        position, (_, y, _) = tile.position, self._spec.spacing
        # Degrees say nothing without a latitude: tiles of such a system are taken as they are.
        metric = position is not None and position.pixel_size > 0.1
        if position is not None and metric and abs(position.pixel_size - y) > 0.01 * y:
            raise TileError(
                f"{tile.path} has pixels of {position.pixel_size:g} m, but the model "
                f"{self._spec.name} takes {y:g} m: resample the tile, or use a model of its pixels"
            )

    # ---- predicting

    def rows(self, files: Sequence[TileFile], *, overwrite: bool) -> Iterator[dict[str, Any]]:
        """Yield the row of each tile, once its result is written."""
        size = self._settings.batch_size
        buckets: Buckets[_Read] = Buckets(size, most=WAITING * size)
        reads = read_ahead(
            files, lambda file: self._read(file, overwrite), ahead=AHEAD * size, threads=2
        )
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
            written: list[Future[None]] = []
            for read in tracked(reads, len(files), "tiles"):
                if read.tile is None:
                    self._counts.quarantined += 1
                    _remove(self._folder, read.file.name)
                    yield _row(read, self._folder)
                    continue
                if read.finished:
                    self._counts.finished += 1
                    yield _row(read, self._folder)
                    continue
                yield from self._batch(buckets.add(read.tile.values.shape, read), writer, written)
            for batch in buckets.rest():
                yield from self._batch(batch, writer, written)
            for future in written:
                future.result()

    def _batch(
        self, batch: list[_Read], writer: ThreadPoolExecutor, written: list[Future[None]]
    ) -> Iterator[dict[str, Any]]:
        if not batch:
            return
        started = time.perf_counter()
        tiles = [read.tile for read in batch if read.tile is not None]
        canvases = [read.canvas for read in batch if read.canvas is not None]
        results = self._predicted(
            np.stack([tile.values for tile in tiles]),
            {"month": [t.month for t in tiles], "biome": [t.biome for t in tiles]},
            np.stack(canvases) if canvases else None,
        )
        seconds = time.perf_counter() - started
        self._counts.seconds += seconds
        self._counts.done += len(batch)
        rows = [_row(read, self._folder) for read in batch]
        # No more than one batch waits for the disk.
        for future in written:
            future.result()
        written[:] = [writer.submit(self._write, batch, results, seconds / len(batch))]
        yield from rows

    def _predicted(
        self,
        images: NDArray[np.float32],
        conditions: Mapping[str, Sequence[int]],
        canvases: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        found: list[NDArray[np.float32]] = []

        def compute(execution: Execution) -> None:
            if execution != self._execution:
                self._execution = execution
                self._model = self._on(execution)
            found[:] = [self._model(images, conditions=conditions, surroundings=canvases)]

        before = self._execution.fallbacks
        run_within_memory(compute, self._execution)
        self._counts.fallbacks += self._execution.fallbacks[len(before) :]
        return found[0]

    def _write(self, batch: list[_Read], results: NDArray[np.float32], seconds: float) -> None:
        for read, values in zip(batch, results, strict=True):
            if read.tile is None:
                raise AssertionError("a tile that was read")
            write_result(
                self._folder,
                read.tile,
                values,
                maker=self._maker,
                fingerprint=read.fingerprint,
                seconds=seconds,
                neighbours=read.neighbours,
            )
            read.tile = read.canvas = None

    def tell(self) -> None:
        """Log what became of the tiles."""
        counts = self._counts
        total = counts.done + counts.finished + counts.quarantined
        logger.info(
            "%d tiles in, %d out, %d quarantined; %d were finished before",
            total,
            counts.done + counts.finished,
            counts.quarantined,
            counts.finished,
        )
        if counts.seconds:
            logger.info("%.1f tiles a second in the model", counts.done / counts.seconds)
        logger.info("CPU fallback: %d", sum("CPU" in text for text in counts.fallbacks))


def _recorded(
    settings: InferenceSettings, spec: ModelSpec, dtype: str, engine: str
) -> dict[str, Any]:
    """Return the settings that change the results of tiles."""
    never = {"shards", "windows_per_shard", "output_scale", "batch_size", "skip_empty", "engine"}
    chosen = settings.model_dump(mode="json", exclude={*never, "precision", "tta"})
    return {**chosen, "precision": dtype.removeprefix("torch."), "engine": engine} | {
        "bands": list(spec.bands)
    }


def _row(read: _Read, folder: Path) -> dict[str, Any]:
    file, tile = read.file, read.tile
    if tile is None:
        reason = " ".join(read.reason.split())
        return {
            "name": file.name,
            "status": "quarantined",
            "reason": reason,
            "input": str(file.path),
        }
    at = tile.position
    place = {} if at is None else {"crs": at.crs, "x": at.x, "y": at.y, "pixel_size": at.pixel_size}
    return {
        "name": file.name,
        "status": "finished",
        "height": tile.values.shape[1],
        "width": tile.values.shape[2],
        "month": tile.month,
        "biome": tile.biome,
        "assumed": "+".join(tile.assumed),
        **place,
        "input": str(file.path),
        "output": str(folder / f"{file.name}.npz"),
        "input_sha256": tile.sha256,
        "fingerprint": read.fingerprint,
        "clipped": tile.clipped,
    }


def _remove(folder: Path, name: str) -> None:
    """Remove the result that an earlier run made of a tile that is no good now."""
    for ending in ("npz", "json"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
