"""The network of a model as TorchScript."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from parafovea.errors import ModelError
from parafovea.guide.arguments import AnyPath, model_folder
from parafovea.models.export import export_model
from parafovea.models.model_json import read_spec
from parafovea.runtime.optional_packages import older_torch_allowed


def optimize_model(
    checkpoint: AnyPath, output_path: AnyPath, example_input_shape: Sequence[int] | None = None
) -> Any:
    """Write the network of a model as TorchScript, compare it with torch, and load it.

    The network takes features, and context if the model has it, not the voxels of a scan; see
    `parafovea.models.export.export_model`.

    Parameters
    ----------
    checkpoint : str or Path
        Model folder.
    output_path : str or Path
        File for `torch.jit.load` to write.
    example_input_shape : sequence of int, optional
        N, channels, z, y, x of an input that the network must take. All sizes that are multiples of
        16 are possible whatever is given.

    Returns
    -------
    torch.jit.ScriptModule
        The network, read from the file.

    Raises
    ------
    ModelError
        If the folder is no model, the network does not take the input, or the file gives other
        results.
    """
    folder, output = model_folder(checkpoint), Path(output_path)
    if example_input_shape is not None:
        _check_example(tuple(example_input_shape), read_spec(folder), folder)
    export_model(folder, output, form="torchscript")
    with older_torch_allowed():
        return torch.jit.load(str(output))  # type: ignore[no-untyped-call]


def _check_example(shape: tuple[int, ...], spec: Any, folder: Path) -> None:
    """Raise `ModelError` if a network does not take an input of this shape."""
    spatial = spec.network.dimensions
    fits = len(shape) == spatial + 2 and all(n >= 1 for n in shape)
    if not fits or shape[1] != spec.input_channels or any(n % 16 for n in shape[2:]):
        wide = f", and context of {spec.context_channels} channels" if spec.context else ""
        example = [1, spec.input_channels, *spec.window[-spatial:]]
        raise ModelError(
            f"example_input_shape {list(shape)}: the network of {folder} takes "
            f"{spec.input_channels} channels of features that its backbone computes from the "
            f"scan{wide}, in sizes that are multiples of 16: use {example}"
        )
