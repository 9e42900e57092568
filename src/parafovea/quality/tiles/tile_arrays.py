"""Arrays of a tile for quality and report: input, result, truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import MissingSourceError, ModelError, SourceError, StoreError, TileError
from parafovea.formats.band_folder import band_folders
from parafovea.formats.bands import OPTICAL
from parafovea.formats.ground import require_same_place
from parafovea.formats.location import holds_bands
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.reflectance import ScaleTally
from parafovea.formats.registry import TILE_SUFFIXES
from parafovea.formats.tiles.ledger import TileEntry
from parafovea.formats.tiles.npz import (
    CLASSES,
    INPUT_KEYS,
    TRUTH_KEYS,
    UNKNOWN,
    Content,
    read_array,
)
from parafovea.formats.tiles.reading import OpenedTile
from parafovea.formats.tiles.results import REFINED, TRUST
from parafovea.formats.tiles.tile_folder import SIDECAR_SUFFIX, TileFile
from parafovea.quality.tiles.mosaic_blocks import require_same_pixels
from parafovea.runtime.optional_packages import extras_named
from parafovea.settings.quantities import Range

if TYPE_CHECKING:
    from parafovea.formats.geo.raster import Raster

Array = np.ndarray[Any, Any]

_PLAIN = TileOptions()


@dataclass(frozen=True)
class TileFiles:
    """Reads the arrays of a sample's tiles, which are separate files or blocks of a mosaic.

    Inputs are read as for the model: its bands, scaled as stated in the sheet.

    Parameters
    ----------
    bands : tuple of str
        Bands of the model's input.
    outputs : tuple of str
        Bands of the results; empty if they are classes.
    options : TileOptions
        Conversion of the source's numbers, from the sheet; also used for a truth with the same
        bands, unless it states its own.
    truth : Path or None
        Folder with the truth of some or all tiles, with the same names; for a mosaic, a GeoTIFF
        on the same pixels.
    """

    bands: tuple[str, ...] = OPTICAL
    outputs: tuple[str, ...] = OPTICAL
    options: TileOptions = _PLAIN
    truth: Path | None = None
    _rasters: dict[tuple[str, str], Raster] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _notes: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    _tallies: dict[str, ScaleTally] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _band_tiles: dict[str, Path] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.truth is not None and not self.truth.exists():
            raise MissingSourceError(
                f"the truth {self.truth} is not a folder: give the folder that holds a tile of "
                "truth for each tile, under the same name, or of a mosaic a GeoTIFF"
            )

    @classmethod
    def of(
        cls,
        bands: Sequence[str],
        outputs: Sequence[str],
        *,
        truth: str | None,
        metadata: str,
        ranges: Mapping[str, Range] | None = None,
    ) -> TileFiles:
        """Return a reader for the tiles of a sample, from its sheet and its model.

        Parameters
        ----------
        bands, outputs : sequence of str
            As for the class.
        truth, metadata
            As in the sheet.
        ranges : mapping, optional
            What 0 and 1 of the model's input are, for bands that are no reflectance.

        Raises
        ------
        ConfigError
            If the metadata is invalid.
        MissingSourceError
            If the truth does not exist.
        """
        return cls(
            bands=tuple(bands),
            outputs=tuple(outputs),
            options=parse_metadata(metadata, folder=Path()).for_input(ranges).tiles,
            truth=None if truth is None else Path(truth),
        )

    @property
    def truth_notes(self) -> Mapping[str, int]:
        """What may be wrong with the truths read so far, with the number of files."""
        found = Counter(self._notes)
        for path, tally in self._tallies.items():
            found.update((*self._rasters["truth", path].notes, *tally.notes()))
        return found

    @property
    def optical(self) -> bool:
        """Whether the input has the bands that all comparisons need."""
        return set(OPTICAL) <= set(self.bands)

    def read_input(self, entry: TileEntry) -> Array:
        """Return the input of a tile, (band, y, x) float, NaN where nothing was measured.

        The bands are B02, B03, B04 and B08 if the model uses them, otherwise all of the model's.

        Raises
        ------
        TileError
            If it can no longer be read, its size differs from the result's, or it is not the tile
            that the result was made from.
        """
        bands = OPTICAL if self.optical else self.bands
        if entry.corner is not None:
            raster = self._raster(entry.source, "source", bands, self.options)
            return _window(raster, entry)
        file = _with_sidecar(entry.name, entry.source)
        # bands of an NPZ file are identified by position, so that all of them must be named
        with OpenedTile(file) as opened:
            key = opened.key(INPUT_KEYS, self.options)
            tile = opened.read(bands=self.bands, key=key, options=self.options)
        if entry.source_sha256 and entry.source_sha256 != tile.sha256:
            raise TileError(
                f"{entry.source} is not the tile that was predicted (its content has the hash "
                f"{tile.sha256[:12]}, not {entry.source_sha256[:12]}): it was replaced while the "
                "workflow ran, so run again"
            )
        values = tile.values[[self.bands.index(band) for band in bands]]
        return _checked(_known(values, tile.valid), entry, entry.source)

    def read_refined(self, entry: TileEntry) -> Array:
        """Return a refined tile, (band, y, x) float in [0, 1].

        Raises
        ------
        ModelError
            If the model's output lacks bands that all comparisons need.
        StoreError
            If it is missing or damaged.
        """
        missing = [band for band in OPTICAL if band not in self.outputs]
        if missing:
            raise ModelError(
                f"the model outputs {', '.join(self.outputs)}, without {', '.join(missing)}: "
                "refined tiles are measured and drawn in B02, B03, B04 and B08 only"
            )
        if entry.corner is not None:
            with _result(entry, "export_mosaic"):
                return _window(self._raster(entry.output, "result", OPTICAL, _PLAIN), entry)
        with _result(entry, "predict_tiles"):
            stored = read_array(entry.output, REFINED)
            values = _checked(stored, entry, entry.output, bands=len(self.outputs))
        return values[[self.outputs.index(band) for band in OPTICAL]]

    def read_trust(self, entry: TileEntry) -> Array | None:
        """Return the trust in a refined tile, (y, x) float; None where its model tells none.

        A mosaic has none.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        if entry.corner is not None:
            return None
        with _result(entry, "predict_tiles"), closing(Content(entry.output)) as content:
            if content.key((TRUST, REFINED)) != TRUST:
                return None
            values = _checked(content.array(TRUST), entry, entry.output, bands=None)
        return values.astype(np.float32)

    def read_classes(self, entry: TileEntry) -> Array:
        """Return a segmented tile, (y, x) class indices.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        with _result(entry, "predict_tiles"):
            return _read_classes(entry.output, entry)

    def read_optical_truth(self, entry: TileEntry) -> Array | None:
        """Return the true reflectance of a tile, (band, y, x) float, NaN where unknown.

        Returns
        -------
        ndarray or None
            None if the file does not exist.

        Raises
        ------
        TileError
            If the file of a tile cannot be read, has other pixels than the tile, or is at another
            position; the tile then has no truth.
        SourceError
            If the truth as a whole does not fit.
        """
        if self.truth is None:
            return None
        said = self.options.of_truth(OPTICAL, source=self.bands)
        if entry.corner is not None:
            raster = self._true_raster(entry, said)
            tally = self._tallies.setdefault(raster.path, raster.tally())
            return _window(raster, entry, tally)
        path = self._true_file(entry)
        if path is None:
            return None
        keys = TRUTH_KEYS if said.key is None else (said.key, *TRUTH_KEYS)
        said = said.model_copy(update={"key": None})
        with OpenedTile(_with_sidecar(entry.name, path)) as opened:
            key = opened.key(keys, said)
            _check_place(opened, key, entry)
            tile = opened.read(bands=OPTICAL, key=key, options=said, truth=True)
        self._notes.update(tile.notes)
        return _checked(_known(tile.values, tile.valid), entry, path)

    def read_class_truth(self, entry: TileEntry) -> Array | None:
        """Return the true classes of a tile, (y, x) integers; None if the file does not exist.

        Raises
        ------
        TileError
            If it cannot be read, contains other values than integers, has another size than the
            tile, or is at another position.
        """
        path = self._true_file(entry)
        if path is None:
            return None
        with OpenedTile(_with_sidecar(entry.name, path)) as opened:
            _check_place(opened, CLASSES, entry)
        values = _read_classes(path, entry)
        if values.dtype.kind not in "ui":
            raise TileError(
                f"the true classes of tile {entry.name!r} are {values.dtype}, not integers: write "
                "class indices from 0, and 255 where the class is not known"
            )
        return values

    def _true_file(self, entry: TileEntry) -> Path | None:
        if self.truth is None:
            return None
        if not self.truth.is_dir():
            raise SourceError(
                f"the truth {self.truth} is a file, but {entry.name!r} is a tile of its own: give "
                "the folder that holds a tile of truth for each tile, under the same name"
            )
        paths = (self.truth / f"{entry.name}{ending}" for ending in TILE_SUFFIXES)
        found = next((path for path in paths if path.is_file()), None)
        if found is None and not self._band_tiles:
            self._band_tiles.update(dict(band_folders(self.truth)))
        return self._band_tiles.get(entry.name) if found is None else found

    def _true_raster(self, entry: TileEntry, options: TileOptions) -> Raster:
        if self.truth is None or not (self.truth.is_file() or holds_bands(str(self.truth))):
            raise SourceError(
                f"the truth {self.truth} is a folder, but the source is a mosaic: give a GeoTIFF "
                "of the same pixels"
            )
        raster = self._raster(self.truth, "truth", OPTICAL, options)
        require_same_pixels(raster, self._raster(entry.output, "result", OPTICAL, _PLAIN))
        return raster

    def _raster(self, path: Path, what: str, bands: Sequence[str], options: TileOptions) -> Raster:
        """Return an open raster, cached per kind and path."""
        key = (what, str(path))
        if key not in self._rasters:
            truth = what == "truth"
            # tiles in NPZ files do without the library
            with extras_named():
                from parafovea.formats.geo.raster import open_raster

            self._rasters[key] = open_raster(str(path), bands=bands, options=options, truth=truth)
        return self._rasters[key]


def read_truth(
    read: Callable[[TileEntry], Array | None], entry: TileEntry
) -> tuple[Array | None, str]:
    """Return the truth of a tile, and the reason if it cannot be used, so that others continue.

    Parameters
    ----------
    read : callable
        `TileFiles.read_optical_truth` or `read_class_truth`.
    entry : TileEntry
        The tile.

    Raises
    ------
    SourceError
        If the truth as a whole does not fit, or it is that of a mosaic.
    """
    try:
        return read(entry), ""
    except TileError as error:
        if entry.corner is not None:
            raise
        return None, " ".join(str(error).split())


def _window(raster: Raster, entry: TileEntry, tally: ScaleTally | None = None) -> Array:
    _, height, width = raster.shape
    rows, columns = entry.window
    if rows.stop > height or columns.stop > width:
        raise TileError(
            f"{raster.path} has {height} × {width} pixels, and block {entry.name!r} does not lie "
            "within: put back the file that was predicted, or run the sample again"
        )
    found, valid = raster.read_counted(rows, columns, tally)
    return _known(found.values, valid)


def _known(values: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> Array:
    """Return values with NaN where nothing was measured."""
    return values if valid is None else np.where(valid, values, np.float32(np.nan))


def _with_sidecar(name: str, path: Path) -> TileFile:
    sidecar = path.with_suffix(SIDECAR_SUFFIX)
    if path.is_dir():  # of bands, perhaps in a folder of its place
        inside = path.name == name
        folder = path.parent if inside else path.parent.parent
        sidecar = folder / f"{name}{SIDECAR_SUFFIX}"
    return TileFile(name, path, sidecar if sidecar.is_file() else None)


def _check_place(opened: OpenedTile, key: str, entry: TileEntry) -> None:
    """Raise `TileError` if a truth states another position than its tile."""
    stated = None if entry.position is None else opened.place(key)
    if stated is None or entry.position is None:
        return
    require_same_place(stated[0], entry.position, str(opened.file.path), f"tile {entry.name!r}")


def _read_classes(path: Path, entry: TileEntry) -> Array:
    """Return class indices (y, x), with `UNKNOWN` where the file states no measurement."""
    with closing(Content(path)) as content:
        values, mask = content.array(CLASSES), content.mask(CLASSES)
    classes = _checked(values, entry, path, bands=None)
    return classes if mask is None else np.where(mask, classes, np.int64(UNKNOWN))


@contextmanager
def _result(entry: TileEntry, stage: str) -> Iterator[None]:
    """Convert errors in a result to `StoreError`."""
    try:
        yield
    except SourceError as error:
        raise StoreError(f"{error}; delete {entry.output} and run {stage} again") from error


def _checked(values: Array, entry: TileEntry, path: Path, *, bands: int | None = -1) -> Array:
    """Return an array after checking its size and number of bands; -1 accepts any number."""
    size = (entry.height, entry.width)
    count = len(values) if bands == -1 else bands
    wanted = size if count is None else (count, *size)
    if values.shape != wanted:
        raise TileError(
            f"{path} is {_shape(values.shape)}, but tile {entry.name!r} is {_shape(wanted)}: give "
            "tiles of the same place, size and bands"
        )
    return values


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"
