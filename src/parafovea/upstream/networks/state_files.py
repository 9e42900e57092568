"""Weights of a network in a file: safetensors, or tensors in a pickle that is never executed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from parafovea.errors import ModelError, describe, shown
from parafovea.runtime.file_hash import file_sha256
from parafovea.upstream.networks.file_kinds import file_kind
from parafovea.upstream.safe_pickle import read_pickle

#: Keys of the weights in a checkpoint, the first that it has; a file may also be a bare dictionary.
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")

#: Prefixes that wrappers of a network add to all layer names.
WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "model.", "network.", "net.")

#: Beginnings of the names of what training modules hold beside a network.
BESIDE = ("loss_functions.", "loss_function.", "loss_fn.", "loss.", "criterion.")


@dataclass(frozen=True)
class StateFile:
    """Weights that were read from a file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        Its hash.
    weights : mapping of str to Tensor
        Tensors by layer name, on the CPU.
    content : mapping
        What else a checkpoint holds; empty for a file of tensors alone.
    notes : tuple of str
        What was left out or taken off, a sentence each.
    """

    path: Path
    sha256: str
    weights: Mapping[str, Tensor]
    content: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> dict[str, str]:
        """Name and hash of the file, for the record of the model."""
        return {"file": self.path.name, "sha256": self.sha256}

    def named_as(self, names: Collection[str]) -> StateFile:
        """Return the weights without the prefixes that keep their names from those of a network.

        Parameters
        ----------
        names : collection of str
            Names of the layers of the network.
        """
        weights, taken = dict(self.weights), []
        beside = [name for name in weights if name.startswith(BESIDE) and name not in names]
        for name in beside:
            del weights[name]
        while weights and not any(name in names for name in weights):
            wrapper = next((w for w in WRAPPERS if all(n.startswith(w) for n in weights)), None)
            if wrapper is None:
                break
            taken.append(wrapper)
            weights = {name.removeprefix(wrapper): each for name, each in weights.items()}
        notes = list(self.notes)
        if taken:
            notes.append(f"the prefix {''.join(taken)} was taken off the names of all layers")
        if beside:
            notes.append(f"{len(beside)} tensors of losses, such as {beside[0]}, were left out")
        return replace(self, weights=weights, notes=tuple(notes))


def read_state_file(path: Path) -> StateFile:
    """Read the weights in a file.

    Parameters
    ----------
    path : Path
        A .safetensors file, or one of `torch.save`: a dictionary of tensors, or a checkpoint.

    Raises
    ------
    ModelError
        If the file is missing or damaged, holds something other than tensors and plain data, or has
        no weights.
    """
    kind = file_kind(path)
    if kind == "safetensors":
        try:
            return StateFile(path, file_sha256(path), load_file(path))
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path} is not a readable safetensors file ({shown(describe(error))}): copy it "
                "again"
            ) from error
    if kind != "checkpoint":
        raise ModelError(
            f"{path} is of the kind {kind}, not a file of weights: save the network's state_dict()"
        )
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise ModelError(
            f"{path} contains {type(content).__name__}, not a dictionary of weights: save the "
            "network's state_dict()"
        )
    for key in WEIGHT_KEYS:
        weights = tensors_in(content.get(key))
        if weights:
            note = f"the weights are those under the key {key}"
            return StateFile(path, file_sha256(path), weights, content, (note,))
    weights = tensors_in(content)
    if not weights:
        keys = shown(", ".join(sorted(map(str, content))[:12])) or "none"
        raise ModelError(
            f"{path} has no weights under {', '.join(WEIGHT_KEYS)}, nor is it a dictionary of "
            f"tensors; its keys are {keys}: save the network's state_dict()"
        )
    return StateFile(path, file_sha256(path), weights)


def tensors_in(holder: Any) -> dict[str, Tensor]:
    """Return the tensors of a mapping by name; none of anything else."""
    if not isinstance(holder, Mapping):
        return {}
    return {str(name): each for name, each in holder.items() if isinstance(each, Tensor)}
