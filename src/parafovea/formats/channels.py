"""Volumes of several channels: along an axis of one file, or one file a channel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from parafovea.errors import ConfigError, SourceError, shown
from parafovea.formats.bands import canonical
from parafovea.formats.channel_files import ChannelFile, channel_files
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.source import Source
from parafovea.geometry.grid import Grid, Vector

logger = logging.getLogger(__name__)

#: Tolerated distance between the voxels of two files, in voxels: positions were rounded when they
#: were stored, those of an orientation by a quaternion.
_APART, _TURNED = 0.01, 0.1


@dataclass(frozen=True)
class Channel:
    """One channel of a volume.

    Parameters
    ----------
    name : str
        Its name, as the model calls it.
    source : Source
        Its voxels, on the grid that all channels of the volume share.
    metadata : SourceMetadata
        What its file was opened with.
    """

    name: str
    source: Source
    metadata: SourceMetadata


def open_channels(
    path: str,
    names: Sequence[str],
    *,
    metadata: SourceMetadata | None = None,
    finer_than: Vector | None = None,
    unit: str | None = None,
) -> tuple[Channel, ...]:
    """Open the channels of a volume, without reading their voxels.

    Parameters
    ----------
    path : str
        One source with an axis of channels, or one source a channel; see `channel_files`.
    names : sequence of str
        Names of the model's channels.
    metadata : SourceMetadata, optional
        User metadata of every file; its `bands` names the channels of a single one.
    finer_than, unit
        As for `open_source`.

    Returns
    -------
    tuple of Channel
        In the order of `names`. Those of one file are found by the user's or the file's names for
        them where all are there, and otherwise by their order if there are as many.

    Raises
    ------
    ConfigError
        If a `channel` is chosen.
    SourceError
        If a source cannot be read, a channel is missing, or the grids of two files differ.
    """
    said = SourceMetadata() if metadata is None else metadata
    files = _files(path, names, said)
    first = said.model_copy(update={"channel": 0})
    if len(files) > 1:
        found = []
        for name, file in zip(names, files, strict=True):
            source = open_source(file.path, metadata=first, finer_than=finer_than, unit=unit)
            if len(source.channel_names) > 1:
                raise SourceError(
                    f"{file.path} has {len(source.channel_names)} channels, but is named as the "
                    f"file of the channel {name} alone: give files of one channel each"
                )
            found.append(Channel(name, source, first))
        for other in found[1:]:
            _check_same_place(found[0].source, other.source)
        return tuple(found)

    def opened(metadata: SourceMetadata) -> Source:
        return open_source(
            files[0].path, metadata=metadata, finer_than=finer_than, unit=unit, channels=True
        )

    source = opened(first)
    indices = _indices(path, names, source.channel_names, said.tiles.bands)
    found = []
    for name, index in zip(names, indices, strict=True):
        own = said.model_copy(update={"channel": index})
        found.append(Channel(name, source if index == 0 else opened(own), own))
    return tuple(found)


def open_input(
    path: str,
    *,
    bands: Sequence[str] = (),
    channels: Sequence[str] = (),
    metadata: SourceMetadata | None = None,
    finer_than: Vector | None = None,
    unit: str | None = None,
) -> tuple[Channel, ...]:
    """Open what a model takes: an image with bands, a volume, or the channels of one.

    Parameters
    ----------
    path, metadata, finer_than, unit
        As for `open_channels`.
    bands : sequence of str
        Names of the bands that are read from an image; empty for a volume.
    channels : sequence of str
        Names of the channels of a volume; empty for one unnamed channel.

    Returns
    -------
    tuple of Channel
        As `open_channels`; of an image or a volume of one channel, one without a name.
    """
    if channels:
        return open_channels(path, channels, metadata=metadata, finer_than=finer_than, unit=unit)
    said = SourceMetadata() if metadata is None else metadata
    source = open_source(path, metadata=said, finer_than=finer_than, unit=unit, bands=tuple(bands))
    return (Channel("", source, said),)


def input_grid(
    path: str,
    *,
    bands: Sequence[str] = (),
    channels: Sequence[str] = (),
    metadata: SourceMetadata | None = None,
    finer_than: Vector | None = None,
    unit: str | None = None,
    known: Callable[[str], Grid | None] = lambda path: None,
) -> Grid:
    """Return the grid of what a model takes, reading as little as possible.

    Parameters
    ----------
    path, bands, channels, metadata, finer_than, unit
        As for `open_input`.
    known : callable
        Takes the path of a file, and returns its grid if it is known without it.

    Raises
    ------
    SourceError
        As `open_input`, for problems that the headers of the grids reveal.
    """
    said = SourceMetadata() if metadata is None else metadata
    files: Sequence[ChannelFile] = (ChannelFile(path),)
    if channels:
        files = _files(path, channels, said)
        said = said.model_copy(update={"channel": 0})
    grids = [
        known(file.path)
        or source_grid(
            file.path, metadata=said, finer_than=finer_than, unit=unit, bands=tuple(bands)
        )
        for file in files
    ]
    for file, grid in zip(files[1:], grids[1:], strict=True):
        require_same_grid(files[0].path, grids[0], file.path, grid)
    return grids[0]


def _files(path: str, names: Sequence[str], said: SourceMetadata) -> tuple[ChannelFile, ...]:
    """Return the file of each channel, in the order of their names, or one file of all."""
    if said.channel is not None:
        raise ConfigError(
            f"{path}: channel={said.channel} chooses one channel, but the model takes "
            f"{', '.join(names)}: remove it"
        )
    files = channel_files(path)
    wanted = f"the model takes {len(names)} channels ({', '.join(names)})"
    if len(files) == 1:
        return files
    if said.tiles.bands is not None:
        raise ConfigError(
            f"{path} names a file for each channel, so bands={','.join(said.tiles.bands)} has no "
            "meaning: write NAME=path;NAME=path instead"
        )
    empty = [n for n, file in enumerate(files, start=1) if not file.path]
    if empty:
        raise SourceError(f"{path}: file {empty[0]} of {len(files)} is empty: remove a `;`")
    if len(files) != len(names):
        raise SourceError(
            f"{path} names {len(files)} files, but {wanted}: name one file a channel, in this order"
        )
    if not any(file.name for file in files):
        return files
    named = [canonical(file.name) for file in files]
    if sorted(named) != sorted(map(canonical, names)):
        stated = ", ".join(file.name or "a file without a name" for file in files)
        raise SourceError(
            f"{path} names files for {stated}, but {wanted}: name one file for each of these"
        )
    return tuple(files[named.index(canonical(name))] for name in names)


def _indices(
    path: str, names: Sequence[str], own: Sequence[str], given: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the index of each of the model's channels in a file.

    Parameters
    ----------
    path : str
        For messages.
    names : sequence of str
        Of the model's channels.
    own : sequence of str
        Of the file's channels, "" for one without a name.
    given : sequence of str, optional
        The user's names for all of them.
    """
    count = f"{len(own)} channel{'' if len(own) == 1 else 's'}"
    if given is not None and len(given) != len(own):
        raise SourceError(
            f"{path} has {count}, but bands={','.join(given)} names {len(given)}: name all "
            "channels of the file, in its order"
        )
    there = [canonical(name) for name in (own if given is None else given)]
    wanted = [canonical(name) for name in names]
    if all(there.count(name) == 1 for name in wanted) and len({*wanted}) == len(wanted):
        return tuple(there.index(name) for name in wanted)
    if given is None and len(own) == len(names):
        # a name that both have, but at another place, contradicts the order
        misplaced = any(a in wanted and a != b for a, b in zip(there, wanted, strict=True))
        if not misplaced:
            if any(a and a != b for a, b in zip(there, wanted, strict=True)):
                logger.warning(
                    "%s names its channels %s, which are taken by their order as %s",
                    path,
                    shown(", ".join(own)),
                    ", ".join(names),
                )
            return tuple(range(len(own)))
    listed = shown(", ".join(name or "?" for name in (own if given is None else given)))
    raise SourceError(
        f"{path} has {count} ({listed}), but the model takes {len(names)} ({', '.join(names)}): "
        "name the channels of the file, all of them in its order, with bands= in the metadata "
        f"column of its line in the sample sheet, such as bands={','.join(names)}, or give one "
        "file a channel with ; between the paths"
    )


