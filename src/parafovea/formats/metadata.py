"""User metadata of a source: the metadata column of the sample sheet.

Imports no format library, since the workflow reads the sheet whenever it plans its jobs.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from parafovea.errors import ConfigError, MissingSourceError, quoted
from parafovea.formats.bands import canonical
from parafovea.formats.quantity_bands import Form, elevation_forms, radar_forms
from parafovea.formats.reflectance import DN_OFFSET, DN_SCALE
from parafovea.formats.source import readable
from parafovea.geometry.grid import METRES, Vector, checked_spacing, vector3
from parafovea.runtime.documents import CONFIG_BYTES, json_values, read_text, yaml_values
from parafovea.runtime.names import hidden_character
from parafovea.runtime.validation import first_problem
from parafovea.settings.quantities import Range

SIDECAR_SUFFIXES = (".json", ".yaml", ".yml")

#: Other spellings of the units in `parafovea.geometry.grid.METRES`, in lower case.
_SPELLINGS = {
    "å": "angstrom",
    "a": "angstrom",
    "pm": "picometer",
    "picometre": "picometer",
    "ångström": "angstrom",
    "nm": "nanometer",
    "nanometre": "nanometer",
    "um": "micrometer",
    "\u03bcm": "micrometer",  # the Greek letter
    "\\u00b5m": "micrometer",  # as ImageJ escapes it
    "micron": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "cm": "centimeter",
    "centimetre": "centimeter",
    "dm": "decimeter",
    "decimetre": "decimeter",
    "m": "meter",
    "metre": "meter",
    "km": "kilometer",
    "kilometre": "kilometer",
    "in": "inch",
    "inches": "inch",
    "ft": "foot",
    "feet": "foot",
    "yd": "yard",
}


def known_unit(text: str) -> str | None:
    """Return the OME-Zarr name of a unit of length, or None if it is unknown.

    Parameters
    ----------
    text : str
        A name, plural or symbol, such as "nm", "µm", "microns" or "millimeter".
    """
    # NFKC maps the micro sign and the Angstrom sign to the letters that they look like
    name = unicodedata.normalize("NFKC", text).strip().lower()
    for candidate in (name, name.removesuffix("s")):
        if candidate in METRES:
            return candidate
        if candidate in _SPELLINGS:
            return _SPELLINGS[candidate]
    return None


def _vector(value: Any, info: ValidationInfo) -> Vector | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    key = info.field_name
    problem = f"{key} {value!r} is not three numbers along z, y, x: for example {key}=50,4.6,4.6"
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError(problem)
    if any(isinstance(part, bool) for part in parts):
        raise ValueError(problem)
    try:
        return vector3([float(part) for part in parts])
    except (TypeError, ValueError) as error:
        raise ValueError(problem) from error


def _whole(value: Any, info: ValidationInfo) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    key = info.field_name
    raise ValueError(f"{key} {value!r} is not a whole number from 0: for example {key}=0")


def _integer(value: Any, info: ValidationInfo) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    key = info.field_name
    raise ValueError(f"{key} {value!r} is not a whole number: for example {key}=255")


def _number(value: Any, info: ValidationInfo) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    key = info.field_name
    raise ValueError(f"{key} {value!r} is not a number: for example {key}=0.0001")


def _numbers(value: Any, info: ValidationInfo) -> tuple[float, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    listed = parts if isinstance(parts, list | tuple) else [parts]
    found = tuple(_number(part, info) for part in listed)
    return tuple(number for number in found if number is not None)


def _names(value: Any, info: ValidationInfo) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
        return tuple(parts)
    key = info.field_name
    raise ValueError(f"{key} {value!r} is not a list of names: for example {key}=B02,B03,B04,B08")


def _word(value: Any, info: ValidationInfo) -> str | None:
    if isinstance(value, str):
        hidden = hidden_character(value)
        if hidden is not None:
            raise ValueError(
                f"{info.field_name} {quoted(value)} contains the control character {hidden}: "
                "remove it"
            )
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{info.field_name} {value!r} is not a word: put it in quotes")


def _flag(value: Any, info: ValidationInfo) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    words = {"yes": True, "true": True, "no": False, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    key = info.field_name
    raise ValueError(f"{key} {value!r} is neither yes nor no: for example {key}=yes")


#: From one number up to another along z, y, x; None for an end of the source.
Ranges = tuple[
    tuple[float | None, float | None],
    tuple[float | None, float | None],
    tuple[float | None, float | None],
]


def _ranges(value: Any, info: ValidationInfo) -> Ranges | None:
    if value is None:
        return None
    key = info.field_name
    problem = (
        f"{key} {value!r} is not three parts from:to along z, y, x: for example "
        f"{key}=0:64,128:256,128:256, where an end may be left out"
    )
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError(problem)
    found = []
    for part in parts:
        ends = part.split(":") if isinstance(part, str) else part
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise ValueError(problem)
        found.append((_end(ends[0], problem), _end(ends[1], problem)))
    for name, (start, stop) in zip("zyx", found, strict=True):
        if start is not None and stop is not None and start >= stop:
            raise ValueError(
                f"{key} takes {start:g} to {stop:g} along {name}, which is "
                f"{'empty' if start == stop else 'reversed'}: write the lower end first"
            )
    z, y, x = found
    return z, y, x


def _end(value: Any, problem: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise ValueError(problem)


def _radar(value: Any) -> dict[str, Form] | None:
    return None if value is None else radar_forms(value)


def _elevation(value: Any) -> dict[str, Form] | None:
    return None if value is None else elevation_forms(value)


_Vector = Annotated[Vector | None, BeforeValidator(_vector)]
_Whole = Annotated[int | None, BeforeValidator(_whole)]
_Integer = Annotated[int | None, BeforeValidator(_integer)]
_Number = Annotated[float | None, BeforeValidator(_number)]
_Numbers = Annotated[tuple[float, ...] | None, BeforeValidator(_numbers)]
_Names = Annotated[tuple[str, ...] | None, BeforeValidator(_names)]
_Word = Annotated[str | None, BeforeValidator(_word)]
_Ranges = Annotated[Ranges | None, BeforeValidator(_ranges)]
_Radar = Annotated[dict[str, Form] | None, BeforeValidator(_radar)]
_Elevation = Annotated[dict[str, Form] | None, BeforeValidator(_elevation)]
_Flag = Annotated[bool | None, BeforeValidator(_flag)]


class _Words(BaseModel):
    """Keys set by the user: as text in the sheet, or as values in a JSON or YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(first_problem(error)) from error


