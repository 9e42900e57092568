"""When memory runs out: half the batch, then the CPU, each step logged, recorded and counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_recipe

from parafovea.errors import MemoryLimitError
from parafovea.inference import memory, window_predictors
from parafovea.inference.execution import Execution, summary
from parafovea.inference.memory import is_out_of_memory, next_execution, run_within_memory
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs
from parafovea.models.networks.inference_unet import InferenceUNet
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.postprocess import ClassSettings
from parafovea.stages import infer_shard as stage
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.measure_quality import measure_quality
from parafovea.stages.segment_objects import segment_objects
from parafovea.storage.store import open_stored

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def ask_for_too_much() -> None:
    torch.empty(2**58)


def raise_as_cuda_does() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelInputs, Path]:
    folder = tmp_path_factory.mktemp("sample")
    recipe = tiny_recipe()
    return tiny_inputs(folder, (24, 48, 64), recipe), tiny_model(folder / "model", recipe)


def limit_batch(
    monkeypatch: pytest.MonkeyPatch, largest: int, fail: Any, *, calm: int = 0
) -> list[int]:
    """Let the network run out of memory above a batch size; return the batches it is called with.

    The first `calm` calls of a batch size pass.
    """
    usual, calls = InferenceUNet.forward, []

    def forward(
        self: InferenceUNet, features: torch.Tensor, guides: Any = None, conditions: Any = None
    ) -> torch.Tensor:
        calls.append(len(features))
        if len(features) > largest and calls.count(len(features)) > calm:
            fail()
        return usual(self, features, guides, conditions)

    monkeypatch.setattr(InferenceUNet, "forward", forward)
    return calls


@pytest.mark.parametrize("fail", [ask_for_too_much, raise_as_cuda_does])
def test_real_exceptions_are_known(fail: Any) -> None:
    with pytest.raises(RuntimeError) as caught:
        fail()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_the_batch_is_halved_down_to_one_and_then_the_cpu_takes_over() -> None:
    steps = [Execution(CUDA, 6)]
    while (following := next_execution(steps[-1])) is not None:
        steps.append(following)
    assert [(s.device.type, s.batch_size) for s in steps] == [
        ("cuda", 6),
        ("cuda", 3),
        ("cuda", 1),
        ("cpu", 1),
    ]
    assert steps[-1].fallbacks == (
        "a batch of 6 did not fit the memory of cuda: reduced to 3",
        "a batch of 3 did not fit the memory of cuda: reduced to 1",
        "a batch of 1 did not fit the memory of cuda: continued on the CPU",
    )
    whole = next_execution(Execution(CUDA, 6), halving=False)
    assert whole is not None
    assert (whole.device, whole.batch_size) == (CPU, 6)


@pytest.mark.parametrize("fail", [ask_for_too_much, raise_as_cuda_does])
def test_a_shard_out_of_memory_has_the_bytes_of_the_batch_that_fits(
    tmp_path: Path,
    sample: tuple[ModelInputs, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fail: Any,
) -> None:
    wanted = tmp_path / "wanted.zarr"
    infer(*sample, wanted, shard=1, settings=InferenceSettings(batch_size=2, overlap=0.5))
    calls = limit_batch(monkeypatch, 2, fail, calm=2)  # a shard has begun by then
    found = tmp_path / "found.zarr"
    with caplog.at_level(logging.WARNING):
        infer(*sample, found, shard=1, settings=InferenceSettings(batch_size=4, overlap=0.5))
    assert set(calls) == {4, 2}
    np.testing.assert_array_equal(open_stored(found).read(), open_stored(wanted).read())
    execution = open_stored(found).attributes["execution"]
    step = "a batch of 4 did not fit the memory of cpu: reduced to 2"
    assert execution == {"device": "cpu", "batch_size": 2, "fallbacks": [step]}
    assert step in caplog.text
    assert not list(tmp_path.glob(".*"))


def test_what_does_not_fit_a_device_at_all_is_computed_on_the_cpu_in_the_same_precision(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(Predictor):
        def __init__(self, network: Any, *, device: torch.device, **others: Any) -> None:
            if device.type == "cuda":
                raise_as_cuda_does()
            super().__init__(network, device=device, **others)

    monkeypatch.setattr(window_predictors, "Predictor", Elsewhere)
    monkeypatch.setattr(stage, "choose_device", lambda: CUDA)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    settings = InferenceSettings(batch_size=2, overlap=0.5, precision="bfloat16")
    infer(*sample, tmp_path / "s.zarr", shard=1, settings=settings)
    facts = open_stored(tmp_path / "s.zarr").attributes
    assert facts["execution"]["device"] == "cpu"
    assert len(facts["execution"]["fallbacks"]) == 2
    assert facts["precision"] == "bfloat16"


def test_statistics_of_the_batch_are_never_those_of_a_smaller_one(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_batch(monkeypatch, 2, ask_for_too_much)
    chosen = InferenceSettings(batch_size=4, do_eval=False)
    with pytest.raises(MemoryLimitError, match="a batch of 4 does not fit the memory of cpu"):
        infer(*sample, tmp_path / "s.zarr", shard=1, settings=chosen)


def test_what_fits_nowhere_is_one_readable_error_and_leaves_nothing(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_batch(monkeypatch, 0, ask_for_too_much)
    with pytest.raises(MemoryLimitError, match=r"a batch of 1 does not fit .*: give the job more"):
        infer(
            *sample,
            tmp_path / "s.zarr",
            shard=1,
            settings=InferenceSettings(batch_size=2, overlap=0.5),
        )
    assert not (tmp_path / "s.zarr").exists()


def test_other_errors_pass() -> None:
    def wrong(execution: Execution) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run_within_memory(wrong, Execution(CPU, 4))


def test_a_summary_names_the_shards() -> None:
    moved = next_execution(Execution(CUDA, 1))
    assert moved is not None
    found = summary([Execution(CUDA, 4).to_dict(), moved.to_dict()])
    assert found == {
        "devices": ["cpu", "cuda"],
        "smallest_batch": 1,
        "fallbacks": ["shard 2: a batch of 1 did not fit the memory of cuda: continued on the CPU"],
        "cpu_shards": 1,
    }


def test_the_quality_table_says_what_memory_made_of_the_run(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_batch(monkeypatch, 1, ask_for_too_much)
    shards = [tmp_path / f"{n}.zarr" for n in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        settings = InferenceSettings(batch_size=4, overlap=0.5, shards=2)
        infer(*sample, shard, shard=number, settings=settings)
    stores = [tmp_path / f"{n}.ome.zarr" for n in ("prediction", "classes", "objects")]
    blend_shards(shards, stores[0])
    classes = {"dark": ClassSettings()}
    segment_objects(*stores, tmp_path / "objects.tsv", method="argmax", class_settings=classes)
    table = tmp_path / "quality.tsv"
    measure_quality(*stores, tmp_path / "quality.json", table, truth=None, limits={})
    record = json.loads((tmp_path / "quality.json").read_text())
    steps = record["provenance"]["execution"]["fallbacks"]
    assert record["metrics"]["memory"] == {
        "fallbacks": len(steps),
        "smallest_batch": 1,
        "cpu_shards": 0,
    }
    assert steps[0] == "shard 1: a batch of 4 did not fit the memory of cpu: reduced to 2"
    assert f"memory.fallbacks\t{len(steps)}\t" in table.read_text()


def test_a_whole_volume_that_does_not_fit_is_refused_with_both_sizes_and_the_fix(
    tmp_path: Path, sample: tuple[ModelInputs, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**23)
    message = r"48 x 48 x 64 .* about 0\.\d GiB, but cpu has 0\.0 GiB free: .* sliding_window"
    message = message.replace("48 x", "32 x", 1)
    with pytest.raises(MemoryLimitError, match=message):
        whole = InferenceSettings(mode="whole_volume")
        infer(*sample, tmp_path / "s.zarr", shard=1, settings=whole)
