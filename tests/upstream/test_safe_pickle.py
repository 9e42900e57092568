"""Pickles of strangers: tensors come out, nothing runs."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parafovea.errors import ModelError
from parafovea.upstream.safe_pickle import Array, read_pickle


class Call:
    """Unpickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def written(folder: Path, content: Any) -> Path:
    path = folder / "best.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def test_tensors_arrays_and_configs_come_out_as_they_were(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = OrderedDict(
        a=base, view=base[1:, ::2], half=base.half(), wide=base.bfloat16(), count=torch.tensor(7),
        none=torch.zeros(0, 3), parameter=torch.nn.Parameter(base[0]),
    )  # fmt: skip
    content = {
        "unet3d_state_dict": tensors,
        "training_config": {"size": (128, 128, 128), "rate": np.float32(0.5), "path": Path("a/b")},
        "losses": [0.5, np.float64(0.25)],
        "weights": np.arange(6, dtype=">i2").reshape(2, 3).T,
        "device": torch.device("cuda", 1),
        "kind": torch.float16,
    }
    for protocol in (2, 4, 5):
        path = tmp_path / "best.pkl"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_pickle(path)
        for name, tensor in tensors.items():
            assert found["unet3d_state_dict"][name].dtype == tensor.dtype
            assert torch.equal(found["unet3d_state_dict"][name], tensor.data)
        assert found["training_config"] == {"size": (128,) * 3, "rate": 0.5, "path": "a/b"}
        assert found["losses"] == [0.5, 0.25]
        assert isinstance(found["weights"], Array)
        np.testing.assert_array_equal(found["weights"].values, content["weights"])
        assert found["kind"] == torch.float16


