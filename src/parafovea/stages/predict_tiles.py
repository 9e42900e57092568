"""Stage predict_tiles: predicts a folder of tiles, prefetched, in batches, written one by one."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ScoreError, SourceError, describe
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.tiles.ledger import Row, finished_row, quarantined_row, write_share
from parafovea.formats.tiles.results import BAND_FORM, CLASS_FORM, Maker, write_result
from parafovea.formats.tiles.tile_folder import (
    TileFile,
    left_out_mosaics,
    list_tiles,
    unmatched_sidecars,
)
from parafovea.inference.execution import Execution
from parafovea.inference.memory import run_within_memory
from parafovea.inference.prefetch import BackgroundThread, Batcher, prefetched
from parafovea.inference.tile_batches import TileModel
from parafovea.inference.tile_inputs import TileInput, TileReader
from parafovea.inference.window_predictors import choose_computation
from parafovea.models.loading import load_network
from parafovea.runtime.devices import choose_device
from parafovea.runtime.kept_objects import kept
from parafovea.runtime.progress import tracked
from parafovea.runtime.threads import threads_for
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.blocks import BATCHES_AHEAD, BATCHES_WAITING
from parafovea.storage.layout import SampleResults

logger = logging.getLogger(__name__)

#: Maximum size in bytes of prefetched tile files, and of waiting ones.
HELD = 2**28

#: Maximum number of names in a message.
SHOWN = 5

#: Maximum pixels per batch, unless one tile has more: eight tiles of 724 x 724.
BATCH_PIXELS = 2**22


#: Pixels of a batch that are worth a thread. On two busy cores, two threads took 1.3 times as
#: long as one for eight tiles of 120 x 120, the same time at 256 x 256, and 0.9 at 512 x 512.
THREAD_PIXELS = 2**18


@dataclass
class TileCounts:
    """Counts of processed tiles, and processing times.

    Parameters
    ----------
    predicted : int
        Number of tiles that were predicted and written.
    finished : int
        Number of tiles that already had a result.
    quarantined : int
        Number of invalid tiles.
    seconds : float
        Time from the first file to the last.
    model_seconds : float
        Part of this time in features, context and network.
    fallbacks : list of str
        One sentence for each case of insufficient memory, with the action taken.
    cpu_fallbacks : int
        Number of times the CPU was used because a device had too little memory.
    """

    predicted: int = 0
    finished: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    fallbacks: list[str] = field(default_factory=list)
    cpu_fallbacks: int = 0

    @property
    def tiles_per_second(self) -> float:
        """Predicted tiles per second of the whole job, including files; 0 if there are none."""
        return self.predicted / self.seconds if self.seconds else 0.0


def predict_tiles(
    ledger: Path,
    *,
    source: str,
    model: str,
    metadata: str = "",
    settings: InferenceSettings | Mapping[str, Any],
    shard: int,
    overwrite: bool = False,
    code: str = "",
) -> TileCounts:
    """Predict the tiles of a folder that are not finished.

    Tiles of the same size share batches. A tile that cannot be read, does not fit the model, or
    whose scores are not finite, is listed with the reason and gets no result, and the others
    continue.

    Parameters
    ----------
    ledger : Path
        Table to write at the end, `shards/NUMBER.tsv` of the sample's folder: a row for each tile,
        with its `status`, finished or quarantined. `NAME.npz` and `NAME.json` of each result are
        written to `tiles` in that folder, each atomically.
    source : str
        Folder of tiles.
    model : str
        Model folder.
    metadata : str
        The sheet's `metadata` of the sample, which describes how to read the files.
    settings : mapping
        Fields of `InferenceSettings`: batch, precision, windows, blending; `shards` is the number
        of shards, one if it is "auto".
    shard : int
        Index of the shard of tiles, from 1.
    overwrite : bool
        Also predict finished tiles: those whose result is complete and was made by this model with
        these settings from the same input.
    code : str
        Fingerprint of the code; results made by other code are not finished.

    Returns
    -------
    TileCounts
        Counts for this shard.

    Raises
    ------
    ModelError
        If the model folder is invalid, or the model does not process tiles.
    SourceError
        If the folder holds no tiles, two with the same name, or is that of the results.
    """
    started = time.perf_counter()
    folder = SampleResults(ledger.parent.parent).tiles
    files = list_tiles(Path(source))
    if Path(source).resolve() == folder.resolve():
        raise SourceError(
            f"{source} is the folder of the results, which would be written over its tiles: choose "
            "another folder for the results"
        )
    chosen = InferenceSettings.model_validate(settings)
    shards = 1 if chosen.shards == "auto" else chosen.shards
    mine = files[len(files) * (shard - 1) // shards : len(files) * shard // shards]
    if shard == 1:
        _warn_of_unmatched(Path(source))
    run = _Run(
        files,
        Path(model),
        folder,
        metadata=parse_metadata(metadata, folder=Path()),
        settings=chosen,
        overwrite=overwrite,
        code=code,
    )
    write_share(ledger, run.rows(mine))
    counts = run.counts
    counts.seconds = time.perf_counter() - started
    _log(counts)
    return counts


class _Run:
    """Model and tiles of one job."""

    def __init__(
        self,
        files: Sequence[TileFile],
        model: Path,
        folder: Path,
        *,
        metadata: SourceMetadata,
        settings: InferenceSettings,
        overwrite: bool,
        code: str,
    ) -> None:
        self.counts = TileCounts()
        self._spec, self._network = kept("model", model, lambda: load_network(model))
        self._folder = folder
        self._settings = settings
        device = choose_device()
        self._computation = choose_computation(self._network, settings, device)
        self._dtype = self._computation.dtype
        self._execution = Execution(device, settings.batch_size)
        self._model = self._on(self._execution)
        self._maker = Maker(
            kind=self._spec.kind,
            # with a softmax output, a pixel belongs to exactly one class
            form=CLASS_FORM if self._spec.yields_classes else BAND_FORM,
            model=str(model),
            weights_sha256=self._spec.weights_sha256,
            classes=self._spec.classes,
            settings={
                **_recorded(settings, self._spec, str(self._dtype), self._computation.engine),
                "backbones": [
                    hashlib.sha256(each.encode()).hexdigest() for each in self._model.backbones
                ],
                "code": code,
            },
            device=str(device),
            half=self._dtype.itemsize < 4,
        )
        self._read = TileReader(
            files,
            spec=self._spec,
            metadata=metadata,
            margin=self._model.margin,
            maker=self._maker,
            results=folder,
            overwrite=overwrite,
        )
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
            computation=self._computation,
        )

    def rows(self, files: Sequence[TileFile]) -> list[Row]:
        """Predict tiles, write their results, and return the row of each."""
        size = self._settings.batch_size
        held = max(1, HELD // max([1, *map(_bytes, files)]))
        batcher: Batcher[TileInput] = Batcher(size, most=min(BATCHES_WAITING * size, held))
        reads = prefetched(
            files, self._read, ahead=max(2, min(BATCHES_AHEAD * size, held)), threads=2
        )
        found: dict[str, Row] = {}
        with BackgroundThread("writer") as writer:
            for read in tracked(reads, len(files), "tiles"):
                if read.tile is None:
                    found[read.file.name] = self._quarantined(read.file, read.reason)
                    continue
                row = finished_row(read.tile, self._folder, fingerprint=read.fingerprint)
                found[read.file.name] = row
                if read.finished:
                    self.counts.finished += 1
                    continue
                shape = read.tile.values.shape
                # The surroundings of a tile must not depend on its batch.
                kind = (shape, read.canvas is None)
                fit = max(1, min(size, BATCH_PIXELS // math.prod(shape[1:])))
                found |= self._predict(batcher.add(kind, read, size=fit), writer)
            for batch in batcher.rest():
                found |= self._predict(batch, writer)
        return list(found.values())

    def _quarantined(self, file: TileFile, reason: str) -> Row:
        self.counts.quarantined += 1
        _remove(self._folder, file.name)
        return quarantined_row(file.name, file.path, reason)

    def _predict(self, batch: list[TileInput], writer: BackgroundThread) -> dict[str, Row]:
        """Predict a batch; return the rows of tiles whose scores are not finite, by name."""
        if not batch:
            return {}
        try:
            self._predict_together(batch, writer)
        except ScoreError as error:
            if len(batch) > 1:
                failed = [self._predict([read], writer) for read in batch]
                return {name: row for rows in failed for name, row in rows.items()}
            file = batch[0].file
            reason = f"{file.path} cannot be predicted: {describe(error)}"
            return {file.name: self._quarantined(file, reason)}
        return {}

    def _predict_together(self, batch: list[TileInput], writer: BackgroundThread) -> None:
        started = time.perf_counter()
        tiles = [read.tile for read in batch if read.tile is not None]
        canvases = [read.canvas for read in batch if read.canvas is not None]
        images = np.stack([tile.values for tile in tiles])
        with threads_for(math.prod(images[:, 0].shape) / THREAD_PIXELS):
            results = self._results(
                images,
                {"month": [t.month for t in tiles], "biome": [t.biome for t in tiles]},
                np.stack(canvases) if canvases else None,
            )
        seconds = time.perf_counter() - started
        self.counts.model_seconds += seconds
        self.counts.predicted += len(batch)
        maker = replace(self._maker, device=str(self._execution.device))

        def write() -> None:
            classes = len(self._spec.classes)
            for read, tile, found in zip(batch, tiles, results, strict=True):
                values, trust = found[:classes], found[classes:]
                write_result(
                    self._folder,
                    tile,
                    values,
                    maker=maker,
                    fingerprint=read.fingerprint,
                    seconds=seconds / len(batch),
                    neighbours=read.neighbours,
                    trust=trust[0] if self._spec.corrects else None,
                )

        writer.submit(write)

    def _results(
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
            found.clear()
            for first in range(0, len(images), execution.batch_size):
                part = slice(first, first + execution.batch_size)
                result = self._model(
                    images[part],
                    conditions={name: known[part] for name, known in conditions.items()},
                    surroundings=None if canvases is None else canvases[part],
                )
                found.append(result)

        before = self._execution
        run_within_memory(compute, before)
        self.counts.fallbacks += self._execution.fallbacks[len(before.fallbacks) :]
        self.counts.cpu_fallbacks += self._execution.device != before.device
        return found[0] if len(found) == 1 else np.concatenate(found)


def _warn_of_unmatched(folder: Path) -> None:
    """Log JSON files that belong to no tile, since their month or position has no effect.

    VRT files that are mosaics of the tiles are logged as well.
    """
    mosaics = left_out_mosaics(folder)
    if mosaics:
        logger.warning(
            "%d VRT files of %s are left out, %s: beside other tiles, a VRT is a mosaic of them",
            len(mosaics),
            folder,
            ", ".join(mosaics[:SHOWN]),
        )
    names = unmatched_sidecars(folder)
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        logger.warning(
            "%d JSON files of %s belong to no tile, %s%s: give them the names of their tiles, or "
            "remove them",
            len(names),
            folder,
            ", ".join(names[:SHOWN]),
            more,
        )


def _log(counts: TileCounts) -> None:
    """Log the counts of processed tiles."""
    done = counts.predicted + counts.finished
    logger.info(
        "%d tiles in, %d out, %d quarantined; %d were finished before",
        done + counts.quarantined,
        done,
        counts.quarantined,
        counts.finished,
    )
    if counts.predicted:
        logger.info(
            "%.1f tiles a second, %.1f in the model alone",
            counts.tiles_per_second,
            counts.predicted / counts.model_seconds,
        )
    logger.info("CPU fallback: %d", counts.cpu_fallbacks)


def _bytes(file: TileFile) -> int:
    """Return the size of a tile's file; 0 if it is unknown, which is reported on reading."""
    try:
        return file.path.stat().st_size
    except OSError:
        return 0


def _recorded(
    settings: InferenceSettings, spec: ModelSpec, dtype: str, engine: str
) -> dict[str, Any]:
    """Return the settings that affect the results of tiles."""
    never = {"shards", "windows_per_shard", "output_scale", "batch_size", "skip_empty", "engine"}
    chosen = settings.model_dump(mode="json", exclude={*never, "precision", "tta"})
    return {**chosen, "precision": dtype.removeprefix("torch."), "engine": engine} | {
        "bands": list(spec.bands)
    }


def _remove(folder: Path, name: str) -> None:
    """Remove the result of a tile that has become invalid since an earlier run."""
    for ending in ("npz", "json"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
