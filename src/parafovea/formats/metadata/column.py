"""The metadata column of the sample sheet: its keys, and how it is parsed."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parafovea.errors import ConfigError, MissingSourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.source import readable
from parafovea.runtime.documents import CONFIG_BYTES, json_values, read_text, yaml_values

SIDECAR_SUFFIXES = (".json", ".yaml", ".yml")

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