def test_a_file_of_torch_save_is_read_too(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    torch.save({"state_dict": {"a": base, "row": base[2]}, "epoch": 3}, tmp_path / "best.pkl")
    found = read_pickle(tmp_path / "best.pkl")
    assert torch.equal(found["state_dict"]["row"], base[2])
    assert found["epoch"] == 3


def test_a_file_saved_on_a_gpu_loads_on_a_cpu(tmp_path: Path) -> None:
    plain = pickle.dumps({"a": torch.arange(4.0)})
    # The place of a storage is a text of three letters in the file that torch makes of it.
    start = plain.index(b"X\x03\x00\x00\x00cpu")
    there = plain[:start] + b"X\x06\x00\x00\x00cuda:0" + plain[start + 8 :]
    # The storage's bytes and the frame around them grew by the three letters.
    path = tmp_path / "best.pkl"
    path.write_bytes(_resized(there, 3))
    with pytest.raises(RuntimeError, match="CUDA"):
        pickle.loads(path.read_bytes())  # noqa: S301
    found = read_pickle(path)
    assert found["a"].device.type == "cpu"
    assert torch.equal(found["a"], torch.arange(4.0))


def _resized(pickled: bytes, growth: int) -> bytes:
    """Correct the length of the one long text of bytes ("B" and four bytes of its length)."""
    body = bytearray(pickled)
    frame = int.from_bytes(body[3:11], "little")
    body[3:11] = (frame + growth).to_bytes(8, "little")
    start = body.index(b"_load_from_bytes")
    place = body.index(b"B", start + len(b"_load_from_bytes"))
    length = int.from_bytes(body[place + 1 : place + 5], "little")
    body[place + 1 : place + 5] = (length + growth).to_bytes(4, "little")
    return bytes(body)


def test_os_system_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = written(tmp_path, {"model_state_dict": Call(os.system, f"touch {trace}")})
    with pytest.raises(ModelError, match=r"best\.pkl: the file requests posix\.system.*not use"):
        read_pickle(path)
    assert not trace.exists()


def test_eval_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = written(tmp_path, [Call(eval, f"open({str(trace)!r}, 'w')")])
    with pytest.raises(ModelError, match=r"requests builtins\.eval"):
        read_pickle(path)
    assert not trace.exists()


def test_a_nested_torch_load_is_refused_by_what_it_would_run(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    inner = io.BytesIO()
    torch.save(Call(os.system, f"touch {trace}"), inner, _use_new_zipfile_serialization=False)
    path = written(tmp_path, {"a": Call(torch.storage._load_from_bytes, inner.getvalue())})
    with pytest.raises(ModelError, match=r"requests posix\.system"):
        read_pickle(path)
    direct = written(tmp_path, Call(torch.load, "other.pt"))
    with pytest.raises(ModelError, match=r"requests torch\.serialization\.load"):
        read_pickle(direct)
    assert not trace.exists()


def test_a_hostile_file_of_torch_save_is_refused_by_name(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    torch.save({"a": Call(os.system, f"touch {trace}")}, tmp_path / "best.pkl")
    with pytest.raises(ModelError, match=r"requests posix\.system"):
        read_pickle(tmp_path / "best.pkl")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("size", "stride"),
    [((2**40,), (1,)), ((2**40,), (0,)), ((2, 2**39), (2**39, 1)), ((3,), (2,))],
)
def test_a_huge_declared_tensor_is_refused_with_both_sizes(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    small = torch.arange(4.0)
    untyped = small.untyped_storage()
    storage = torch.storage.TypedStorage(wrap_storage=untyped, dtype=small.dtype, _internal=True)
    rebuild = torch._utils._rebuild_tensor_v2
    call = Call(rebuild, storage, 0, size, stride, False, OrderedDict())
    with pytest.raises(
        ModelError, match=r"shape \(.*declares \d+ elements, but the file contains 4:"
    ):
        read_pickle(written(tmp_path, {"a": call}))


def test_a_huge_declared_array_or_text_is_refused(tmp_path: Path) -> None:
    rebuild = np.zeros(3).__reduce__()
    state = (1, (2**40,), np.dtype("f8"), False, b"12345678")

    class Huge:
        def __reduce__(self) -> Any:
            return rebuild[0], rebuild[1], state

    with pytest.raises(
        ModelError, match="declares 1099511627776 elements, but the file contains 1:"
    ):
        read_pickle(written(tmp_path, Huge()))
    path = tmp_path / "best.pkl"
    path.write_bytes(b"\x80\x04\x8e" + (2**33).to_bytes(8, "little") + b"abc.")
    with pytest.raises(ModelError, match="declares 8589934592 bytes, but the file contains"):
        read_pickle(path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04}q", b"PK\x03\x04broken"])
def test_a_damaged_file_is_one_readable_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pkl"
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"best\.pkl is not a readable checkpoint .*copy the complete file"
    ):
        read_pickle(path)


def old_file(folder: Path, content: Any) -> Path:
    path = folder / "old.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_a_file_of_torch_before_1_6_comes_out_as_it_was(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = OrderedDict(
        a=base, view=base[1:, ::2], count=torch.tensor(7), half=base.half(), none=torch.zeros(0, 3)
    )
    found = read_pickle(old_file(tmp_path, content))
    assert found.keys() == content.keys()
    for name, tensor in content.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert found["a"].untyped_storage().data_ptr() == found["view"].untyped_storage().data_ptr()


def test_an_old_file_that_calls_functions_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = old_file(tmp_path, {"a": Call(os.system, f"touch {trace}")})
    with pytest.raises(ModelError, match=r"old\.pth: the file requests posix\.system"):
        read_pickle(path)
    assert not trace.exists()


def test_an_old_file_that_is_cut_short_or_lies_is_refused(tmp_path: Path) -> None:
    path = old_file(tmp_path, {"a": torch.arange(100.0), "b": torch.arange(50.0)})
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 200, len(whole) // 2, 20):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            read_pickle(path)
    # the count of a storage lies before its elements
    place = whole.rindex((50).to_bytes(8, "little"))
    path.write_bytes(whole[:place] + (60).to_bytes(8, "little") + whole[place + 8 :])
    with pytest.raises(ModelError, match="elements"):
        read_pickle(path)
