"""A year of Sentinel-2 over fields, as WorldCereal publishes it: which dates show the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from parafovea.errors import MissingSourceError
from parafovea_phantoms.landscapes.spectra import BANDS

#: Blue reflectance above which a pixel is cloud or haze, and the share of such pixels, bright
#: roofs among them, that a clear date may have.
CLOUD, CLOUDED = 0.15, 0.03

#: Why most dates are left out.
HAZY = "cloud or haze"

#: Near infrared below which a median says that the whole image lies in shade.
SHADE = 0.15

#: Standard deviation of the near infrared below which the fields of this place do not show.
VEILED = 0.06

#: The first day of a month that is learned from; those before it are scored.
SECOND_HALF = 16

#: Of the dates that are learned from, every so many only chooses the best checkpoint.
WATCHED = 5

Use = Literal["train", "watch", "test"]


@dataclass(frozen=True)
class Date:
    """An image of the series.

    Parameters
    ----------
    taken : datetime
        When, UTC.
    values : ndarray
        (band, y, x) float64 reflectance, B02 B03 B04 B08; what is above 1 is cut.
    """

    taken: datetime
    values: NDArray[np.float64]

    @property
    def name(self) -> str:
        """The day: 2018-05-04."""
        return f"{self.taken:%Y-%m-%d}"


def is_clouded(stored: NDArray[np.float64]) -> bool:
    """Tell whether too much of an image (band, y, x) is cloud or haze."""
    return bool((stored[0] > CLOUD).mean() > CLOUDED)


def fault(stored: NDArray[np.float64]) -> str | None:
    """Return why an image does not show the ground, None where it does.

    Parameters
    ----------
    stored : ndarray
        (band, y, x) reflectance; 0 where nothing was measured.
    """
    if (stored == 0).any():
        return "incomplete"
    if is_clouded(stored):
        return HAZY
    if np.median(stored[3]) < SHADE:
        return "shade"
    return "veiled" if stored[3].std() < VEILED else None


def read_series(file: Path) -> tuple[list[Date], dict[str, list[Date]]]:
    """Return the dates that show the ground, and those that do not, by reason.

    Parameters
    ----------
    file : Path
        netCDF with B02, B03, B04 and B08 (date, y, x) and the time.
    """
    with h5py.File(file) as data:
        scale = [float(data[band].attrs["scale_factor"]) for band in BANDS]
        stack = np.stack([data[band][()] * s for band, s in zip(BANDS, scale, strict=True)], axis=1)
        unit = data["timestamp"].attrs["units"]
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        start = datetime.fromisoformat(unit.removeprefix("seconds since "))
        seconds = data["timestamp"][()]
    kept: list[Date] = []
    dropped: dict[str, list[Date]] = {}
    for values, after in zip(stack, seconds, strict=True):
        date = Date(start + timedelta(seconds=int(after)), np.clip(values, 0, 1))
        reason = fault(values)
        (kept if reason is None else dropped.setdefault(reason, [])).append(date)
    return kept, dropped


def split(dates: Sequence[Date]) -> dict[str, Use]:
    """Return what each day is for: the first half of each month is scored, the second learned from.

    Parameters
    ----------
    dates : sequence of Date
        In order.
    """
    learned = [date.name for date in dates if date.taken.day >= SECOND_HALF]
    uses: dict[str, Use] = {date.name: "test" for date in dates}
    uses.update(dict.fromkeys(learned, "train"))
    uses.update(dict.fromkeys(learned[WATCHED // 2 :: WATCHED], "watch"))
    return uses


def series_file(root: Path) -> Path:
    """Return the file of the series below the folder of real data.

    Raises
    ------
    MissingSourceError
        If there is none.
    """
    found = sorted(root.glob("s2/worldcereal/*/S2_L2A_10m_*.nc"))
    if not found:
        raise MissingSourceError(
            f"{root}/s2/worldcereal holds no S2_L2A_10m_*.nc: let PARAFOVEA_REAL_DATA name the "
            "folder with the real data (docs/real_tiles.md says where they come from)"
        )
    return found[0]