def require_same_grid(path: str, grid: Grid, other: str, there: Grid) -> None:
    """Raise `SourceError` if the grids of two files differ; says in what.

    Parameters
    ----------
    path, other : str
        The files.
    grid, there : Grid
        Their grids, in any unit.
    """
    same = there.converted(grid.unit)
    pairs = zip(grid.spacing, same.spacing, grid.shape, strict=True)
    room = [_APART * step for step in grid.spacing]
    found = ""
    if grid.shape != same.shape:
        found = f"{_numbers(grid.shape)} and {_numbers(same.shape)} voxels"
    elif any(abs(a - b) * n > _APART * a for a, b, n in pairs):
        found = f"voxels of {_numbers(grid.spacing)} and of {_numbers(same.spacing)} {grid.unit}"
    elif any(abs(a - b) > r for a, b, r in zip(grid.origin, same.origin, room, strict=True)):
        found = f"the origins {_numbers(grid.origin)} and {_numbers(same.origin)} {grid.unit}"
    if found:
        raise SourceError(
            f"{path} and {other} are channels of one volume, but have {found} (z, y, x): resample "
            "one of them to the grid of the other"
        )


def _check_same_place(first: Source, other: Source) -> None:
    """Raise `SourceError` if two files do not lie on one grid, in one orientation."""
    require_same_grid(first.path, first.grid, other.path, other.grid)
    both = f"{first.path} and {other.path} are channels of one volume, but"
    if (first.affine is None) != (other.affine is None):
        silent = first if first.affine is None else other
        raise SourceError(
            f"{both} {silent.path} states no position in the patient: write it again in the format "
            "of the other"
        )
    if first.affine is None or other.affine is None:
        return
    z, y, x = (n - 1 for n in first.grid.shape)
    corners = np.array([(i * x, j * y, k * z, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    one, two = (np.asarray(source.affine, float) for source in (first, other))
    apart = np.linalg.norm((corners @ (one - two).T)[:, :3], axis=1).max()
    if apart > _TURNED * np.linalg.norm(one[:3, :3], axis=0).min():
        turned = not np.allclose(_directions(one), _directions(two), atol=1e-3)
        raise SourceError(
            f"{both} lie up to {apart:.4g} mm apart in the patient by their "
            f"{'orientations' if turned else 'origins'} ({_rows(one)} and {_rows(two)}, from x, y, "
            "z to RAS millimetres): resample one of them to the grid of the other"
        )


def _directions(affine: np.ndarray) -> np.ndarray:
    steps = affine[:3, :3]
    return np.asarray(steps / np.linalg.norm(steps, axis=0))


def _rows(affine: np.ndarray) -> str:
    rows = (" ".join(f"{value:.6g}" for value in row) for row in affine[:3])
    return f"[{'; '.join(rows)}]"


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
