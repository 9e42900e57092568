"""Finding, reading and validating checkpoint files of the DINOv3UNet3D family."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from parafovea.errors import ModelError, quoted, shown
from parafovea.models.folder import finite_problem
from parafovea.runtime.file_hash import file_sha256
from parafovea.runtime.names import hidden_character
from parafovea.upstream.safe_pickle import Array, read_pickle

#: Keys of the weights; a file may also be a bare dictionary of tensors.
WEIGHT_KEYS = ("unet3d_state_dict", "model_state_dict", "state_dict")
MODEL_TYPES = ("dinov3_unet3d",)
RUN = re.compile(r"(run_)?\d{8}_\d{6}")
EPOCH = re.compile(r"checkpoint_epoch_(\d+)\.pkl")
#: Most values of an array in a config that are kept, and of all arrays in it, each counted wherever
#: it occurs.
MOST_VALUES = 4096
MOST_VALUES_TOGETHER = 1 << 16
#: Prefixes that wrappers of a network add to all layer names.
WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        Hash of the file.
    weights : dict of str to Tensor
        Tensors by layer name, on the CPU; views of the bytes that were read.
    model_config, training_config : dict
        Configs as stored; empty if the file has none.
    epoch : int or None
        Epoch, if the file states it.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    model_config: dict[str, Any]
    training_config: dict[str, Any]
    epoch: int | None = None


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint file of a path.

    Parameters
    ----------
    path : Path
        A file; or a run folder with `best.pkl` or `checkpoint_epoch_*.pkl`, in it or in its
        `model` folder; or a folder of runs, of which the latest is used.

    Returns
    -------
    Path
        `best.pkl` if it exists, otherwise the latest epoch.

    Raises
    ------
    ModelError
        If there is none.
    """
    if path.is_file():
        if path.name.startswith("stats_"):
            raise _statistics_only(path)
        return path
    if not path.is_dir():
        raise ModelError(
            f"{path} does not exist: give a model folder, a checkpoint such as best.pkl, or the "
            "folder of a run"
        )
    for folder in (path, path / "model", *_runs(path)):
        found = _in_folder(folder)
        if found is not None:
            return found
    statistics = sorted(path.rglob("stats_*.pkl"))
    if statistics:
        raise _statistics_only(statistics[-1])
    raise ModelError(
        f"{path} contains neither model.json nor best.pkl nor checkpoint_epoch_*.pkl: give the "
        "folder of a finished run (run_YYYYMMDD_HHMMSS), or the file itself"
    )


def _runs(path: Path) -> list[Path]:
    """Return the folders of runs at and below a folder, each with its `model`, latest first."""
    found = [p for p in (*path.glob("*"), *path.glob("*/*")) if p.is_dir() and RUN.match(p.name)]
    latest = sorted(found, key=lambda run: run.name.removeprefix("run_"), reverse=True)
    return [folder for run in latest for folder in (run, run / "model")]


def _in_folder(folder: Path) -> Path | None:
    if (folder / "best.pkl").is_file():
        return folder / "best.pkl"
    epochs = {int(m[1]): p for p in folder.glob("*.pkl") if (m := EPOCH.fullmatch(p.name))}
    return epochs[max(epochs)] if epochs else None


def _statistics_only(path: Path) -> ModelError:
    return ModelError(
        f"{path} contains training statistics instead of weights: give best.pkl or "
        "checkpoint_epoch_*.pkl, which training writes beside it when it saves a network"
    )


