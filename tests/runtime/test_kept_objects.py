"""A process keeps what it loaded between jobs, until a file of it changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_sample import infer, tiny_inputs, tiny_model, tiny_recipe

from parafovea.runtime import kept_objects
from parafovea.runtime.kept_objects import keep_objects, kept
from parafovea.storage.store import open_stored


@pytest.fixture(autouse=True)
def keeping() -> Iterator[None]:
    """Keep objects within a test alone."""
    keep_objects()
    yield
    keep_objects(False)


def counter() -> Callable[[], list[int]]:
    """Return a function that returns another list each time."""
    calls: list[int] = []

    def make() -> list[int]:
        calls.append(len(calls))
        return list(calls)

    return make


def test_an_object_is_made_once_and_anew_when_a_file_of_it_changes(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("1")
    make = counter()
    first = kept("model", tmp_path, make)
    assert kept("model", tmp_path, make) is first
    # same size and, to the clock of coarse file systems, the same time
    status = (tmp_path / "model.json").stat()
    (tmp_path / "model.json").write_text("2")
    os.utime(tmp_path / "model.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = kept("model", tmp_path, make)
    assert second is not first
    (tmp_path / "more.bin").write_bytes(b"3")
    assert kept("model", tmp_path, make) is not second


def test_what_a_key_says_besides_the_files_makes_another_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("1")
    make = counter()
    assert kept(("a", 1), tmp_path, make) is not kept(("a", 2), tmp_path, make)
    assert kept("file", tmp_path / "a.json", make) is kept("file", tmp_path / "a.json", make)


def test_only_the_last_used_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("1")
    make = counter()
    first = kept(0, tmp_path, make)
    for key in range(1, kept_objects.MOST):
        kept(key, tmp_path, make)
    assert kept(0, tmp_path, make) is first
    kept("another", tmp_path, make)
    assert kept(0, tmp_path, make) is first
    assert kept(1, tmp_path, make) != [0, 1]


def test_without_files_or_without_being_asked_nothing_is_kept(tmp_path: Path) -> None:
    make = counter()
    assert kept("hub", tmp_path / "facebook/dinov3", make) == [0]
    assert kept("hub", tmp_path / "facebook/dinov3", make) == [0, 1]
    keep_objects(False)
    (tmp_path / "a.json").write_text("1")
    assert kept("a", tmp_path, make) == [0, 1, 2]
    assert kept("a", tmp_path, make) == [0, 1, 2, 3]


def test_a_kept_model_gives_the_same_sums_and_a_changed_one_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe()
    inputs = tiny_inputs(tmp_path, (16, 40, 40), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    loads: list[Path] = []
    from parafovea.stages import infer_shard as stage

    load = stage.load_network
    monkeypatch.setattr(stage, "load_network", lambda folder: loads.append(folder) or load(folder))
    settings = {"shards": 1, "precision": "float32"}

    def sums(name: str) -> torch.Tensor:
        infer(inputs, model, tmp_path / name, shard=1, settings=settings)
        return torch.from_numpy(open_stored(tmp_path / name).read())

    first, again = sums("1.zarr"), sums("2.zarr")
    assert len(loads) == 1
    assert torch.equal(first, again)
    keep_objects(False)
    assert torch.equal(first, sums("3.zarr"))
    keep_objects()
    sums("4.zarr")
    other = tiny_model(tmp_path / "other", recipe, name="other")
    network = load(other)[1]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    from parafovea.models.folder import save_model
    from parafovea.models.model_json import read_spec

    save_model(model, read_spec(other), network)
    assert not torch.equal(first, sums("5.zarr"))
    assert len(loads) == 4
