"""Metadata of OME-Zarr 0.5: images, label images, and groups of label images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yaozarrs import v05

from parafovea.geometry.grid import AXES, Grid
from parafovea.storage.class_colours import (
    BRIGHT,
    OKABE_ITO,
    class_colours,
    red_green_blue,
    true_colours,
)

VERSION = "0.5"


def image_metadata(
    name: str, levels: Sequence[Grid], channels: Sequence[str] | None, method: str | None
) -> dict[str, Any]:
    """Return the attribute `ome` of an image.

    Parameters
    ----------
    name : str
        Name of the image.
    levels : sequence of Grid
        Grids of its arrays "0", "1", …, the finest first.
    channels : sequence of str or None
        Names of the channels, if the arrays are (channel, z, y, x). Those of a pyramid, which is
        for viewers, are described with colours.
    method : str or None
        How a level was made from the one before.
    """
    return _plain(
        v05.Image(
            multiscales=[_multiscale(name, levels, channels is not None, method)],
            omero=None if channels is None or method is None else _shown(channels),
        )
    )


def _shown(channels: Sequence[str]) -> v05.Omero:
    """Return how viewers show channels of values from 0 to 1: with names, each in its colour."""
    natural = true_colours(channels)
    colours = class_colours(len(channels)) if len(channels) > 1 else OKABE_ITO[:1]
    window = v05.OmeroWindow(min=0, max=1, start=0, end=BRIGHT if natural else 1)
    return v05.Omero(
        channels=[
            v05.OmeroChannel(
                label=name,
                color=natural.get(name, colour).removeprefix("#"),
                window=window,
                active=name in natural or not natural,
            )
            for name, colour in zip(channels, colours, strict=True)
        ]
    )


def label_metadata(
    name: str,
    levels: Sequence[Grid],
    method: str | None,
    classes: Sequence[str] = (),
    *,
    image: str | None = None,
) -> dict[str, Any]:
    """Return the attribute `ome` of a label image.

    Parameters
    ----------
    name, levels, method
        As for `image_metadata`.
    classes : sequence of str
        Names of the values from 0 on, which get the colours of the reports; the background is
        transparent. Without names, viewers colour by value.
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
    if classes:
        # the models of the library make the values floats, which readers refuse, and drop the names
        ome["image-label"]["colors"] = [
            {"label-value": value, "rgba": [*red_green_blue(colour), 255 if value else 0]}
            for value, colour in enumerate(class_colours(len(classes)))
        ]
        ome["image-label"]["properties"] = [
            {"label-value": value, "class": each} for value, each in enumerate(classes)
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
