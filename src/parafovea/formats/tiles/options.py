"""How the numbers of optical files are to be read: what the sheet says of them.

Only the standard library: the workflow reads the sheet whenever it plans its jobs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from parafovea.errors import ConfigError
from parafovea.formats.bands import canonical

#: Reflectance of one digital number of Sentinel-2 (1 / QUANTIFICATION_VALUE).
DN_SCALE = 1e-4

#: Added to the reflectance from processing baseline N0400 on (ADD_OFFSET, -1000 digital numbers).
DN_OFFSET = -0.1

#: Arrays of an NPZ file that are taken for the input of a model, the first that is there: a first
#: stage's optical tiles, refined ones, radar.
INPUT_KEYS = ("opt_v1", "opt_v2", "sar")

#: Arrays that are taken for what bands should become.
TRUTH_KEYS = ("opt_v2", "opt_v1")

#: The array of class indices.
CLASSES = "classes"

_BASELINE = re.compile(r"N?([0-9]{2})\.?([0-9]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TileOptions:
    """What the user says of the numbers in tiles or a mosaic; it wins over what the files say.

    Parameters
    ----------
    bands : tuple of str, optional
        Names of all bands of the file, in its order.
    scale, offset : float, optional
        Reflectance is number * scale + offset; results outside [0, 1] are clipped. An offset
        alone goes with a scale of 1e-4, a scale alone with an offset of 0.
    baseline : str, optional
        Processing baseline of Sentinel-2, such as "0400", "N0509" or "04.00"; sets scale and
        offset.
    nodata : float, optional
        Number that marks pixels without a measurement; may be NaN.
    key : str, optional
        Which array of an NPZ file to read.

    Raises
    ------
    ConfigError
        If a value cannot be right.
    """

    bands: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    baseline: str | None = None
    nodata: float | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.bands is not None:
            self._check_bands(self.bands)
        if self.baseline is not None:
            self._take_baseline(self.baseline)
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ConfigError(f"scale {self.scale:g} must be positive: for example scale=0.0001")
        if self.offset is not None and not math.isfinite(self.offset):
            raise ConfigError(f"offset {self.offset:g} must be finite: for example offset=-0.1")
        if self.offset is not None and self.scale is None:
            object.__setattr__(self, "scale", DN_SCALE)
        if self.scale is not None and self.offset is None:
            object.__setattr__(self, "offset", 0.0)
        if self.nodata is not None and math.isinf(self.nodata):
            raise ConfigError("nodata must be a number or nan: for example nodata=0")
        if self.key is not None and not self.key.strip():
            raise ConfigError("key is empty: name an array of the NPZ files, such as key=opt_v1")

    def _check_bands(self, bands: tuple[str, ...]) -> None:
        names = tuple(canonical(name) for name in bands)
        if not names or not all(names):
            raise ConfigError("bands has an empty name: for example bands=B02,B03,B04,B08")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"bands names {twice[0]} twice: name each band of the file once")
        object.__setattr__(self, "bands", names)

    def _take_baseline(self, text: str) -> None:
        found = _BASELINE.fullmatch(text.strip())
        if found is None:
            raise ConfigError(
                f"baseline {text!r} is no processing baseline: write, for example, baseline=0400 "
                "or baseline=05.09"
            )
        number = f"{found[1]}{found[2]}"
        meant = (DN_SCALE, DN_OFFSET if number >= "0400" else 0.0)
        if (self.scale, self.offset) not in ((None, None), meant):
            raise ConfigError(
                f"baseline {number} says scale {meant[0]:g} and offset {meant[1]:g} itself: give "
                "either baseline, or scale and offset"
            )
        object.__setattr__(self, "baseline", number)
        object.__setattr__(self, "scale", meant[0])
        object.__setattr__(self, "offset", meant[1])
