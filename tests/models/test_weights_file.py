"""Permissions of files of weights."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from parafovea.models.weights_file import write_weights


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_weights_may_be_read_by_whom_other_new_files_may(tmp_path, mask, mode):
    path = tmp_path / "model.safetensors"
    before = os.umask(mask)
    try:
        write_weights({"a": torch.zeros(2)}, path)
        assert path.stat().st_mode & 0o777 == mode
        path.chmod(0o400)
        write_weights({"a": torch.ones(2)}, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    assert load_file(path)["a"].tolist() == [1, 1]
