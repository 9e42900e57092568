"""Networks of other projects in the workflow's stages equal MONAI's own sliding windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph_files import Outputs, seeded_unet, write_exported, write_onnx, write_torchscript
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from parafovea.geometry.grid import Grid
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.infer_shard import infer_shard
from parafovea.storage.provenance import record
from parafovea.storage.store import create, open_stored
from parafovea.upstream.networks.exported_program import read_exported
from parafovea.upstream.networks.importing import Imported, import_network
from parafovea.upstream.networks.onnx_file import read_onnx
from parafovea.upstream.networks.stated import Stated
from parafovea.upstream.networks.torchscript_file import read_torchscript

SHAPE = (20, 40, 36)
WINDOW = (16, 32, 32)


def voxels(*shape: int) -> NDArray[np.float32]:
    """Return multiples of 1 / 256, which float16 stores as they are."""
    return (np.random.default_rng(2).integers(0, 257, shape) / 256).astype(np.float32)


def store(path: Path, values: NDArray[np.float32], spacing: Any, unit: str, bands: Any) -> Path:
    facts = record("resample_volume", source={"path": path.name, "sha256": "5" * 64})
    grid = Grid(values.shape[-3:], spacing, unit=unit)
    with create(path, grid, dtype=np.float16, channels=bands or None, attributes=facts) as array:
        array[:] = values
    return path


def imported(path: Path, reader: Any, **stated: Any) -> Imported:
    values = {"spacing": (8, 8, 8), "unit": "nanometer", "trust": True, **stated}
    return import_network(
        path, path.with_name("model"), reader=reader, stated=Stated.model_validate(values)
    )


def predict(
    folder: Path, values: NDArray[np.float32], *, shards: int = 2, **settings: Any
) -> NDArray[np.float32]:
    """Return the prediction of the model in a folder, by its stages."""
    from parafovea.models.model_json import read_spec

    spec = read_spec(folder / "model")
    volume = store(folder / "volume.ome.zarr", values, spec.spacing, spec.unit, spec.bands)
    chosen = InferenceSettings(
        precision="float32", blending="constant", shards=shards, batch_size=2, **settings
    )
    paths = [folder / f"{number}.zarr" for number in range(1, shards + 1)]
    for number, path in enumerate(paths, start=1):
        infer_shard(volume, sums=path, model=folder / "model", shard=number, settings=chosen)
    blend_shards(paths, folder / "prediction.ome.zarr")
    found: NDArray[np.float32] = open_stored(folder / "prediction.ome.zarr").read()
    return found


def by_monai(
    network: nn.Module, values: NDArray[np.float32], window: tuple[int, ...] = WINDOW
) -> NDArray[np.float32]:
    """Return the probabilities by MONAI's own sliding windows, averaged."""

    def probabilities(images: Tensor) -> Tensor:
        return network(images).softmax(1)

    images = torch.from_numpy(values if values.ndim == 4 else values[None])[None]
    with torch.inference_mode():
        found = sliding_window_inference(
            images, window, 1, probabilities, overlap=0.5, mode="constant"
        )
    return found[0].numpy()


@pytest.mark.parametrize("form", ["onnx", "torchscript", "exported"])
def test_a_graph_of_a_unet_of_monai_equals_monais_sliding_windows(
    tmp_path: Path, form: str
) -> None:
    network, shape = seeded_unet(), (2, 1, *WINDOW)
    write, reader = {
        "onnx": (write_onnx, read_onnx),
        "torchscript": (write_torchscript, read_torchscript),
        "exported": (write_exported, read_exported),
    }[form]
    done = imported(write(tmp_path / "unet", network, shape), reader, window=WINDOW)
    assert done.spec.network.type == form
    assert done.spec.network.multiple_of == (2, 2, 2)
    values = voxels(*SHAPE)
    wanted = by_monai(network, values)
    assert wanted.std() > 0.01
    np.testing.assert_allclose(predict(tmp_path, values), wanted, rtol=0, atol=1e-5)


