"""Sidecar of a tile, a JSON file with its month, biome, position, and other metadata."""

from __future__ import annotations

import calendar
import codecs
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from parafovea.errors import TileError
from parafovea.formats.bands import canonical, is_mask, is_named
from parafovea.formats.tiles.tile import (
    LAST_BIOME,
    Position,
    readable_tile,
)
from parafovea.runtime.names import hidden_character
from parafovea.runtime.validation import first_problem
from parafovea.settings.quantities import QUANTITIES

#: Default month and biome of a tile: June, and the code for an unknown biome.
DEFAULT_MONTH = 6
DEFAULT_BIOME = 0

#: Maximum size of a sidecar in bytes.
LARGEST = 2**24

_MONTHS = tuple(name.lower() for name in calendar.month_name)

#: Fix suggested in messages about a position.
_FIX = (
    'write, for example, {"crs": "EPSG:32633", "x": 500000.0, "y": 5000000.0, "pixel_size": 10.0}'
)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Metadata of a tile.

    Parameters
    ----------
    month : int
        1 to 12; that of the date if the file states no month.
    biome : int
        0 to 15.
    assumed : tuple of str
        Which of "month" and "biome" are missing in the file and set to defaults.
    position : Position or None
        Position of the tile.
    metadata : mapping
        All other keys besides `month` and `biome_code`, as stored in the file.
    date : str
        Day of the image, such as 2024-07-01, from one of `DATE_KEYS`; text that is not an ISO 8601
        date is returned unchanged; "" if there is none.
    bands : tuple of str or None
        Names of the bands of the tile, in their order; None unless `bands` is a list of such names.
    """

    month: int
    biome: int
    assumed: tuple[str, ...]
    position: Position | None
    metadata: Mapping[str, Any]
    date: str = ""
    bands: tuple[str, ...] | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What contradicts itself, for the notes of the tile."""
        dated = _month_of(self.date)
        if dated in (None, self.month):
            return ()
        return (
            f"the JSON file states month {self.month}, but the date {self.date}, which is not used",
        )


#: Keys that state the date of a tile, in order of precedence.
DATE_KEYS = (
    *("date", "datetime", "acquired", "acquisition_date", "acquisition_time"),
    *("sensing_date", "sensing_time", "date_acquired", "system:time_start"),
)

#: Numbers between these are seconds since 1970, and a thousand times that, milliseconds.
EPOCH_SECONDS = (1e8, 1e10)

_DAY = re.compile(r"([0-9]{4})[-/_.]?([0-9]{2})[-/_.]?([0-9]{2})(?![0-9])")


def _date(values: Mapping[str, Any]) -> str:
    inside = values.get("properties")  # of an item of a STAC catalogue
    for each in (values, inside if isinstance(inside, Mapping) else {}):
        found = _stated_date(each)
        if found:
            return found
    return ""


def _stated_date(values: Mapping[str, Any]) -> str:
    for key in DATE_KEYS:
        value = values.get(key)
        if value in (None, ""):
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value >= EPOCH_SECONDS[1] else value
            if EPOCH_SECONDS[0] <= seconds < EPOCH_SECONDS[1]:
                return datetime.fromtimestamp(seconds, UTC).date().isoformat()
        text = str(value).strip()
        day = _DAY.match(text)
        return text if day is None else "-".join(day.groups())
    return ""


def _month_of(date: str) -> int | None:
    """Return the month of an ISO 8601 date, or None for another text."""
    day = _DAY.match(date)
    month = 0 if day is None else int(day[2])
    return month if 1 <= month <= 12 else None


