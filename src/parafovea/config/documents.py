"""Config files as they are read: nested keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from parafovea.errors import ConfigError


def read_document(file: Path) -> dict[str, Any]:
    """Return the content of a YAML or JSON file.

    Raises
    ------
    ConfigError
        If the file is not there, is not YAML, or holds no keys.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{file} is not there: give the path of a config file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold keys and values, such as `tasks:`")
    return content
