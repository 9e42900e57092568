"""The blended prediction is the weighted mean over windows, of shards that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box
from parafovea.geometry.resample import resample_box
from parafovea.geometry.windows import Layout
from parafovea.inference.blending import WEIGHT_BITS, fixed_weights, importance_map
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.folder import load_model
from parafovea.runtime import devices
from parafovea.settings.inference import InferenceSettings
from parafovea.stages.blend_shards import blend_shards, summed_weights
from parafovea.storage import blocks as storage_blocks
from parafovea.storage.blocks import output_block
from parafovea.storage.store import Stored, open_stored

SHAPE = (16, 40, 56)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelInputs, Path]:
    folder = tmp_path_factory.mktemp("sample")
    recipe = tiny_recipe()
    return tiny_inputs(folder, SHAPE, recipe), tiny_model(folder / "model", recipe)


def shards_of(
    folder: Path, sample: tuple[ModelInputs, Path], numbers: tuple[int, ...] = (1,), **chosen: Any
) -> list[Path]:
    inference = InferenceSettings(**{"precision": "float32", "window": None, **chosen})
    paths = [folder / f"{number}.zarr" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        infer(*sample, path, shard=number, settings=inference)
    return paths


@pytest.mark.parametrize(
    ("mode", "overlap"), [("gaussian", 0.5), ("bump", 0.25), ("linear", 0.3), ("constant", 0.0)]
)
def test_the_prediction_is_the_weighted_mean_of_all_windows(
    tmp_path: Path, sample: tuple[ModelInputs, Path], mode: Any, overlap: float
) -> None:
    paths = shards_of(tmp_path, sample, blending=mode, overlap=overlap)
    blend_shards(paths, tmp_path / "prediction.ome.zarr")
    found = open_stored(tmp_path / "prediction.ome.zarr")
    spec, network = load_model(sample[1])
    inputs = SampleInputs(sample[0], spec)
    predictor = Predictor(network, device=torch.device("cpu"), dtype=torch.float32)
    weights = importance_map(mode, spec.window)
    sums, total = np.zeros((3, *SHAPE)), np.zeros(SHAPE)
    for box in Layout.regular(SHAPE, spec.window, overlap=overlap).windows():
        probabilities = predictor(inputs.read(box), [box])[0].astype(np.float64)
        inside = box.intersection(Box.whole(SHAPE))
        part = inside.relative_to(box.start).slices
        sums[(slice(None), *inside.slices)] += (probabilities * weights)[(slice(None), *part)]
        total[inside.slices] += weights[part]
    # Probabilities are summed in steps of 2**-18, so they are off by half of one at most.
    np.testing.assert_allclose(found.read(), sums / total, atol=2.0**-19 + 1e-6)
    blending = found.attributes["blending"]
    assert blending["uncovered_voxels"] == 0
    assert blending["minimum_weight"] == pytest.approx(total.min(), rel=1e-4)


def test_the_prediction_lies_where_the_volume_does_and_says_what_made_it(
    tmp_path: Path, sample: tuple[ModelInputs, Path]
) -> None:
    blend_shards(shards_of(tmp_path, sample), tmp_path / "p.zarr")
    found = open_stored(tmp_path / "p.zarr")
    assert found.grid == open_stored(sample[0].volume).grid
    assert found.channels == ("background", "dark", "bright")
    assert found.array.dtype == np.float32
    assert found.attributes["stage"] == "blend_shards"
    assert found.attributes["model"]["name"] == "tiny"
    assert found.attributes["source"]["sha256"] == "5" * 64
    assert found.attributes["blending"]["mode"] == "gaussian"


def test_half_precision_predictions_are_stored_in_half_the_space(
    tmp_path: Path, sample: tuple[ModelInputs, Path]
) -> None:
    blend_shards(shards_of(tmp_path, sample, precision="bfloat16"), tmp_path / "p.zarr")
    assert open_stored(tmp_path / "p.zarr").array.dtype == np.float16


@settings(max_examples=30)
@given(
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.floats(0, 0.9),
    st.sampled_from(["gaussian", "gaussian_radial", "bump", "bump_wu", "linear", "constant"]),
)
def test_no_voxel_is_uncovered_for_any_shape_window_and_overlap(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, mode: Any
) -> None:
    layout = Layout.regular(shape, window, overlap=overlap)
    weights = fixed_weights(importance_map(mode, window))
    total = summed_weights(layout, weights, Box.whole(shape))
    assert total.min() >= weights.min() >= 1
    part = Box((0, 0, 0), shape).intersection(Box((1, 2, 0), (9, 20, 5)))
    if part.size:
        np.testing.assert_array_equal(summed_weights(layout, weights, part), total[part.slices])


def test_the_weight_of_a_voxel_in_one_window_is_that_of_the_map() -> None:
    layout = Layout.regular((8, 8, 8), (8, 8, 8), overlap=0.5)
    weights = importance_map("bump", (8, 8, 8))
    total = summed_weights(layout, fixed_weights(weights), Box.whole((8, 8, 8)))
    np.testing.assert_allclose(total / 2.0**WEIGHT_BITS, weights, rtol=1e-4)


def refused(paths: list[Path], output: Path, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        blend_shards(paths, output)
    assert not output.exists()


def test_a_missing_shard_is_refused(tmp_path: Path, sample: tuple[ModelInputs, Path]) -> None:
    paths = shards_of(tmp_path, sample, (1, 2), shards=3)
    refused(
        paths,
        tmp_path / "p.zarr",
        r"of \d+ windows, \d+ are missing and \d+ repeated: delete .*run infer_shard again",
    )
    refused([*paths, tmp_path / "3.zarr"], tmp_path / "p.zarr", "3.zarr is not a complete result")


def test_a_shard_given_twice_in_anothers_place_is_refused(
    tmp_path: Path, sample: tuple[ModelInputs, Path]
) -> None:
    first, second = shards_of(tmp_path, sample, (1, 2), shards=3)
    # All three hold as many windows, so that counting them does not tell.
    parts = [Box(*map(tuple, open_stored(p).attributes["part"])) for p in (first, second)]
    assert [part.size for part in parts] == [2, 2]
    refused([first, second, second], tmp_path / "p.zarr", "infer_shard again")


@pytest.mark.parametrize(
    ("other", "key"),
    [({"overlap": 0.25}, "layout"), ({"blending": "bump"}, "inference")],
)
def test_shards_of_other_settings_are_refused(
    tmp_path: Path, sample: tuple[ModelInputs, Path], other: dict[str, Any], key: str
) -> None:
    (first,) = shards_of(tmp_path / "a", sample, (1,), shards=2)
    (second,) = shards_of(tmp_path / "b", sample, (2,), shards=2, **other)
    refused([first, second], tmp_path / "p.zarr", f"with different {key}: delete both")


def test_shards_of_another_model_are_refused(
    tmp_path: Path, sample: tuple[ModelInputs, Path]
) -> None:
    (first,) = shards_of(tmp_path / "a", sample, (1,), shards=2)
    model = tiny_model(tmp_path / "model", tiny_recipe(), name="second")
    (second,) = shards_of(tmp_path / "b", (sample[0], model), (2,), shards=2)
    refused([first, second], tmp_path / "p.zarr", "with different model: delete both")


def test_shards_computed_in_different_precisions_are_refused(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What "auto" means depends on the machine: shards of two kinds of machine do not mix.
    shards: list[Path] = []
    for number, native in ((1, True), (2, False)):
        monkeypatch.setattr(devices, "computes_bfloat16", lambda device, native=native: native)
        shards += shards_of(tmp_path, sample, (number,), shards=2, precision="auto")
    refused(shards, tmp_path / "p.zarr", "with different precision: delete both")


def blended(folder: Path, shards: list[Path], **chosen: Any) -> Stored:
    blend_shards(shards, folder / "p.zarr", **chosen)
    return open_stored(folder / "p.zarr")


@pytest.mark.parametrize("scale", [(2.0, 2.0, 2.0), (0.5, 0.5, 0.5), (1.0, 0.25, 1.5)])
def test_a_scaled_prediction_keeps_its_faces_and_is_the_plain_one_resampled(
    tmp_path: Path, sample: tuple[ModelInputs, Path], scale: tuple[float, float, float]
) -> None:
    shards = shards_of(tmp_path, sample)
    plain = blended(tmp_path / "plain", shards)
    found = blended(tmp_path / "scaled", shards, output_scale=scale)
    spacing = tuple(8 / s for s in scale)
    assert found.grid.spacing == pytest.approx(spacing)
    assert found.grid.shape == tuple(round(n * s) for n, s in zip(SHAPE, scale, strict=True))
    for far in ((-0.5, -0.5, -0.5), tuple(n - 0.5 for n in SHAPE)):
        there = tuple((c + 0.5) * s - 0.5 for c, s in zip(far, scale, strict=True))
        assert found.grid.world(there) == pytest.approx(plain.grid.world(far))
    values = plain.read()
    wanted = [
        resample_box(lambda b, v=v: v[b.slices], plain.grid, found.grid, found.grid.box)
        for v in values
    ]
    np.testing.assert_allclose(found.read(), np.stack(wanted), atol=1e-6)
    np.testing.assert_allclose(found.read().sum(axis=0), 1, atol=1e-5)
    facts = found.attributes["blending"]
    assert facts["output_scale"] == list(scale)
    assert facts["minimum_weight"] == plain.attributes["blending"]["minimum_weight"]


def test_a_scaled_prediction_does_not_depend_on_its_blocks_nor_on_shards(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = (2.0, 0.5, 0.5)
    one = blended(tmp_path / "one", shards_of(tmp_path / "a", sample), output_scale=scale).read()
    monkeypatch.setattr(storage_blocks, "PREDICTION_SHARD", (8, 16, 16))
    three = shards_of(tmp_path / "b", sample, (1, 2, 3), shards=3)
    many = blended(tmp_path / "many", three, output_scale=scale).read()
    np.testing.assert_allclose(one, many, atol=1e-6)


@given(st.tuples(*[st.floats(1 / 16, 16)] * 3))
def test_blocks_of_a_scaled_prediction_hold_no_more_of_the_volume_than_a_block(
    scale: tuple[float, float, float],
) -> None:
    block = output_block(scale)
    assert all(n % 8 == 0 for n in block)
    behind = [n / s for n, s in zip(block, scale, strict=True)]
    assert all(
        b <= max(n, 8 * 16) for b, n in zip(behind, storage_blocks.PREDICTION_SHARD, strict=True)
    )