class _Quantities(TypedDict):
    """Arguments of `quantity_bands.conversions` that are the same for a whole sample."""

    ranges: Mapping[str, Range]
    given: Mapping[str, Form]
    scaled: bool


_BASELINE = re.compile(r"N?([0-9]{2})\.?([0-9]{2})", re.IGNORECASE)


class TileOptions(_Words):
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

    bands: _Names = None
    scale: _Number = None
    offset: _Number = None
    baseline: _Word = None
    nodata: _Numbers = None
    key: _Word = None
    radar: _Radar = None
    elevation: _Elevation = None
    ranges: dict[str, Range] = {}

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


class SourceMetadata(_Words):
    """User metadata of one source; overrides the file.

    Parameters
    ----------
    spacing : tuple of float, optional
        Distance between voxel centres along z, y, x, in `unit`; for a pyramid, of its finest level.
    unit : str, optional
        Unit of `spacing` and `origin`, in any spelling accepted by `known_unit`.
    origin : tuple of float, optional
        World position of the centre of voxel (0, 0, 0), in `unit`.
    channel : int, optional
        Index of the channel to read, from 0, if the source has several.
    region : three pairs of int, optional
        The part of the source that is the sample, from one voxel up to another along z, y, x; of a
        pyramid, voxels of its finest level. A truth is cut alike, by its place.
    roi : three pairs of float, optional
        The same by positions in the world of the source, in its unit, or in `unit`.
    objects : str, optional
        Meaning of the values of a truth volume; used by the stages that compare with it.
    series : str, optional
        SeriesInstanceUID to select if a DICOM source holds several series; for other formats, the
        name of the scan in tables of findings.
    month : int, optional
        Month of acquisition of a mosaic or of a folder's tiles, 1 to 12; overrides their metadata.
    biome : int, optional
        Biome code of a mosaic or of a folder's tiles, 0 to 15; overrides their metadata.
    truth_spacing, truth_unit, truth_origin, truth_channel, truth_series
        The same for the sample's truth and its objects.
    objects_channel : int, optional
        Channel of the objects, if not that of the truth.
    truth_complete : bool, optional
        Whether the missing chunks of a truth are known to be empty.
    truth_ignore : int, optional
        Value of unlabelled voxels in the truth, which are excluded.
    truth_background : int, optional
        Background value of the truth, if not 0.
    tiles : TileOptions
        Conversion of the numbers in tiles and mosaics to reflectance.

    Raises
    ------
    ConfigError
        If a value is invalid.
    """

    spacing: _Vector = None
    unit: _Word = None
    origin: _Vector = None
    channel: _Whole = None
    region: _Ranges = None
    roi: _Ranges = None
    objects: _Word = None
    series: _Word = None
    month: _Whole = None
    biome: _Whole = None
    truth_spacing: _Vector = None
    truth_unit: _Word = None
    truth_origin: _Vector = None
    truth_channel: _Whole = None
    truth_series: _Word = None
    objects_channel: _Whole = None
    truth_complete: _Flag = None
    truth_ignore: _Integer = None
    truth_background: _Integer = None
    tiles: TileOptions = TileOptions()

    @field_validator("spacing", "truth_spacing")
    @classmethod
    def _check_spacing(cls, spacing: Vector | None) -> Vector | None:
        if spacing is not None and any(not 0 < s < math.inf for s in spacing):
            raise ValueError(
                f"spacing {spacing} must be positive and finite along z, y, x: "
                "for example spacing=50,4.6,4.6"
            )
        return None if spacing is None else checked_spacing(spacing)

    @field_validator("unit", "truth_unit")
    @classmethod
    def _check_unit(cls, unit: str | None) -> str | None:
        if unit is None:
            return None
        known = known_unit(unit)
        if known is None:
            raise ValueError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
        return known

    @field_validator("origin", "truth_origin")
    @classmethod
    def _check_origin(cls, origin: Vector | None) -> Vector | None:
        if origin is not None and not all(math.isfinite(o) for o in origin):
            raise ValueError(
                f"origin {origin} must be finite along z, y, x: for example origin=0,0,0"
            )
        return origin

    @field_validator("channel", "truth_channel", "objects_channel")
    @classmethod
    def _check_channel(cls, channel: int | None, info: ValidationInfo) -> int | None:
        if channel is not None and channel < 0:
            key = info.field_name
            raise ValueError(f"{key} {channel} must be 0 or more: the first channel is 0")
        return channel

    @field_validator("month", "biome")
    @classmethod
    def _check_code(cls, number: int | None, info: ValidationInfo) -> int | None:
        low, high = (1, 12) if info.field_name == "month" else (0, 15)
        if number is not None and not low <= number <= high:
            raise ValueError(f"{info.field_name} {number} must lie in {low} to {high}")
        return number

    @field_validator("region")
    @classmethod
    def _check_region(cls, region: Ranges | None) -> Ranges | None:
        ends = [end for part in region or () for end in part if end is not None]
        if any(end < 0 or end != int(end) for end in ends):
            raise ValueError(
                "region counts voxels, from 0 on: for example region=0:64,128:256,128:256; "
                "positions in the world are roi="
            )
        return region

    @model_validator(mode="after")
    def _check_one_part(self) -> SourceMetadata:
        if self.region is not None and self.roi is not None:
            raise ValueError("region and roi are both given: keep one")
        return self

    def for_input(self, ranges: Mapping[str, Range] | None) -> SourceMetadata:
        """Return the same words for a model, which states what 0 and 1 of its input are.

        Parameters
        ----------
        ranges : mapping, optional
            Decibels or metres by band, for bands that are no reflectance.
        """
        if not ranges:
            return self
        limits = {band: (float(low), float(high)) for band, (low, high) in ranges.items()}
        return self.model_copy(update={"tiles": self.tiles.model_copy(update={"ranges": limits})})

    @property
    def uncut(self) -> SourceMetadata:
        """The same words for the whole source."""
        if self.region is None and self.roi is None:
            return self
        return self.model_copy(update={"region": None, "roi": None})


