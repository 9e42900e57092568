"""Which processor and precision is chosen."""

from __future__ import annotations

import pytest
import torch

from parafovea.errors import ConfigError
from parafovea.runtime import devices

CPU = torch.device("cpu")


def test_the_environment_decides_over_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device() == CPU
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda:1")
    assert devices.choose_device() == torch.device("cuda:1")
    monkeypatch.setenv(devices.DEVICE_VARIABLE, "cuda:2")
    with pytest.raises(ConfigError, match=r"cuda:2 is not available .*cpu or cuda:0 or cuda:1"):
        devices.choose_device()


@pytest.mark.parametrize(("available", "kind"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, available: bool, kind: str
) -> None:
    monkeypatch.delenv(devices.DEVICE_VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert devices.choose_device().type == kind


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "gpu", ""])
def test_a_device_that_is_not_there_is_refused_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv(devices.DEVICE_VARIABLE, wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"PARAFOVEA_DEVICE={wanted} is not available.*use cpu"):
        devices.choose_device()


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: native)
    assert devices.choose_dtype("auto", CPU) == dtype
    assert devices.choose_dtype("float32", CPU) == torch.float32
    assert devices.choose_dtype("bfloat16", CPU) == torch.bfloat16