def foreign_format(path: Path) -> str | None:
    """Return what a file of another format of models is, None for one that may be a checkpoint.

    Parameters
    ----------
    path : Path
        An existing file.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
    header = int.from_bytes(start[:8], "little")
    # a protobuf that begins with a version and the name of the producer
    if path.suffix.lower() == ".onnx" or re.match(rb"\x08[\x01-\x7f]\x12", start):
        return "an ONNX graph"
    if start[8:9] == b"{" and header < path.stat().st_size:
        return "a file of weights alone (safetensors)"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file, as Keras writes models"
    if start.startswith(b"<?xml"):
        return "an OpenVINO graph"
    return "a TorchScript program" if _holds_code(path) else None


def _holds_code(path: Path) -> bool:
    """Return whether a file is a readable archive with code, as torch.jit.save writes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        # no archive, or a damaged one, of which its reader says more
        return False


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file without executing anything in it.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Checkpoint
        The weights, all finite, and the configs as plain data.

    Raises
    ------
    ModelError
        If the file is malicious or damaged, has no weights, or has non-finite weights.
    """
    found = foreign_format(path)
    if found is not None:
        raise ModelError(
            f"{path} is {found}, which cannot be imported: give the checkpoint of a training, such "
            "as best.pkl or checkpoint_epoch_*.pkl"
        )
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} contains {type(content).__name__}, not a dictionary with weights: give a "
            "checkpoint such as best.pkl"
        )
    configs = [plain(content.get(key) or {}) for key in ("model_config", "training_config")]
    for key, config in zip(("model_config", "training_config"), configs, strict=True):
        if not isinstance(config, dict):
            raise ModelError(
                f"{path}: {key} is {type(config).__name__}, not a dictionary: copy the file again"
            )
    model_config, training_config = configs
    _check_type(path, model_config, training_config)
    weights = _weights(path, content)
    problem = finite_problem(weights)
    if problem is not None:
        raise ModelError(
            f"{path}: {problem}, and so would be every prediction: use an earlier checkpoint of "
            "the run"
        )
    epoch = content.get("epoch")
    return Checkpoint(
        path,
        file_sha256(path),
        weights,
        model_config,
        training_config,
        epoch if isinstance(epoch, int) else None,
    )


def _check_type(path: Path, *configs: Mapping[str, Any]) -> None:
    for config in configs:
        kind = config.get("model_type")
        if kind is not None and kind not in MODEL_TYPES:
            raise ModelError(
                f"{path} is of model type {quoted(kind)}, but only "
                f"{', '.join(map(repr, MODEL_TYPES))} can be loaded: give a checkpoint of a 3D UNet"
            )


def _weights(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    holders = [content[key] for key in WEIGHT_KEYS if isinstance(content.get(key), Mapping)]
    for holder in (*holders, content):
        tensors = {str(k): v for k, v in holder.items() if isinstance(v, Tensor)}
        for wrapper in WRAPPERS:
            if tensors and all(name.startswith(wrapper) for name in tensors):
                tensors = {name.removeprefix(wrapper): t for name, t in tensors.items()}
        if tensors:
            for name in tensors:
                _check_name(path, name)
            return tensors
    keys = ", ".join(sorted(shown(key, longest=40) for key in content)[:12])
    raise ModelError(
        f"{path} has no weights under {', '.join(WEIGHT_KEYS)}, nor is it a dictionary of "
        f"tensors; its keys are {keys or 'none'}: give best.pkl or checkpoint_epoch_*.pkl"
    )


def _check_name(path: Path, name: str) -> None:
    hidden = hidden_character(name)
    if hidden is not None:
        raise ModelError(
            f"{path} has a layer with the control character {hidden} in its name "
            f"{quoted(name, longest=60)}: no network of this kind has one, copy the file again"
        )


def plain(value: Any) -> Any:
    """Convert a config value for JSON: arrays to lists, other objects to strings.

    Large arrays become their shape, as do further ones after `MOST_VALUES_TOGETHER` values, since a
    file may refer to the same array many times; numbers that are not finite become words.
    """
    return _Plain().of(value)


class _Plain:
    """Converts one config; counts the values of its arrays."""

    def __init__(self) -> None:
        self._left = MOST_VALUES_TOGETHER

    def of(self, value: Any) -> Any:
        """Return a value of the config as plain data."""
        if isinstance(value, Mapping):
            return {str(key): self.of(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(map(self.of, value))
        if isinstance(value, list | set | frozenset):
            return list(map(self.of, value))
        if isinstance(value, Array):
            return self._listed(value.values, value.values.size, "array")
        if isinstance(value, Tensor):
            return self._listed(value, value.numel(), "tensor")
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return str(value)

    def _listed(self, values: Any, count: int, kind: str) -> Any:
        """Return the values of an array or a tensor, or its shape."""
        if count > min(MOST_VALUES, self._left):
            return f"{kind} of {tuple(values.shape)}"
        self._left -= count
        return self.of(values.tolist())
