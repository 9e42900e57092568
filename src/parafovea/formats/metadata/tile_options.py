"""Description of the numbers in tiles and mosaics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from pydantic import Field, field_validator, model_validator

from parafovea.formats.bands import canonical
from parafovea.formats.metadata.values import (
    ElevationValue,
    NamesValue,
    NumbersValue,
    NumberValue,
    RadarValue,
    TextValue,
    Values,
)
from parafovea.formats.quantity_bands import Form
from parafovea.formats.reflectance import DN_OFFSET, DN_SCALE
from parafovea.settings.quantities import Range


class _Quantities(TypedDict):
    """Arguments of `quantity_bands.conversions` that are the same for a whole sample."""

    ranges: Mapping[str, Range]
    given: Mapping[str, Form]
    scaled: bool


_BASELINE = re.compile(r"N?([0-9]{2})\.?([0-9]{2})", re.IGNORECASE)


class TileOptions(Values):
    """User's description of the numbers in tiles or a mosaic; overrides the files.

    Parameters
    ----------
    bands : tuple of str, optional
        Names of all bands of the file, in its order.
    scale, offset : float, optional
        Reflectance is number * scale + offset; results outside [0, 1] are clipped. If only the
        offset is given, the scale is 1e-4; if only the scale is given, the offset is 0.
    baseline : str, optional
        Processing baseline of Sentinel-2, such as "0400", "N0509" or "04.00"; sets scale and
        offset.
    nodata : tuple of float, optional
        Numbers that mark pixels without a measurement; may contain NaN. The default is the file's
        own value, and also 0 if there is a baseline: see `missing`.
    key : str, optional
        Name of the array to read from an NPZ file.
    radar, elevation : mapping, optional
        What the numbers of radar and elevation bands are, by band: see
        `parafovea.formats.quantity_bands`.
    ranges : mapping
        What 0 and 1 of the model's input are, for such bands; of the model, not of the sheet.

    Raises
    ------
    ConfigError
        If a value is invalid.
    """

    bands: NamesValue = None
    scale: NumberValue = None
    offset: NumberValue = None
    baseline: TextValue = None
    nodata: NumbersValue = None
    key: TextValue = None
    radar: RadarValue = None
    elevation: ElevationValue = None
    ranges: dict[str, Range] = Field(default_factory=dict)

    @property
    def quantities(self) -> _Quantities:
        """How bands that are no reflectance are converted; arguments of `conversions`."""
        return {
            "ranges": self.ranges,
            "given": {**(self.radar or {}), **(self.elevation or {})},
            # a baseline is of Sentinel-2's bands alone
            "scaled": self.baseline is None,
        }

    def missing(self, stated: float | None = None) -> tuple[float, ...]:
        """Return the numbers that mark missing values.

        Parameters
        ----------
        stated : float, optional
            Number stated in the file.

        Returns
        -------
        tuple of float
            The user's numbers, or else that of the file, and 0 under a `baseline`, since the
            digital number 0 of Sentinel-2 is NO_DATA by definition.
        """
        if self.nodata is not None:
            return self.nodata
        implied = () if self.baseline is None or stated == 0 else (0.0,)
        return implied if stated is None else (stated, *implied)

    def of_truth(self, bands: Sequence[str], *, source: Sequence[str]) -> TileOptions:
        """Return the options for the truth of a source, whose own statements take precedence.

        Parameters
        ----------
        bands : sequence of str
            Bands of the truth.
        source : sequence of str
            Bands that are read from the source: options for radar, or for another set of bands,
            do not apply to an optical truth.
        """
        named = self.bands is None or set(bands) <= set(self.bands)
        return self if named and set(bands) <= set(source) else TileOptions()

    def stated_by(self, *, nodata: bool, scale: bool) -> TileOptions:
        """Return the options for a file whose own values take precedence, such as a truth.

        Parameters
        ----------
        nodata, scale : bool
            Whether the file states its nodata number, and its scale.
        """
        own = self.unscaled() if scale else self
        return own.model_copy(update={"nodata": None}) if nodata else own

    def contradicted(self, baseline: object) -> str:
        """Return how a file's processing baseline contradicts the user's, or "" if it does not.

        Parameters
        ----------
        baseline : object
            As stated in the file, such as "05.09"; None if it states none.
        """
        found = _BASELINE.fullmatch(str(baseline).strip())
        if self.baseline is None or found is None:
            return ""
        stated = f"{found[1]}{found[2]}"
        if (stated >= "0400") == (self.baseline >= "0400"):
            return ""
        return (
            f"the file states the processing baseline {stated}, whose offset is another than that "
            f"of baseline={self.baseline}; right only where it was changed since (harmonized)"
        )

    def unscaled(self) -> TileOptions:
        """Return the same options without scale, offset and baseline."""
        return self.model_copy(update={"scale": None, "offset": None, "baseline": None})

    @field_validator("bands")
    @classmethod
    def _check_bands(cls, bands: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if bands is None:
            return None
        names = tuple(canonical(name) for name in bands)
        if not names or not all(names):
            raise ValueError("bands has an empty name: for example bands=B02,B03,B04,B08")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"bands names {twice[0]} twice: name each band of the file once")
        return names

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float | None) -> float | None:
        if scale is not None and not 0 < scale < math.inf:
            raise ValueError(f"scale {scale:g} must be positive: for example scale=0.0001")
        return scale

    @field_validator("offset")
    @classmethod
    def _check_offset(cls, offset: float | None) -> float | None:
        if offset is not None and not math.isfinite(offset):
            raise ValueError(f"offset {offset:g} must be finite: for example offset=-0.1")
        return offset

    @field_validator("baseline")
    @classmethod
    def _check_baseline(cls, baseline: str | None) -> str | None:
        if baseline is None:
            return None
        found = _BASELINE.fullmatch(baseline.strip())
        if found is None:
            raise ValueError(
                f"baseline {baseline!r} is not a processing baseline: write, for example, "
                "baseline=0400 or baseline=05.09"
            )
        return f"{found[1]}{found[2]}"

    @field_validator("nodata")
    @classmethod
    def _check_nodata(cls, nodata: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if nodata is not None and (not nodata or any(map(math.isinf, nodata))):
            raise ValueError(
                "nodata must be numbers or nan: for example nodata=0 or nodata=nan,-9999"
            )
        return nodata

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: str | None) -> str | None:
        if key is not None and not key.strip():
            raise ValueError("key is empty: name an array of the NPZ files, such as key=opt_v1")
        return key

    @model_validator(mode="after")
    def _complete_scale(self) -> TileOptions:
        """Fill in defaults implied by baseline, scale or offset."""
        scale, offset = self.scale, self.offset
        if self.baseline is not None:
            meant = (DN_SCALE, DN_OFFSET if self.baseline >= "0400" else 0.0)
            if (scale, offset) not in ((None, None), meant):
                raise ValueError(
                    f"baseline {self.baseline} means scale {meant[0]:g} and offset {meant[1]:g}: "
                    "give either baseline, or scale and offset"
                )
            scale, offset = meant
        elif scale is not None or offset is not None:
            scale = DN_SCALE if scale is None else scale
            offset = 0.0 if offset is None else offset
        # the model is frozen after validation
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "offset", offset)
        return self
