"""Checkpoints that ask for more than they are: refused within the memory of their bytes."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_pickles import CASES
from tiny_checkpoint import upstream_content, upstream_weights, write_checkpoint

from parafovea.errors import ModelError, describe
from parafovea.upstream import safe_pickle
from parafovea.upstream.importing import open_upstream
from parafovea.upstream.safe_pickle import read_pickle

#: Damaged files that are read; a longer run is `python tests/upstream/hostile_pickles.py 20000 1`.
DAMAGED = 400


def test_hostile_and_damaged_files_are_refused_at_once_and_in_little_memory() -> None:
    script = Path(__file__).with_name("hostile_pickles.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(DAMAGED), "5"],
        capture_output=True, text=True, check=False, timeout=600, env=environment,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["read all"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("lists of lists", r"more than \d+ values by repeating those of its \d+ bytes"),
        ("a list that holds itself", "a list that contains itself"),
        ("lists 100000 deep", "more than 100 containers inside each other"),
        ("five million sets", "more than 1000000 values"),
        ("bytes of 2 ** 62", "declares 4611686018427387904 bytes, but the file contains 4"),
        ("a frame of 2 ** 62", "a frame declares 4611686018427387904 bytes"),
        ("a tensor whose state is another storage", "attributes of a Tensor"),
        ("a tensor of a storage that is not there", "declares 67108864 elements, but .* 1:"),
        ("storage as two types", "storage 0 as 1 torch.float32 and as 1 torch.int32"),
    ],
)
def test_the_reason_is_said(tmp_path: Path, case: str, message: str) -> None:
    path = tmp_path / "best.pkl"
    path.write_bytes(CASES[case])
    with pytest.raises(ModelError, match=message):
        read_pickle(path)


def test_a_storage_is_read_once_for_all_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = torch.arange(1000.0)
    torch.save({f"t{k}": base[k : k + 10] for k in range(100)}, tmp_path / "best.pt")
    read = []
    original = zipfile.ZipFile.read

    def counted(self: zipfile.ZipFile, name: Any, *rest: Any) -> bytes:
        read.append(name.filename)
        return original(self, name, *rest)

    monkeypatch.setattr(safe_pickle.zipfile.ZipFile, "read", counted)
    found = read_pickle(tmp_path / "best.pt")
    assert torch.equal(found["t7"], base[7:17])
    assert sum("/data/" in name for name in read) == 1


def test_views_that_repeat_a_storage_too_often_are_refused(tmp_path: Path) -> None:
    base = torch.arange(5000.0)
    torch.save({f"t{k}": base[k:] for k in range(100)}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"tensors that repeat its \d+ bytes more than 8 times"):
        read_pickle(tmp_path / "best.pt")


def test_a_checkpoint_of_a_big_endian_machine_has_its_numbers(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4, dtype=torch.int16)}
    saved = io.BytesIO()
    torch.save(tensors, saved)
    path = tmp_path / "best.pt"
    with zipfile.ZipFile(saved) as pack, zipfile.ZipFile(path, "w") as other:
        for info in pack.infolist():
            raw = pack.read(info)
            if info.filename.endswith("byteorder"):
                raw = b"big"
            elif info.filename.endswith("data/0"):
                raw = struct.pack(">6f", *struct.unpack("<6f", raw))
            elif info.filename.endswith("data/1"):
                raw = struct.pack(">4h", *struct.unpack("<4h", raw))
            other.writestr(info.filename, raw)
    found = read_pickle(path)
    assert torch.equal(found["a"], tensors["a"])
    assert torch.equal(found["b"], tensors["b"])
    assert torch.equal(torch.load(path, weights_only=True)["a"], tensors["a"])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_file_that_is_cut_short_is_not_called_hostile(tmp_path: Path, share: float) -> None:
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "whole.pt")
    raw = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(ModelError, match=r"cut short: its end is missing.*copy the complete file"):
        read_pickle(tmp_path / "cut.pt")


STRANGE: list[Any] = [
    -1, 0, 1.5, 10**30, 1e-300, float("nan"), float("inf"), "x" * 100_000, "a\x1b[2Jb", [], {},
    [1, 2], [[1, 2, 3]], (16, 16, 10**12), {"a": {"b": 1}}, True, b"bytes", {1, 2}, [None] * 3,
    torch.zeros(3), "16", [1e300] * 3,
]  # fmt: skip


@pytest.mark.parametrize(
    "key",
    [
        "output_type", "num_classes", "use_orthogonal_planes", "model_id", "context_scale",
        "use_half_precision", "affinity_offsets", "dinov3_slice_size", "min_resolution_for_raw",
        "base_resolution", "input_size", "use_context_fusion", "model_type",
    ],
)  # fmt: skip
def test_a_strange_value_of_a_config_is_one_short_error_or_ignored(
    tmp_path: Path, key: str
) -> None:
    weights = upstream_weights(context=32 if key == "context_scale" else None)
    for value in STRANGE:
        path = write_checkpoint(tmp_path / "best.pkl", upstream_content(weights, **{key: value}))
        try:
            open_upstream(path)
        except ModelError as error:
            text = describe(error)
            assert len(text) < 1000
            assert "\x1b" not in text