#: Keys of the metadata column: those of volumes, then those of tiles.
_TILE_KEYS = tuple(key for key in TileOptions.model_fields if key != "ranges")
KEYS = (*(key for key in SourceMetadata.model_fields if key != "tiles"), *_TILE_KEYS)


#: What a source can be, with the keys that change how it is read.
_IMAGE_KEYS = ("month", "biome", *_TILE_KEYS)
SOURCE_KEYS = {
    "volume": tuple(key for key in KEYS if key not in _IMAGE_KEYS),
    "volume of channels": (
        *(key for key in KEYS if key not in (*_IMAGE_KEYS, "channel")),
        "bands",
    ),
    "mosaic": tuple(key for key in _IMAGE_KEYS if key != "key"),
    "folder of tiles": _IMAGE_KEYS,
}


def meaningless_keys(said: SourceMetadata, source: str) -> tuple[str, ...]:
    """Return the keys of a metadata column that mean nothing for a kind of source.

    Parameters
    ----------
    said : SourceMetadata
        The parsed column.
    source : str
        A key of `SOURCE_KEYS`.
    """
    given = (said.model_fields_set - {"tiles"}) | said.tiles.model_fields_set
    return tuple(key for key in KEYS if key in given and key not in SOURCE_KEYS[source])


def sidecar_path(text: str, *, folder: Path) -> Path | None:
    """Return the file that a metadata column names, or None if it holds the keys themselves.

    Parameters
    ----------
    text : str
        The metadata column.
    folder : Path
        Base folder of relative paths.
    """
    name = text.strip()
    if not name.lower().endswith(SIDECAR_SUFFIXES):
        return None
    return folder / name


