"""The JSON file beside a tile: its month, its biome, its place, and what else it says."""

from __future__ import annotations

import calendar
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from parafovea.errors import TileError
from parafovea.formats.tiles.damage import readable_tile
from parafovea.formats.tiles.tile import DEFAULT_BIOME, DEFAULT_MONTH, LAST_BIOME, Position

#: Bytes of the largest sidecar that is read.
LARGEST = 2**24

_MONTHS = tuple(name.lower() for name in calendar.month_name)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of a tile beside its values.

    Parameters
    ----------
    month : int
        1 to 12.
    biome : int
        0 to 15.
    assumed : tuple of str
        Which of "month" and "biome" nobody says.
    position : Position or None
        Where the tile lies.
    metadata : mapping
        Everything but `month` and `biome_code`, as it stands in the file.
    """

    month: int
    biome: int
    assumed: tuple[str, ...]
    position: Position | None
    metadata: Mapping[str, Any]


def read_sidecar(path: Path | None) -> Sidecar:
    """Return what a sidecar says; June and biome 0 where it does not say them.

    Parameters
    ----------
    path : Path or None
        Of the JSON file; None where there is none.

    Raises
    ------
    TileError
        If the file is damaged, is no JSON object, or says what cannot be.
    """
    values = {} if path is None else _values(path)
    month, biome = values.get("month"), values.get("biome_code")
    assumed = tuple(name for name, v in (("month", month), ("biome", biome)) if v is None)
    return Sidecar(
        month=DEFAULT_MONTH if month is None else _month(month, path),
        biome=DEFAULT_BIOME if biome is None else _biome(biome, path),
        assumed=assumed,
        position=_position(values.get("position"), path),
        metadata={k: v for k, v in values.items() if k not in ("month", "biome_code")},
    )


def _values(path: Path) -> dict[str, Any]:
    def not_json(constant: str) -> NoReturn:
        raise TileError(f"{path} contains {constant}, which is not JSON: write null, or a number")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else not_json(text)

    with readable_tile(path):
        if path.stat().st_size > LARGEST:
            raise TileError(f"{path} is larger than {LARGEST >> 20} MiB, which is no sidecar")
        text = path.read_text(encoding="utf-8-sig")
        try:
            values = json.loads(text, parse_constant=not_json, parse_float=finite)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise TileError(f"{path} is not JSON ({reason}): correct or remove it") from error
    if not isinstance(values, dict):
        raise TileError(
            f"{path} holds {type(values).__name__} instead of keys and values: write, for "
            'example, {"month": 6, "biome_code": 0}'
        )
    return values


def _month(value: object, path: Path | None) -> int:
    number = _whole(value)
    if number is None and isinstance(value, str):
        name = value.strip().lower()
        named = [n for n, full in enumerate(_MONTHS) if len(name) >= 3 and full.startswith(name)]
        number = named[0] if named else None
    if number is None or not 1 <= number <= 12:
        raise TileError(
            f'{path}: month {_shown(value)} is not a month: write 1 to 12, or a name such as "jun"'
        )
    return number


def _biome(value: object, path: Path | None) -> int:
    number = _whole(value)
    if number is None or not 0 <= number <= LAST_BIOME:
        raise TileError(
            f"{path}: biome_code {_shown(value)} is not a biome: write a whole number from 0 to "
            f"{LAST_BIOME}, 0 where it is not known"
        )
    return number


def _whole(value: object) -> int | None:
    """Return a whole number that JSON holds as a number or as digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


def _position(value: object, path: Path | None) -> Position | None:
    if value is None:
        return None
    fix = (
        'write, for example, {"crs": "EPSG:32633", "x": 500000.0, "y": 5000000.0, '
        '"pixel_size": 10.0}'
    )
    if not isinstance(value, Mapping):
        raise TileError(f"{path}: position {_shown(value)} has no keys: {fix}")
    crs = value.get("crs")
    if not isinstance(crs, str) or not crs.strip():
        raise TileError(f"{path}: position has no crs, or none that is a text: {fix}")
    numbers = {}
    for key in ("x", "y", "pixel_size"):
        number = value.get(key)
        if isinstance(number, bool) or not isinstance(number, int | float) or abs(number) > 1e12:
            raise TileError(f"{path}: position has no number {key} that can be: {fix}")
        numbers[key] = float(number)
    if numbers["pixel_size"] <= 0:
        raise TileError(f"{path}: pixel_size {numbers['pixel_size']:g} is not positive: {fix}")
    return Position(crs=crs.strip(), **numbers)


def _shown(value: object) -> str:
    return repr(value)[:60]
