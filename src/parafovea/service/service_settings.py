"""Settings of the service: what it predicts, where it keeps jobs, and what it lets clients do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from parafovea.errors import ConfigError

#: Environment variables of the settings: this and the name of a field in capitals.
PREFIX = "PARAFOVEA_SERVICE_"

#: Variable with keys, several with commas between them; see `parafovea.service.keys`.
KEYS_VARIABLE = f"{PREFIX}KEYS"

Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class ServiceSettings(BaseModel):
    """Settings of one service, in seconds and bytes.

    The defaults suit a workstation with a small disk. Each field is an option of `parafovea serve`
    and an environment variable, `PARAFOVEA_SERVICE_SPOOL` and so on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spool: Path = Field(Path("spool"), description="Folder of the queue and the jobs.")
    config: tuple[Path, ...] = Field((), description="Config files, as of parafovea predict.")
    task: str = Field("nodules", description="Task of uploads that name none.")
    workers: int = Field(1, ge=0, description="Worker processes; 0 for none on this machine.")
    devices: tuple[str, ...] = Field((), description="Device of each worker, in turn.")
    keys_file: Path | None = Field(None, description="File with one key a line.")
    origins: tuple[str, ...] = Field((), description="Origins of foreign pages that may call.")
    max_upload: Bytes = Field(2 * 2**30, description="Most bytes of an upload.")
    max_message: Bytes = Field(2**29, description="Most bytes of one message of a WebSocket.")
    max_streams: Count = Field(4, description="Most uploads by WebSocket at once.")
    max_unpacked: Bytes = Field(8 * 2**30, description="Most bytes of an archive, unpacked.")
    max_voxels: Count = Field(2**31, description="Most voxels of a scan, or pixels of tiles.")
    max_queued: Count = Field(1000, description="Most jobs that wait.")
    min_free: Bytes = Field(2**30, description="Bytes of the disk that stay free.")
    keep_seconds: Seconds = Field(3 * 86400.0, description="Age at which results are removed.")
    keep_bytes: Bytes = Field(10 * 2**30, description="Most bytes of all finished jobs.")
    attempts: Count = Field(3, description="Times that a job is begun before it is given up.")
    lease: Seconds = Field(60.0, description="Seconds without a heartbeat that free a job.")
    patience: Seconds = Field(30.0, description="Seconds that a client may be silent.")
    min_rate: Bytes = Field(1024, description="Bytes a second that an upload has to reach.")
    max_connections: Count = Field(512, description="Most connections at once.")

    @field_validator("config", "devices", "origins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings that environment variables state.

        Parameters
        ----------
        environment : mapping of str to str, optional
            By default that of this process. Lists have commas between their items.

        Raises
        ------
        ConfigError
            If a variable is unknown or its value invalid.
        """
        found = os.environ if environment is None else environment
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in found.items()
            if name.startswith(PREFIX) and name != KEYS_VARIABLE
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [
                f"{PREFIX}{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
            ]
            raise ConfigError("\n  ".join(["the environment is invalid:", *lines])) from error

    def environment(self) -> dict[str, str]:
        """Return the environment variables that state these settings."""
        values = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                values[f"{PREFIX}{name.upper()}"] = text
        return values
