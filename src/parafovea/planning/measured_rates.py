"""How fast a model's work is on the machine at hand: measured once, kept for later plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parafovea.chain.cost import Rates
from parafovea.errors import ConfigError
from parafovea.settings.recipe import PositiveFloat
from parafovea.storage.store import replacing


class _ModelRates(BaseModel):
    model_config = ConfigDict(extra="forbid")

    features: PositiveFloat
    context: PositiveFloat
    network: PositiveFloat


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    device: str = Field(min_length=1)
    models: dict[str, _ModelRates]


@dataclass(frozen=True)
class MeasuredRates:
    """Rates of models on one machine.

    Parameters
    ----------
    device : str
        What they were measured on, in words.
    models : mapping of str to Rates
        By model folder.
    """

    device: str
    models: Mapping[str, Rates]


def read_rates(path: Path) -> MeasuredRates | None:
    """Return the rates that `write_rates` wrote, None where there are none.

    Raises
    ------
    ConfigError
        If the file is something else.
    """
    try:
        found = _File.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} does not hold measured rates: delete it, or measure again by "
            "parafovea plan --measure"
        ) from error
    models = {name: Rates(**rates.model_dump()) for name, rates in found.models.items()}
    return MeasuredRates(found.device, models)


def write_rates(path: Path, rates: MeasuredRates) -> None:
    """Write rates as JSON, whole or not at all."""
    models = {name: asdict(each) for name, each in rates.models.items()}
    text = json.dumps({"device": rates.device, "models": models}, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