def test_two_channels_of_a_volume_reach_the_network_in_their_order(tmp_path: Path) -> None:
    network = seeded_unet(channels=2)
    path = write_onnx(tmp_path / "unet.onnx", network, (2, 2, *WINDOW))
    imported(path, read_onnx, window=WINDOW, bands=("T1", "T2"))
    values = voxels(2, *SHAPE)
    wanted = by_monai(network, values)
    np.testing.assert_allclose(predict(tmp_path, values), wanted, rtol=0, atol=1e-5)
    assert np.abs(wanted - by_monai(network, values[::-1].copy())).max() > 0.01


@pytest.mark.parametrize("form", ["onnx", "exported"])
def test_a_graph_of_one_window_and_batch_states_both(tmp_path: Path, form: str) -> None:
    network, shape = seeded_unet(), (2, 1, *WINDOW)
    if form == "onnx":
        done = imported(write_onnx(tmp_path / "u", network, shape, free=False), read_onnx)
    else:
        done = imported(write_exported(tmp_path / "u", network, shape, free=None), read_exported)
    spec = done.spec
    assert (spec.window, spec.network.fixed_window, spec.network.fixed_batch) == (WINDOW, True, 2)
    values = voxels(*SHAPE)
    wanted = by_monai(network, values)
    np.testing.assert_allclose(predict(tmp_path, values), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("entry", [1, "scores"])
def test_one_of_several_outputs_is_chosen_by_number_or_name(tmp_path: Path, entry: Any) -> None:
    network = seeded_unet()
    path = write_onnx(
        tmp_path / "unet.onnx", Outputs(network), (2, 1, *WINDOW), outputs=("coarse", "scores")
    )
    done = imported(path, read_onnx, window=WINDOW, entry=entry)
    assert done.notes == (
        "the outputs are coarse, scores: --entry chooses one by its name or number",
    )
    values = voxels(*SHAPE)
    np.testing.assert_allclose(
        predict(tmp_path, values), by_monai(network, values), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_an_entry_of_a_dictionary_is_chosen_by_its_key(tmp_path: Path, form: str) -> None:
    network = seeded_unet()
    write, reader = {
        "torchscript": (write_torchscript, read_torchscript),
        "exported": (write_exported, read_exported),
    }[form]
    path = write(tmp_path / "unet", Outputs(network), (2, 1, *WINDOW))
    imported(path, reader, window=WINDOW, entry="scores")
    values = voxels(*SHAPE)
    np.testing.assert_allclose(
        predict(tmp_path, values), by_monai(network, values), rtol=0, atol=1e-5
    )


def test_margin_and_stride_of_valid_convolutions_are_found(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Conv3d(2, 2, 2, stride=2))
    path = write_onnx(tmp_path / "valid.onnx", network.eval(), (2, 1, 18, 18, 18))
    done = imported(path, read_onnx, window=(18, 18, 18))
    assert (done.spec.margin, done.spec.network.stride) == ((1, 1, 1), (2, 2, 2))
    values = voxels(16, 16, 16)
    padded = np.pad(values, 1, mode="reflect")
    with torch.inference_mode():
        coarse = network(torch.from_numpy(padded)[None, None])
        fine = nn.functional.interpolate(coarse, scale_factor=2, mode="trilinear").softmax(1)
    np.testing.assert_allclose(predict(tmp_path, values), fine[0].numpy(), rtol=0, atol=1e-5)


def test_shards_do_not_change_a_bit_of_a_graph(tmp_path: Path) -> None:
    path = write_torchscript(tmp_path / "unet.pt", seeded_unet(), (2, 1, *WINDOW))
    imported(path, read_torchscript, window=WINDOW)
    values = voxels(*SHAPE)
    one, three = (predict(tmp_path, values, shards=count) for count in (1, 3))
    np.testing.assert_array_equal(one, three)
