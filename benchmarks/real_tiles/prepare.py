"""Writes real images as folders of tiles, with what a poor first stage would have made of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_tiles.places import cut, examples, flood, quarters
from benchmarks.real_tiles.series import HAZY, Date, read_series, series_file, split
from parafovea.formats.tiles.npz import write_tile
from parafovea_phantoms.landscapes.degradation import REACH, Acquisition

logger = logging.getLogger("benchmarks")

#: Side of a pixel, in metres.
PIXEL = 10.0

#: A date to learn from is seen by the first stage of each month, so that the network cannot take
#: the month for the state of the fields; a date that is scored, by that of its own.
MONTHS = range(1, 13)

#: Seeds: of a date, its number in the calendar times this and the month; of examples, from here on.
PER_DATE, OTHERS, QUARTERS, FLOOD_PARTS = 100, 1000, 1100, 1200

#: Every so many of the clouded dates is refined, too.
CLOUDED_STEP = 3

#: Pixels along y and x of the parts into which the flood is cut.
FLOOD_PART = (128, 120)

#: Temperate broadleaf forest, where the series and the examples are; Mediterranean, the flood.
TEMPERATE, MEDITERRANEAN = 4, 12

#: The examples do not say their date; the flood is taken as that of September 2019.
EXAMPLES_MONTH, FLOOD_MONTH = 6, 9

Image = NDArray[np.float64]


def degraded(image: Image, *, seed: int, month: int, biome: int) -> NDArray[np.float32]:
    """Return what the phantoms' first stage makes of a real image.

    Parameters
    ----------
    image : ndarray
        (band, y, x) reflectance; mirrored at its borders, where the blur looks beyond.
    seed : int
        Of blur, shadow, stripes and noise.
    month, biome : int
        Of the spectral shift.
    """
    rows, columns = (np.arange(n, dtype=np.int64) for n in image.shape[1:])
    y, x = (PIXEL * (places + 0.5) for places in (rows, columns))
    around = np.pad(image, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="symmetric")
    acquisition = Acquisition.of(seed, month=month, biome=biome)
    return acquisition.degraded(around, rows, columns, y, x).astype(np.float32)


def prepare(root: Path, data: Path) -> None:
    """Write all folders of tiles anew, below one folder.

    Parameters
    ----------
    root : Path
        Folder of the real data.
    data : Path
        Where to write: `train`, `watch`, `test`, `places`, `flood_poor`, with the true images in
        folders that end in `_truth`; `clouded`, `quarters` and `flood_parts`, of which only the
        worst tiles count; `flood` and `flood_classes`.

    Raises
    ------
    SourceError
        If data are missing or damaged.
    """
    dates, dropped = read_series(series_file(root))
    if data.exists():
        shutil.rmtree(data)
    uses = split(dates)
    for date in dates:
        learned = uses[date.name] != "test"
        _write_date(data / uses[date.name], date, MONTHS if learned else (date.taken.month,))
    reasons = ", ".join(f"{len(each)} of {reason}" for reason, each in sorted(dropped.items()))
    counts = {use: list(uses.values()).count(use) for use in ("train", "watch", "test")}
    logger.info("%d dates; left out %s", len(dates) + sum(map(len, dropped.values())), reasons)
    logger.info("dates by use: %s", ", ".join(f"{count} {use}" for use, count in counts.items()))
    for number, (name, values) in enumerate(examples(root)):
        facts = {"month": EXAMPLES_MONTH, "biome_code": TEMPERATE}
        _write_pair(data / "places", name, values, seed=OTHERS + number, facts=facts)
    for date in dropped[HAZY][::CLOUDED_STEP]:
        _write_date(data / "clouded", date, (date.taken.month,))
    for number, (name, values) in enumerate(quarters(root)):
        facts = {"month": EXAMPLES_MONTH, "biome_code": TEMPERATE}
        _write_pair(data / "quarters", name, values, seed=QUARTERS + number, facts=facts)
    values, classes = flood(root)
    facts = {"month": FLOOD_MONTH, "biome_code": MEDITERRANEAN}
    _write_pair(data / "flood_poor", "spain", values, seed=OTHERS, facts=facts)
    for number, part in enumerate(cut(values, FLOOD_PART)):
        seed = FLOOD_PARTS + number
        _write_pair(data / "flood_parts", f"spain_{number}", part, seed=seed, facts=facts)
    write_tile(data / "flood", "spain", {"opt_v1": values.astype(np.float32)}, facts)
    write_tile(data / "flood_classes", "spain", {"classes": classes}, facts)


def _write_date(folder: Path, date: Date, months: Sequence[int]) -> None:
    for month in months:
        _write_pair(
            folder,
            date.name if len(months) == 1 else f"{date.name}_{month:02d}",
            date.values,
            seed=PER_DATE * date.taken.toordinal() + month,
            facts={"month": month, "biome_code": TEMPERATE, "date": date.name},
        )


def _write_pair(
    folder: Path, name: str, values: Image, *, seed: int, facts: Mapping[str, Any]
) -> None:
    """Write an image as it is into `FOLDER_truth`, and degraded into the folder itself."""
    poor = degraded(values, seed=seed, month=facts["month"], biome=facts["biome_code"])
    write_tile(folder, name, {"opt_v1": poor}, {**facts, "seed": seed})
    truth = folder.with_name(f"{folder.name}_truth")
    write_tile(truth, name, {"opt_v2": values.astype(np.float32)}, facts)
