"""File of rates measured on this machine, kept for later plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parafovea.chain.cost import Rates
from parafovea.errors import ConfigError
from parafovea.runtime.documents import json_values, read_text
from parafovea.settings.field_types import PositiveFloat
from parafovea.storage.store import replacing


class _ModelRates(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    features: PositiveFloat
    context: PositiveFloat
    network: PositiveFloat


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    device: str = Field(min_length=1)
    models: dict[str, _ModelRates]


@dataclass(frozen=True)
class MeasuredRates:
    """Rates of models on one machine.

    Parameters
    ----------
    device : str
        Description of the device.
    models : mapping of str to Rates
        Rates by model folder.
    """

    device: str
    models: Mapping[str, Rates]


def read_rates(path: Path) -> MeasuredRates | None:
    """Return the rates that `write_rates` wrote, None if there is no file.

    Raises
    ------
    ConfigError
        If the file has other content.
    """
    try:
        found = _File.model_validate(json_values(read_text(path, "measured rates"), path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(
            f"{path} does not contain measured rates: delete it, or measure again with "
            "parafovea plan --measure"
        ) from error
    models = {name: Rates(**rates.model_dump()) for name, rates in found.models.items()}
    return MeasuredRates(found.device, models)


def write_rates(path: Path, rates: MeasuredRates) -> None:
    """Write rates as JSON, atomically."""
    models = {name: asdict(each) for name, each in rates.models.items()}
    text = json.dumps({"device": rates.device, "models": models}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
