"""Arguments of the guide: devices, model folders, files to write and settings, checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parafovea.errors import ConfigError, ModelError
from parafovea.runtime.devices import choose_device, device_or_cpu

_LOG = logging.getLogger(__name__)

AnyPath = str | Path


def chosen_device(wanted: str | None) -> str:
    """Return the device to compute on, the CPU with a warning if there is no GPU."""
    if wanted is None:
        return str(choose_device())
    chosen = device_or_cpu(wanted)
    if chosen != wanted:
        _LOG.warning("device %s is not available here: computing on the CPU", wanted)
    return chosen


def model_folder(checkpoint: AnyPath) -> Path:
    """Return a model folder, or raise `ModelError` if it is a file of another program."""
    if Path(checkpoint).is_file():
        raise ModelError(
            f"{checkpoint} is a file, and a model is a folder here: convert it with "
            "`parafovea import-model`, and give the folder that this writes"
        )
    return Path(checkpoint)


def with_ending(path: AnyPath, *endings: str) -> Path:
    """Return the path of a file to write, or raise `ConfigError` if it has another ending."""
    if not str(path).endswith(endings):
        raise ConfigError(
            f"{path} cannot be written: name a file that ends in {' or '.join(endings)}"
        )
    return Path(path)


def validated(model: Any, values: Mapping[str, Any]) -> Any:
    """Return settings, or raise `ConfigError` with the name and the value that is invalid."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].replace("Input should", "must").removeprefix("Value error, ")
        raise ConfigError(f"{where} = {first['input']!r}: {reason}") from error
