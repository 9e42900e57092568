import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.backbones import feature_channels, load_backbone
from parafovea.errors import ModelError
from parafovea.settings.backbones.filterbank import KINDS
from parafovea.settings.recipe import BackboneSpec

ISOTROPIC = (1.0, 1.0, 1.0)


def spec(name, **arguments):
    return BackboneSpec(name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("raw", "stride"),
        ("filterbank", "scales, kinds, stride"),
        ("dinov3", "weights, planes, stride, plane_step, tile, overlap, batch_size"),
    ],
)
def test_an_unknown_argument_is_named_with_those_allowed(name, allowed):
    with pytest.raises(ModelError) as caught:
        load_backbone(spec(name, sacles=[1]), spacing=ISOTROPIC, dimensions=3)
    assert f"backbone {name}: unknown argument 'sacles': allowed are {allowed}" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "dimensions", "parts"),
    [
        (spec("raw", stride=0), 3, ["raw", "stride 0", "greater than or equal to 1"]),
        (spec("raw", stride=[2, 2, 2]), 2, ["stride (2, 2, 2)", "1 along z"]),
        (spec("filterbank", scales=[]), 3, ["scales []", "at least 1"]),
        (spec("filterbank", scales=[2, 2.0]), 3, ["scales 2, 2 must be unique"]),
        (spec("filterbank", kinds=["edges"]), 3, ["kinds 'edges'", "structure"]),
        (spec("dinov3"), 3, ["weights", "required"]),
        (spec("dinov3", weights="a/b", planes="yz"), 3, ["planes 'yz'", "xy+xz+yz"]),
        (spec("dinov3", weights="a/b", planes="xy+xz+yz"), 2, ["3 dimensions", "use planes xy"]),
        (spec("dinov3", weights="a/b", plane_step=2), 2, ["plane_step 2 must be 1"]),
        (
            spec("dinov3", weights="a/b", plane_step=2, planes="xy+xz+yz"),
            3,
            ["plane_step 2", "remove it"],
        ),
        (spec("dinov3", weights="a/b", stride=8, tile=60), 3, ["tile 60", "multiple of stride 8"]),
        (BackboneSpec(name="filterbank", revision="main"), 3, ["revision 'main'", "remove it"]),
        (spec("raw"), 4, ["dimensions 4", "2 or 3"]),
    ],
)
def test_an_impossible_argument_is_one_readable_error(wrong, dimensions, parts):
    with pytest.raises(ModelError) as caught:
        load_backbone(wrong, spacing=ISOTROPIC, dimensions=dimensions)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@given(
    scales=st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 4.0]), min_size=1, unique=True),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    dimensions=st.sampled_from([2, 3]),
)
@settings(max_examples=30)
def test_channel_names_are_unique_and_as_many_as_announced(scales, kinds, dimensions):
    asked = spec("filterbank", scales=scales, kinds=kinds)
    backbone = load_backbone(asked, spacing=ISOTROPIC, dimensions=dimensions)
    per_scale = len(kinds) + (dimensions - 1) * ("structure" in kinds)
    assert len(set(backbone.channels)) == len(backbone.channels) == len(scales) * per_scale
    assert feature_channels(asked, dimensions=dimensions) == len(backbone.channels)


@given(
    name=st.sampled_from(["raw", "filterbank"]),
    stride=st.one_of(st.integers(1, 5), st.tuples(*[st.integers(1, 5)] * 3)),
    spacing=st.tuples(*[st.sampled_from([1.0, 2.5, 8.0, 40.0])] * 3),
)
@settings(max_examples=30)
def test_halo_and_tile_are_whole_tokens(name, stride, spacing):
    backbone = load_backbone(spec(name, stride=stride), spacing=spacing, dimensions=3)
    for halo, tile, step in zip(backbone.halo, backbone.tile, backbone.stride, strict=True):
        assert halo % step == 0
        assert tile % step == 0
        assert tile >= step


def test_planning_needs_no_torch():
    code = (
        "import sys\n"
        "from parafovea.backbones import feature_channels\n"
        "from parafovea.settings.recipe import BackboneSpec\n"
        "print(feature_channels(BackboneSpec(), dimensions=3), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["18", "False"]
