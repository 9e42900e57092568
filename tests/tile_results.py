"""A finished folder of tiles, made by hand: fields seen through a haze, refined, with truth."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from parafovea.formats.bands import OPTICAL
from parafovea.formats.tiles.ledger import LEDGER_COLUMNS, QUARANTINE_COLUMNS
from parafovea.formats.tiles.npz import write_tile
from parafovea.formats.tiles.reading import OpenedTile
from parafovea.formats.tiles.tile_folder import TileFile

#: Reflectance of water, soil, crop and forest in B02, B03, B04 and B08.
SPECTRA = np.array(
    [
        [0.05, 0.05, 0.03, 0.02],
        [0.09, 0.13, 0.18, 0.28],
        [0.04, 0.08, 0.05, 0.45],
        [0.02, 0.04, 0.03, 0.28],
    ]
)
CLASSES = ("water", "soil", "crop", "forest")

#: How the tiles are measured: options of `measure_tiles` and `render_tiles`.
REFINED = {
    "measures": "parafovea.quality.tiles.refined:RefinedTiles",
    "classes": OPTICAL,
    "bands": OPTICAL,
}
SEGMENTED = {
    "measures": "parafovea.quality.tiles.segmented:SegmentedTiles",
    "classes": CLASSES,
    "bands": OPTICAL,
}


def landscape(rng, shape):
    """Return the classes of a landscape of fields, (y, x) uint8, and its (4, y, x) reflectance."""
    seeds = rng.random((9, 2)) * shape
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    nearest = np.linalg.norm(place[:, :, None] - seeds, axis=-1).argmin(-1)
    classes = rng.integers(0, 4, 9)[nearest].astype(np.uint8)
    texture = 1 + 0.15 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5) / 0.19
    values = SPECTRA[classes].transpose(2, 0, 1) * texture
    return classes, np.clip(ndimage.gaussian_filter(values, (0, 0.5, 0.5)), 0, 1)


def degraded(rng, values):
    """Return an image as a first stage leaves it: blurred, noisy, a little too blue."""
    blurred = ndimage.gaussian_filter(values, (0, 1.2, 1.2)) + rng.normal(0, 0.01, values.shape)
    return np.clip(blurred + np.array([0.03, 0.02, 0.01, 0])[:, None, None], 0, 1)


def source_digest(path: Path) -> str:
    """Return the hash of an input as the ledger states it."""
    sidecar = path.with_suffix(".json")
    with OpenedTile(TileFile(path.stem, path, sidecar if sidecar.exists() else None)) as opened:
        return opened.digest()


@dataclass(frozen=True)
class TileFolder:
    """Where the files lie.

    Parameters
    ----------
    root : Path
        Holds `source`, `truth` and `results` of the sample.
    names : tuple of str
        Of the tiles that are done.
    """

    root: Path
    names: tuple[str, ...]

    @property
    def ledger(self) -> Path:
        return self.root / "results" / "tiles.tsv"

    @property
    def quarantine(self) -> Path:
        return self.root / "results" / "quarantine.tsv"

    @property
    def truth(self) -> Path:
        return self.root / "truth"

    def source_file(self, name: str) -> Path:
        return self.root / "source" / f"{name}.npz"

    def write_source(self, name: str, arrays) -> None:
        """Let the result of a tile be that of another input."""
        before = source_digest(self.source_file(name))
        write_tile(self.root / "source", name, arrays)
        text = self.ledger.read_text(encoding="utf-8")
        after = source_digest(self.source_file(name))
        self.ledger.write_text(text.replace(before, after), encoding="utf-8")

    def result_file(self, name: str) -> Path:
        return self.root / "results" / "tiles" / f"{name}.npz"


def write_folder(
    root: Path,
    *,
    sizes=((48, 48), (36, 52)),
    count=6,
    kind="refinement",
    placed=True,
    flat=True,
    truthless=1,
    seed=0,
) -> TileFolder:
    """Write a finished folder of tiles.

    Every fifth tile states no month; one tile is set aside. `flat` makes the third one of one
    value, `truthless` is how many of the last ones have no truth.
    """
    rng = np.random.default_rng(seed)
    rows = []
    step = 10 * max(max(size) for size in sizes)
    for number in range(count):
        name = f"tile_{number:04d}"
        height, width = sizes[number % len(sizes)]
        classes, clear = landscape(rng, (height, width))
        if flat and number == 2:
            clear[:] = SPECTRA[0][:, None, None]
            hazy = clear + 0.01
        else:
            hazy = degraded(rng, clear)
        share = rng.uniform(0.05, 0.6)
        refined = (1 - share) * clear + share * hazy
        metadata = {"month": 6, "biome_code": 3}
        source = write_tile(root / "source", name, {"opt_v1": hazy.astype(np.float32)}, metadata)
        if kind == "segmentation":
            wrong = rng.random(classes.shape) < share / 3
            found = np.where(wrong, rng.integers(0, 4, classes.shape), classes).astype(np.uint8)
            result, true = {"classes": found}, {"classes": classes}
        else:
            result, true = {"opt_v2": refined.astype(np.float32)}, {"opt_v2": clear}
            true = {"opt_v2": clear.astype(np.float32)}
        output = write_tile(root / "results" / "tiles", name, result, metadata)
        if number < count - truthless:
            write_tile(root / "truth", name, true)
        place = [""] * 4
        if placed:
            column, row = number % 3, number // 3
            place = ["EPSG:32633", 5e5 + step * column, 4.65e6 - step * row, 10.0]
        assumed = "month" if number % 5 == 4 else ""
        digest = source_digest(source)
        rows.append([name, height, width, 6, 3, assumed, *place, source, output, digest])
    _write(root / "results" / "tiles.tsv", LEDGER_COLUMNS, rows)
    aside = [["broken", root / "source" / "broken.npz", "the file is cut off"]]
    _write(root / "results" / "quarantine.tsv", QUARANTINE_COLUMNS, aside)
    return TileFolder(root, tuple(str(row[0]) for row in rows))


def _write(path: Path, columns, rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