def parse_metadata(text: str, *, folder: Path) -> SourceMetadata:
    """Parse a metadata column.

    Parameters
    ----------
    text : str
        Empty; or words such as `spacing=50,4.6,4.6 unit=nanometer`, those with spaces in double
        quotes; or the path of a JSON or YAML file with the same keys.
    folder : Path
        Base folder of relative paths.

    Returns
    -------
    SourceMetadata
        All fields None if the text is empty.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is invalid.
    SourceError
        If the file's content does not match its ending.
    MissingSourceError
        If the file does not exist.
    """
    sidecar = sidecar_path(text, folder=folder)
    if sidecar is None:
        return _inline_metadata(text.strip())
    return _metadata(_from_file(sidecar), f"metadata file {sidecar}")


@functools.lru_cache(maxsize=1024)
def _inline_metadata(text: str) -> SourceMetadata:
    """Parse `key=value` pairs; cached, since planning calls this several times per sample."""
    where = f"metadata {text!r}"
    return _metadata(inline_words(text, where), where)


def _metadata(values: Mapping[str, Any], where: str) -> SourceMetadata:
    unknown = [str(key) for key in values if key not in KEYS]
    if unknown:
        raise ConfigError(f"{where}: key {unknown[0]!r} is not known: use {', '.join(KEYS)}")
    tiles = {key: value for key, value in values.items() if key in _TILE_KEYS}
    volume = {key: value for key, value in values.items() if key not in _TILE_KEYS}
    try:
        return SourceMetadata(**volume, tiles=TileOptions(**tiles))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _words(text: str, where: str) -> list[str]:
    """Return the words of a text; double quotes hold words with spaces together."""
    words = shlex.shlex(text, posix=True)
    words.whitespace_split, words.commenters = True, ""
    words.quotes, words.escape = '"', ""
    try:
        return list(words)
    except ValueError as error:
        raise ConfigError(f"{where}: a double quote is not closed: add the second one") from error


def inline_words(text: str, where: str) -> dict[str, str]:
    """Return the words `key=value` of a text, whatever the keys.

    Parameters
    ----------
    text : str
        Words with spaces between them.
    where : str
        What the text is, for messages.

    Raises
    ------
    ConfigError
        If a word is not of this form, or a key is given twice.
    """
    values: dict[str, str] = {}
    for word in _words(text, where):
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(
                f"{where}: {word!r} is not key=value: write, for example, "
                "spacing=50,4.6,4.6 unit=nanometer, without spaces around = and commas, and a "
                'path with spaces in double quotes: objects="true objects.zarr"'
            )
        if key in values:
            raise ConfigError(f"{where}: key {key!r} is given twice: keep one")
        values[key] = value
    return values


def _from_file(path: Path) -> dict[str, Any]:
    where = f"metadata file {path}"
    try:
        text = read_text(path, "a metadata file", most=CONFIG_BYTES)
    except FileNotFoundError as error:
        raise MissingSourceError(
            f"{where} does not exist: correct the metadata column of the sample sheet"
        ) from error
    read = json_values if path.suffix.lower() == ".json" else yaml_values
    with readable(where):
        values = read(text, where)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"metadata file {path} holds {type(values).__name__} instead of keys and values: "
            'write, for example, {"spacing": [50, 4.6, 4.6], "unit": "nanometer"}'
        )
    return values
