"""Sources of one file a channel: several paths in one string, without opening them.

The workflow uses this module while planning jobs, so it imports no format library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

#: Stands between the paths of a source of several files.
SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """One of the files of a source.

    Parameters
    ----------
    path : str
        A source string of its own.
    name : str
        Name of its channel, "" if its place in the list says which one it is.
    """

    path: str
    name: str = ""


def channel_files(source: str) -> tuple[ChannelFile, ...]:
    """Return the files of a source string.

    Parameters
    ----------
    source : str
        A source string as for `parafovea.formats.location.locate`, or several with `;` between
        them, in the order of the model's channels or as `NAME=path`. What exists under the whole
        name is one file.

    Returns
    -------
    tuple of ChannelFile
        In the order of the string, at least one; empty parts are those of the string.
    """
    if SEPARATOR not in source or _exists(source):
        return (ChannelFile(source),)
    return tuple(_channel_file(part.strip()) for part in source.split(SEPARATOR))


def _channel_file(part: str) -> ChannelFile:
    name, equals, path = part.partition("=")
    # folders may have an = in their name
    if not equals or "/" in name or _exists(part):
        return ChannelFile(part)
    return ChannelFile(path.strip(), name.strip())


def _exists(path: str) -> bool:
    """Return whether there is anything; many paths together are too long for one."""
    return os.path.exists(path)  # noqa: PTH110  (raises no error)


def is_several(source: str) -> bool:
    """Return whether a source string names several files."""
    return len(channel_files(source)) > 1


def paths_of(source: str) -> tuple[str, ...]:
    """Return the paths of a source string, without the names of channels."""
    return tuple(each.path for each in channel_files(source))


def with_paths(source: str, change: Callable[[str], str]) -> str:
    """Return a source string whose paths are changed, each by itself.

    Parameters
    ----------
    source : str
        As for `channel_files`.
    change : callable
        Takes and returns a path.
    """
    files = channel_files(source)
    if len(files) == 1:
        return change(source)
    return SEPARATOR.join(
        f"{each.name}={change(each.path)}" if each.name else change(each.path) for each in files
    )
