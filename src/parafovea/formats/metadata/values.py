"""Values of metadata: words of the sheet, or values of a JSON or YAML file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from parafovea.errors import ConfigError, quoted
from parafovea.formats.quantity_bands import Form, elevation_forms, radar_forms
from parafovea.geometry.grid import Vector, vector3
from parafovea.runtime.names import hidden_character
from parafovea.runtime.validation import first_problem


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


VectorValue = Annotated[Vector | None, BeforeValidator(_vector)]
WholeValue = Annotated[int | None, BeforeValidator(_whole)]
IntegerValue = Annotated[int | None, BeforeValidator(_integer)]
NumberValue = Annotated[float | None, BeforeValidator(_number)]
NumbersValue = Annotated[tuple[float, ...] | None, BeforeValidator(_numbers)]
NamesValue = Annotated[tuple[str, ...] | None, BeforeValidator(_names)]
TextValue = Annotated[str | None, BeforeValidator(_word)]
RangesValue = Annotated[Ranges | None, BeforeValidator(_ranges)]
RadarValue = Annotated[dict[str, Form] | None, BeforeValidator(_radar)]
ElevationValue = Annotated[dict[str, Form] | None, BeforeValidator(_elevation)]
FlagValue = Annotated[bool | None, BeforeValidator(_flag)]


class Values(BaseModel):
    """Keys set by the user: as text in the sheet, or as values in a JSON or YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(first_problem(error)) from error
