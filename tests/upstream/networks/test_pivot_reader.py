"""Checkpoints of PIVOT: an independent statement of the network, heads as outputs, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.models.loading import load_network
from parafovea.upstream.networks.importing import Imported, import_network
from parafovea.upstream.networks.pivot import read_pivot
from parafovea.upstream.networks.stated import Stated

ENCODER = "backbone.encoders.1.conv.double_conv"
HEADS = {"segmentation": 1, "center": 1, "size": 3, "triage": 2}


def weights(depth: int = 2, features: int = 4, *, deepest_first: bool = True) -> dict[str, Tensor]:
    """Return random weights under the names of PIVOT."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def draw(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator) / 4

    def double(name: str, taken: int, given: int) -> None:
        for number, channels in ((0, taken), (3, given)):
            draw(f"{name}.double_conv.{number}.weight", given, channels, 3, 3, 3)
            norm = f"{name}.double_conv.{number + 1}"
            for part in ("weight", "bias", "running_mean"):
                draw(f"{norm}.{part}", given)
            state[f"{norm}.running_var"] = torch.rand(given, generator=generator) + 0.5
            state[f"{norm}.num_batches_tracked"] = torch.tensor(9)

    widths = [features * 2**n for n in range(depth + 1)]
    for level in range(depth):
        double(f"backbone.encoders.{level}.conv", [1, *widths][level], widths[level])
    double("backbone.bottleneck.conv", widths[-2], widths[-1])
    for level in range(depth):
        place = depth - 1 - level if deepest_first else level
        name, width = f"backbone.decoders.{place}", widths[level]
        draw(f"{name}.upsample.weight", widths[level + 1], width, 2, 2, 2)
        draw(f"{name}.upsample.bias", width)
        double(f"{name}.conv", 2 * width, width)
    draw("backbone.output_conv.weight", 6, features, 1, 1, 1)
    draw("backbone.output_conv.bias", 6)
    for name, channels in HEADS.items():
        draw(f"{name}_head.conv.weight", channels, 6, 1, 1, 1)
        draw(f"{name}_head.conv.bias", channels)
    return state


def expected(state: dict[str, Tensor], images: Tensor, head: str, depth: int = 2) -> Tensor:
    """Return a head's output, by functions alone."""

    def double(name: str, x: Tensor) -> Tensor:
        for number in (0, 3):
            x = F.conv3d(x, state[f"{name}.double_conv.{number}.weight"], padding=1)
            part = f"{name}.double_conv.{number + 1}"
            x = F.batch_norm(
                x, state[f"{part}.running_mean"], state[f"{part}.running_var"],
                state[f"{part}.weight"], state[f"{part}.bias"],
            ).relu()  # fmt: skip
        return x

    x, skips = images, []
    for level in range(depth):
        x = double(f"backbone.encoders.{level}.conv", x)
        skips.append(x)
        x = F.max_pool3d(x, 2)
    x = double("backbone.bottleneck.conv", x)
    for level in range(depth):
        name = f"backbone.decoders.{level}"
        up = F.conv_transpose3d(
            x, state[f"{name}.upsample.weight"], state[f"{name}.upsample.bias"], stride=2
        )
        x = double(f"{name}.conv", torch.cat([skips.pop(), up], dim=1))
    x = F.conv3d(x, state["backbone.output_conv.weight"], state["backbone.output_conv.bias"])
    return F.conv3d(x, state[f"{head}_head.conv.weight"], state[f"{head}_head.conv.bias"])


def write(path: Path, state: dict[str, Tensor], **more: Any) -> Path:
    """Write a checkpoint as Lightning does."""
    torch.save(
        {
            "state_dict": {f"model.{name}": value for name, value in state.items()},
            "hyper_parameters": {"model_depth": 2, "init_features": 4},
            "pytorch-lightning_version": "2.5.0",
            **more,
        },
        path,
    )
    return path


