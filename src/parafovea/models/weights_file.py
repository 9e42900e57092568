"""Writing weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file with the permissions of other new files.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Contiguous tensors that share no memory, by name.
    path : Path
        File to write, replaced if it exists.

    Notes
    -----
    safetensors (0.8) itself makes a file that nobody but its owner may read, so that a model in a
    shared folder would be of no use to others.
    """
    path.unlink(missing_ok=True)
    path.touch()
    usual = path.stat().st_mode & 0o777
    save_file(dict(tensors), path)
    path.chmod(usual)