def _bands(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    names = tuple(canonical(name) for name in value)
    named = (is_named(name) or is_mask(name) or name in QUANTITIES for name in names)
    known = all(named) and len(set(names)) == len(names)
    return names if names and known else None


def _month(value: object) -> int:
    number = _whole(value)
    if number is None and isinstance(value, str):
        name = value.strip().lower()
        named = [n for n, full in enumerate(_MONTHS) if len(name) >= 3 and full.startswith(name)]
        number = named[0] if named else None
    if number is None or not 1 <= number <= 12:
        raise ValueError(
            f'month {_shown(value)} is not a month: write 1 to 12, or a name such as "jun"'
        )
    return number


def _biome(value: object) -> int:
    number = _whole(value)
    if number is None or not 0 <= number <= LAST_BIOME:
        raise ValueError(
            f"biome_code {_shown(value)} is not a biome: write a whole number from 0 to "
            f"{LAST_BIOME}, 0 if unknown"
        )
    return number


def _keys(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError(f"position {_shown(value)} has no keys: {_FIX}")
    return value


def _whole(value: object) -> int | None:
    """Return an integer that JSON stores as a number or as digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


def _shown(value: object) -> str:
    return repr(value)[:60]


#: A coordinate; larger numbers are not valid on the ground.
_Coordinate = Annotated[float, Field(ge=-1e12, le=1e12)]


def _one_line(text: str) -> str:
    """Return a text in one line; WKT is often written in many."""
    line = " ".join(text.split())
    hidden = hidden_character(line)
    if hidden is not None:
        raise ValueError(f"position: crs contains the control character {hidden}: {_FIX}")
    return line


class _PositionWords(BaseModel):
    """Position of a tile; further keys are allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, str_strip_whitespace=True)

    crs: Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
    x: _Coordinate
    y: _Coordinate
    pixel_size: Annotated[float, Field(gt=0, le=1e12)]


class _SidecarWords(BaseModel):
    """Keys read from a sidecar; further keys are allowed, and kept in results."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    month: Annotated[int, BeforeValidator(_month)] | None = None
    biome_code: Annotated[int, BeforeValidator(_biome)] | None = None
    position: Annotated[_PositionWords, BeforeValidator(_keys)] | None = None


def read_sidecar(path: Path | None) -> Sidecar:
    """Read a sidecar; missing values default to June and biome 0.

    Parameters
    ----------
    path : Path or None
        Path of the JSON file; None if there is none.

    Raises
    ------
    TileError
        If the file is damaged, is not a JSON object, or states an invalid value.
    """
    return parse_sidecar(None if path is None else sidecar_bytes(path), path)


def sidecar_bytes(path: Path) -> bytes:
    """Return the content of a sidecar, or raise `TileError` if it cannot be read."""
    with readable_tile(path):
        if path.stat().st_size > LARGEST:
            raise TileError(f"{path} is larger than {LARGEST >> 20} MiB, too large for a sidecar")
        return path.read_bytes()


def parse_sidecar(content: bytes | None, path: Path | None) -> Sidecar:
    """Parse the content of a sidecar; see `read_sidecar`.

    Parameters
    ----------
    content : bytes or None
        Content of the JSON file; None if there is none.
    path : Path or None
        Used in error messages.
    """
    values = {} if content is None or path is None else _values(content, path)
    try:
        said = _SidecarWords.model_validate(values)
    except ValidationError as error:
        raise TileError(f"{path}: {_position_problem(error)}") from error
    date = _date(values)
    month = _month_of(date) if said.month is None else said.month
    stated = {"month": month, "biome": said.biome_code}
    return Sidecar(
        month=DEFAULT_MONTH if month is None else month,
        biome=DEFAULT_BIOME if said.biome_code is None else said.biome_code,
        assumed=tuple(name for name, value in stated.items() if value is None),
        position=None if said.position is None else Position(**said.position.model_dump()),
        metadata={k: v for k, v in values.items() if k not in ("month", "biome_code")},
        date=date,
        bands=_bands(values.get("bands")),
    )


def _position_problem(error: ValidationError) -> str:
    """Return the message of the first problem of a position, with its fix."""
    problem = error.errors(include_url=False)[0]
    if "error" in problem.get("ctx", {}):
        return first_problem(error)
    key, value = problem["loc"][-1], _shown(problem["input"])
    if problem["type"] == "missing":
        return f"position has no {key}: {_FIX}"
    if problem["type"] == "greater_than":
        return f"position: {key} {value} is not positive: {_FIX}"
    what = "a text such as EPSG:32633" if key == "crs" else "a valid number"
    return f"position: {key} {value} is not {what}: {_FIX}"


def _values(content: bytes, path: Path) -> dict[str, Any]:
    def not_json(constant: str) -> NoReturn:
        raise TileError(f"{path} contains {constant}, which is not JSON: write null, or a number")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else not_json(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        twice = [key for key, value in pairs if found[key] != value]
        if twice:
            raise TileError(f"{path} states {twice[0]} twice, with different values: keep one")
        return found

    with readable_tile(path):
        text = _text(content, path)
        try:
            values = json.loads(
                text, parse_constant=not_json, parse_float=finite, object_pairs_hook=once
            )
        except (json.JSONDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise TileError(f"{path} is not JSON ({reason}): correct or remove it") from error
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.start + 1]
        raise TileError(
            f"{path} contains half of a character ({ascii(half)[1:-1]}), perhaps from truncated "
            "text, and cannot be rewritten: correct that text"
        ) from error
    if not isinstance(values, dict):
        raise TileError(
            f"{path} holds {type(values).__name__} instead of keys and values: write, for "
            'example, {"month": 6, "biome_code": 0}'
        )
    return values


def _text(content: bytes, path: Path) -> str:
    """Return the text of a UTF-8 file; `TileError` names the encoding that it appears to have."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:64]:
        raise TileError(f"{path} is encoded in UTF-16 or UTF-32: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TileError(
            f"{path} is not UTF-8 (byte {content[error.start]:#04x} at {error.start}), but may "
            "be Latin-1: save it as UTF-8"
        ) from error
