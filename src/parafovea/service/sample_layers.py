"""The arrays of a sample's results as layers of a viewer, and as a command for napari."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from parafovea.errors import StoreError
from parafovea.service.neuroglancer import Layer
from parafovea.service.results_server import ResultsServer
from parafovea.storage.class_colours import BRIGHT, OKABE_ITO, class_colours, true_colours
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import Stored, open_stored


def sample_layers(results: SampleResults, server: ResultsServer) -> list[Layer]:
    """Return the layers of what there is of a sample: image, prediction, classes and objects.

    Parameters
    ----------
    results : SampleResults
        The sample's results.
    server : ResultsServer
        Server of the sample's folder.

    Raises
    ------
    StoreError
        If nothing can be shown yet, or a store is damaged or lies elsewhere.
    """
    found = {place.name: open_stored(place) for place in _stores(results) if place.is_dir()}
    if not found:
        raise StoreError(
            f"{results.folder} has neither a volume nor a prediction yet: run the workflow first "
            "(snakemake, or parafovea run --sample NAME)"
        )
    for name in found:
        place = results.folder / name
        if not place.resolve().is_relative_to(server.folder):
            raise StoreError(
                f"{place} is a link to {place.resolve()}, which is not served: move the store into "
                f"{results.folder}, or give the folder that holds it"
            )
    segmented = results.classes.name in found
    layers: list[Layer] = []
    for name, stored in found.items():
        place = results.folder / name
        labels = place in (results.classes, results.objects)
        channels = stored.channels
        layers.append(
            Layer(
                name=name.partition(".")[0].replace("volume", "image"),
                address=server.address(name, wide=stored.array.dtype == "float16"),
                grid=stored.grid,
                kind="labels" if labels else "image",
                colours=_class_colours(found, place, results)
                if labels
                else _channel_colours(
                    channels, segmented=segmented and place == results.prediction
                ),
                channels=None if channels is None else len(channels),
                range=(0.0, BRIGHT if true_colours(channels or ()) else 1.0),
                # over the image, what was decided covers less than what it was decided from
                visible=place != results.prediction or not segmented,
            )
        )
    return layers


def napari_command(results: SampleResults) -> str:
    """Return a shell command that shows a sample in napari, as one image where there is one."""
    image = results.image if results.image.is_dir() else results.volume
    shown = [place for place in (image, results.prediction) if place.is_dir()]
    return shlex.join(["napari", "--plugin", "napari-ome-zarr", *map(str, shown)])


def _stores(results: SampleResults) -> tuple[Path, ...]:
    return (results.volume, results.prediction, results.classes, results.objects)


def _channel_colours(
    channels: Sequence[str] | None, *, segmented: bool
) -> tuple[tuple[int, str], ...]:
    """Return the colours of an image's channels; the background of probabilities has none."""
    if channels is None:
        return ()
    if natural := true_colours(channels):
        return tuple((channels.index(band), colour) for band, colour in natural.items())
    if segmented:
        return tuple(enumerate(class_colours(len(channels))))[1:]
    return tuple((index, OKABE_ITO[index % len(OKABE_ITO)]) for index in range(len(channels)))


def _class_colours(
    found: dict[str, Stored], place: Path, results: SampleResults
) -> tuple[tuple[int, str], ...]:
    """Return the colours of classes, as in the reports; objects have none of their own."""
    if place != results.classes:
        return ()
    names = found[place.name].attributes.get("classes", ())
    return tuple(enumerate(class_colours(len(names))))[1:]
