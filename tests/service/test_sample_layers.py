"""What of a sample is shown in viewers, by what there is of it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parafovea.errors import StoreError
from parafovea.geometry.grid import Grid
from parafovea.service.results_server import ResultsServer
from parafovea.service.sample_layers import napari_command, sample_layers
from parafovea.storage.class_colours import OKABE_ITO
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import create

GRID = Grid((2, 3, 4), (1, 1, 1))
NAMES = ("background", "nucleus", "membrane")


@pytest.fixture
def results(tmp_path: Path) -> SampleResults:
    return SampleResults(tmp_path / "results" / "a b")


@pytest.fixture
def server(results: SampleResults) -> Iterator[ResultsServer]:
    results.folder.mkdir(parents=True)
    with ResultsServer(results.folder) as server:
        yield server


def stored(path: Path, dtype: str = "f2", channels: tuple[str, ...] | None = None) -> None:
    with create(
        path, GRID, dtype=np.dtype(dtype), channels=channels, attributes={"classes": NAMES}
    ):
        pass


def test_the_channels_of_a_volume_have_colours_of_their_own_beside_classes(results, server) -> None:
    stored(results.volume, channels=("T1", "FLAIR"))
    stored(results.prediction, channels=NAMES)
    stored(results.classes, "u1")
    image, prediction, _ = sample_layers(results, server)
    assert image.colours == ((0, OKABE_ITO[0]), (1, OKABE_ITO[1]))
    # the background of a prediction has no colour
    assert [channel for channel, _ in prediction.colours] == [1, 2]


def test_a_segmentation_shows_its_image_and_labels_and_holds_the_prediction_ready(
    results, server
) -> None:
    stored(results.volume)
    stored(results.prediction, channels=NAMES)
    stored(results.classes, "u1")
    stored(results.objects, "u4")
    layers = sample_layers(results, server)
    assert [(each.name, each.kind, each.visible) for each in layers] == [
        ("image", "image", True),
        ("prediction", "image", False),
        ("classes", "labels", True),
        ("objects", "labels", True),
    ]
    port = server.server_port
    assert layers[0].address == f"http://127.0.0.1:{port}/float32/a%20b/volume.ome.zarr"
    assert layers[2].address == f"http://127.0.0.1:{port}/results/a%20b/classes.ome.zarr"
    colours = ((1, OKABE_ITO[0]), (2, OKABE_ITO[1]))
    assert layers[1].colours == layers[2].colours == colours
    assert layers[3].colours == ()


def test_a_detection_shows_its_heatmap(results, server) -> None:
    stored(results.volume)
    stored(results.prediction, channels=("nodule",))
    image, heatmap = sample_layers(results, server)
    assert (image.colours, image.channels) == ((), None)
    assert (heatmap.visible, heatmap.colours) == (True, ((0, OKABE_ITO[0]),))


def test_bands_are_shown_in_their_colours(results, server) -> None:
    bands = ("B02", "B03", "B04", "B08")
    stored(results.volume, "f4", bands)
    stored(results.prediction, "f4", bands)
    for layer in sample_layers(results, server):
        assert layer.colours == ((2, "#FF0000"), (1, "#00FF00"), (0, "#0000FF"))
        assert layer.range == (0, 0.3)
        assert "/results/" in layer.address


def test_what_is_there_is_shown_while_the_rest_is_computed(results, server) -> None:
    stored(results.volume)
    assert [each.name for each in sample_layers(results, server)] == ["image"]


def test_nothing_to_show_is_said(results, server) -> None:
    with pytest.raises(StoreError, match="neither a volume nor a prediction yet: run the workflow"):
        sample_layers(results, server)


def test_a_damaged_store_is_named(results, server) -> None:
    stored(results.volume)
    shutil.rmtree(results.volume / "0")
    with pytest.raises(StoreError, match=r"volume\.ome\.zarr is not a complete result"):
        sample_layers(results, server)


def test_a_store_that_lies_elsewhere_is_named(results, server, tmp_path) -> None:
    stored(tmp_path / "large" / "volume.ome.zarr")
    results.volume.symlink_to(tmp_path / "large" / "volume.ome.zarr")
    with pytest.raises(StoreError, match=r"is a link to .* which is not served"):
        sample_layers(results, server)


def test_napari_opens_one_image_and_the_prediction(results, server) -> None:
    stored(results.volume)
    stored(results.prediction, channels=NAMES)
    paths = [str(results.volume), str(results.prediction)]
    command = ["napari", "--plugin", "napari-ome-zarr"]
    assert shlex.split(napari_command(results)) == [*command, *paths]
    stored(results.image)
    paths[0] = str(results.image)
    assert shlex.split(napari_command(results)) == [*command, *paths]