def imported(path: Path, **stated: Any) -> Imported:
    options = Stated.model_validate({"window": (8, 8, 8), "fixed_window": False, **stated})
    return import_network(path, path.parent / "model", reader=read_pivot, stated=options)


def scores(folder: Path, images: Tensor) -> Tensor:
    _, network = load_network(folder / "model")
    run = network.runner(torch.device("cpu"), torch.float32, "torch")  # type: ignore[union-attr]
    with torch.inference_mode():
        return network.selected(run(images))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("stated", "head"),
    [({}, "center"), ({"kind": "segmentation"}, "segmentation"), ({"entry": "triage"}, "triage")],
)
def test_a_head_is_the_output_of_the_task(tmp_path, stated, head):
    state = weights()
    done = imported(write(tmp_path / "best.ckpt", state), **stated)
    images = torch.rand(1, 1, 8, 12, 16)
    torch.testing.assert_close(scores(tmp_path, images), expected(state, images, head))
    spec = done.spec
    assert (spec.network.type, spec.network.entry) == ("pivot", head)
    assert (spec.unit, spec.spacing) == ("millimeter", (1, 1, 1))
    assert (spec.normalization.low, spec.normalization.high) == (-1000, 400)
    assert spec.network.multiple_of == (4, 4, 4)
    if head == "center":
        assert (spec.kind, spec.classes) == ("detection", ("nodule",))
    if head == "segmentation":
        assert (spec.classes, spec.network.complement) == (("background", "nodule"), True)


def test_decoders_may_begin_with_the_shallowest(tmp_path):
    imported(write(tmp_path / "best.ckpt", weights(deepest_first=False)))
    images = torch.rand(1, 1, 8, 8, 8)
    wanted = expected(weights(), images, "center")
    torch.testing.assert_close(scores(tmp_path, images), wanted)


def test_a_command_knows_a_checkpoint_by_its_layers(tmp_path):
    path = write(tmp_path / "best.ckpt", weights())
    command = ["import-model", str(path), "-o", str(tmp_path / "own"), "--window", "8", "8", "8"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "the output is the head center, of segmentation, center, size, triage" in text


def changed(**changes: Any) -> dict[str, Tensor]:
    """Return weights with changes by name, of which None removes."""
    state = weights() | changes
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(**{"backbone.output_conv.weight": None}), "no network of PIVOT .*output_conv"),
        (
            changed(**{f"{ENCODER}.0.weight": torch.zeros(8, 5, 3, 3, 3)}),
            r"layer backbone.encoders.1.* \(8, 5, 3, 3, 3\), but must have \(8, 4, 3, 3, 3\)",
        ),
        (
            changed(**{"center_head.conv.bias": torch.tensor([torch.nan])}),
            "1 of 1 values of layer center_head.conv.bias are NaN or infinite",
        ),
        (changed(**{"more.weight": torch.zeros(1)}), r"1 layers are unexpected \(more.weight\)"),
        ({f"{name}_head.conv.weight": torch.zeros(1) for name in HEADS}, "no network of PIVOT"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused(tmp_path, state, message):
    with pytest.raises(ModelError, match=message):
        imported(write(tmp_path / "best.ckpt", state))
    assert not (tmp_path / "model").exists()


def test_statements_of_the_checkpoint_and_of_options_are_held_against_the_weights(tmp_path):
    path = write(tmp_path / "best.ckpt", weights(), hyper_parameters={"init_features": 32})
    with pytest.raises(ModelError, match="states init_features 32, but its weights have 4"):
        imported(path)
    path = write(tmp_path / "best.ckpt", weights())
    with pytest.raises(ModelError, match="has no head 'heatmap': it has segmentation, center"):
        imported(path, entry="heatmap")
    with pytest.raises(ModelError, match="choose another output"):
        imported(path, entry="size")


def test_a_module_in_a_checkpoint_is_refused(tmp_path):
    path = write(tmp_path / "best.ckpt", weights(), model=nn.Linear(1, 1))
    with pytest.raises(ModelError, match="nothing was executed"):
        imported(path)
