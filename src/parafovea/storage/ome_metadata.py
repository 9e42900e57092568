"""Metadata of OME-Zarr 0.5: images, label images, and groups of label images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yaozarrs import v05

from parafovea.geometry.grid import AXES, Grid

VERSION = "0.5"


@dataclass(frozen=True, slots=True)
class Shown:
    """How viewers show a channel, or a value of a label image.

    Parameters
    ----------
    name : str
        Name of the channel or class.
    colour : str
        Such as "#E69F00".
    bright : float
        Value of a channel that is as bright as can be shown; 0 is dark.
    active : bool
        Whether it is shown at first.
    """

    name: str
    colour: str
    bright: float = 1.0
    active: bool = True


def image_metadata(
    name: str,
    levels: Sequence[Grid],
    method: str | None,
    *,
    channels: bool = False,
    shown: Sequence[Shown] = (),
) -> dict[str, Any]:
    """Return the attribute `ome` of an image.

    Parameters
    ----------
    name : str
        Name of the image.
    levels : sequence of Grid
        Grids of its arrays "0", "1", …, the finest first.
    method : str or None
        How a level was made from the one before.
    channels : bool
        Whether the arrays are (channel, z, y, x).
    shown : sequence of Shown
        How viewers show the channels.
    """
    multiscale = _multiscale(name, levels, channels, method)
    omero = [
        v05.OmeroChannel(
            label=each.name,
            color=each.colour.removeprefix("#"),
            window=v05.OmeroWindow(min=0, max=1, start=0, end=each.bright),
            active=each.active,
        )
        for each in shown
    ]
    return _plain(
        v05.Image(multiscales=[multiscale], omero=v05.Omero(channels=omero) if omero else None)
    )


def label_metadata(
    name: str,
    levels: Sequence[Grid],
    method: str | None,
    *,
    shown: Sequence[Shown] = (),
    image: str | None = None,
) -> dict[str, Any]:
    """Return the attribute `ome` of a label image.

    Parameters
    ----------
    name, levels, method
        As for `image_metadata`.
    shown : sequence of Shown
        How viewers show the values from 0 on; the background, 0, is transparent. Without these,
        viewers colour by value.
    image : str, optional
        Path of the image that it belongs to, relative to its own.
    """
    source = None if image is None else v05.LabelSource(image=image)
    label = v05.LabelImage.model_validate(
        {
            "multiscales": [_multiscale(name, levels, False, method)],
            "image-label": v05.ImageLabel(version=VERSION, source=source),
        }
    )
    ome = _plain(label)
    if shown:
        # the models of the library make the values floats, which readers refuse, and drop the names
        ome["image-label"]["colors"] = [
            {"label-value": value, "rgba": [*bytes.fromhex(each.colour[1:]), 255 if value else 0]}
            for value, each in enumerate(shown)
        ]
        ome["image-label"]["properties"] = [
            {"label-value": value, "class": each.name} for value, each in enumerate(shown)
        ]
    return ome


#: Path from a label image to the image that it lies in.
WITHIN = "../../"


def labels_metadata(names: Sequence[str]) -> dict[str, Any]:
    """Return the attribute `ome` of the group of an image's label images, by their names."""
    return _plain(v05.LabelsGroup(labels=list(names)))


def _multiscale(
    name: str, levels: Sequence[Grid], channels: bool, method: str | None
) -> v05.Multiscale:
    axes: list[Any] = [v05.SpaceAxis(name=axis, unit=levels[0].unit) for axis in AXES]
    datasets = []
    for number, grid in enumerate(levels):
        scale, translation = list(grid.spacing), list(grid.origin)
        if channels:
            scale.insert(0, 1.0)
            translation.insert(0, 0.0)
        datasets.append(
            v05.Dataset(
                path=str(number),
                coordinateTransformations=[
                    v05.ScaleTransformation(scale=scale),
                    v05.TranslationTransformation(translation=translation),
                ],
            )
        )
    if channels:
        axes.insert(0, v05.ChannelAxis(name="c"))
    return v05.Multiscale(name=name, axes=axes, datasets=datasets, type=method)


def _plain(model: Any) -> dict[str, Any]:
    plain: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain
