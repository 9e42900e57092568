"""What the user says about a source: the metadata column of the sample sheet.

No zarr and no torch here: the workflow reads these while it plans its jobs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from parafovea.errors import ConfigError, MissingSourceError
from parafovea.formats.tiles.options import TileOptions
from parafovea.geometry.grid import METRES, Vector, vector3

SIDECAR_SUFFIXES = (".json", ".yaml", ".yml")

#: Other spellings of the units in `parafovea.geometry.grid.METRES`, in lower case.
_SPELLINGS = {
    "å": "angstrom",
    "a": "angstrom",
    "nm": "nanometer",
    "nanometre": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",  # the micro sign
    "\u03bcm": "micrometer",  # the Greek letter
    "\\u00b5m": "micrometer",  # as ImageJ escapes it
    "micron": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "cm": "centimeter",
    "centimetre": "centimeter",
    "m": "meter",
    "metre": "meter",
}


def known_unit(text: str) -> str | None:
    """Return the OME-Zarr name of a unit of length, or None for one that is not known.

    Parameters
    ----------
    text : str
        A name, plural or symbol, such as "nm", "µm", "microns" or "millimeter".
    """
    name = text.strip().lower()
    for candidate in (name, name.removesuffix("s")):
        if candidate in METRES:
            return candidate
        if candidate in _SPELLINGS:
            return _SPELLINGS[candidate]
    return None


@dataclass(frozen=True, slots=True)
class SourceMetadata:
    """What the user says about one source; it wins over what the file says.

    Parameters
    ----------
    spacing : tuple of float, optional
        Distance between voxel centres along z, y, x, in `unit`; of the finest level of a pyramid.
    unit : str, optional
        Unit of `spacing` and `origin`; any spelling that `known_unit` knows.
    origin : tuple of float, optional
        World position of the centre of voxel (0, 0, 0), in `unit`.
    channel : int, optional
        Which channel to read, from 0, where the source has several.
    objects : str, optional
        What the values of a truth volume mean; read by the stages that compare with it.
    series : str, optional
        SeriesInstanceUID: of the wanted series where a DICOM source holds several; of another
        format, what tables of findings call the scan.
    month : int, optional
        When a mosaic was taken, 1 to 12.
    biome : int, optional
        Code of the biome of a mosaic, 0 to 15.
    tiles : TileOptions
        How numbers in tiles and mosaics become reflectance.

    Raises
    ------
    ConfigError
        If a value cannot be right.
    """

    spacing: Vector | None = None
    unit: str | None = None
    origin: Vector | None = None
    channel: int | None = None
    objects: str | None = None
    series: str | None = None
    month: int | None = None
    biome: int | None = None
    tiles: TileOptions = field(default_factory=TileOptions)

    def __post_init__(self) -> None:
        if self.spacing is not None and any(not 0 < s < math.inf for s in self.spacing):
            raise ConfigError(
                f"spacing {self.spacing} must be positive and finite along z, y, x: "
                "for example spacing=50,4.6,4.6"
            )
        if self.origin is not None and not all(math.isfinite(o) for o in self.origin):
            raise ConfigError(f"origin {self.origin} must be finite along z, y, x")
        if self.channel is not None and self.channel < 0:
            raise ConfigError(f"channel {self.channel} must be 0 or more: the first channel is 0")
        for name, low, high in (("month", 1, 12), ("biome", 0, 15)):
            number = getattr(self, name)
            if number is not None and not low <= number <= high:
                raise ConfigError(f"{name} {number} must lie in {low} to {high}")
        if self.unit is not None:
            unit = known_unit(self.unit)
            if unit is None:
                raise ConfigError(f"unit {self.unit!r} is not known: use one of {list(METRES)}")
            object.__setattr__(self, "unit", unit)


#: Words of the metadata column: those of volumes, then those of tiles.
KEYS = (
    *(word.name for word in fields(SourceMetadata) if word.name != "tiles"),
    *(word.name for word in fields(TileOptions)),
)


def sidecar_path(text: str, *, folder: Path) -> Path | None:
    """Return the file that a metadata column names, or None where it holds the words themselves.

    Parameters
    ----------
    text : str
        The metadata column.
    folder : Path
        A relative path counts from here.
    """
    name = text.strip()
    if not name.lower().endswith(SIDECAR_SUFFIXES):
        return None
    return folder / name


def parse_metadata(text: str, *, folder: Path) -> SourceMetadata:
    """Return what a metadata column says.

    Parameters
    ----------
    text : str
        Empty; or words such as `spacing=50,4.6,4.6 unit=nanometer`; or the path of a JSON or YAML
        file with the same keys.
    folder : Path
        A relative path counts from here.

    Returns
    -------
    SourceMetadata
        All None where the text is empty.

    Raises
    ------
    ConfigError
        If a key is not known, a value cannot be right, or the file is not readable as what its
        name says.
    MissingSourceError
        If the file is not there.
    """
    sidecar = sidecar_path(text, folder=folder)
    where = f"metadata {text.strip()!r}" if sidecar is None else f"metadata file {sidecar}"
    values = _inline(text, where) if sidecar is None else _from_file(sidecar)
    unknown = [str(key) for key in values if key not in KEYS]
    if unknown:
        raise ConfigError(f"{where}: key {unknown[0]!r} is not known: use {', '.join(KEYS)}")
    try:
        return SourceMetadata(
            spacing=_vector(values, "spacing"),
            unit=_text(values, "unit"),
            origin=_vector(values, "origin"),
            channel=_integer(values, "channel"),
            objects=_text(values, "objects"),
            series=_text(values, "series"),
            month=_integer(values, "month"),
            biome=_integer(values, "biome"),
            tiles=TileOptions(
                bands=_names(values, "bands"),
                scale=_number(values, "scale"),
                offset=_number(values, "offset"),
                baseline=_text(values, "baseline"),
                nodata=_number(values, "nodata"),
                key=_text(values, "key"),
            ),
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _inline(text: str, where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(
                f"{where}: {word!r} is not key=value: write, for example, "
                "spacing=50,4.6,4.6 unit=nanometer, without spaces around = and commas"
            )
        if key in values:
            raise ConfigError(f"{where}: key {key!r} is given twice: keep one")
        values[key] = value
    return values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise MissingSourceError(
            f"metadata file {path} does not exist: correct the metadata column of the sample sheet"
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"metadata file {path} cannot be read: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"metadata file {path} holds {type(values).__name__} instead of keys and values: "
            'write, for example, {"spacing": [50, 4.6, 4.6], "unit": "nanometer"}'
        )
    return values


def _vector(values: Mapping[str, Any], key: str) -> Vector | None:
    value = values.get(key)
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    problem = f"{key} {value!r} is not three numbers along z, y, x: for example {key}=50,4.6,4.6"
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ConfigError(problem)
    if any(isinstance(part, bool) for part in parts):
        raise ConfigError(problem)
    try:
        return vector3([float(part) for part in parts])
    except (TypeError, ValueError) as error:
        raise ConfigError(problem) from error


def _integer(values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise ConfigError(f"{key} {value!r} is not a whole number from 0: for example {key}=0")


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{key} {value!r} is not a number: for example {key}=0.0001")


def _names(values: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = values.get(key)
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"{key} {value!r} are not names: for example {key}=B02,B03,B04,B08")
    return tuple(parts)


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f"{key} {value!r} is not a word: put it in quotes")
