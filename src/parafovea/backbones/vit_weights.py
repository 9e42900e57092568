"""Loading and identification of DINOv3 vision transformer weights, without pickle."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import DINOv3ViTConfig, DINOv3ViTModel
from transformers.utils import cached_file, extract_commit_hash
from transformers.utils import logging as transformers_logging

from parafovea.errors import ModelError
from parafovea.runtime.documents import json_values, read_text

MODEL_TYPE = "dinov3_vit"

#: Mean and standard deviation of ImageNet's red, green and blue in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_HOW = (
    "accept the licence on the model's page (https://huggingface.co/facebook), "
    "run `hf auth login` and `hf download NAME --local-dir FOLDER`, "
    "and set the argument `weights` to that folder"
)


def load_vit(weights: str, *, revision: str | None) -> tuple[torch.nn.Module, dict[str, str]]:
    """Return a DINOv3 vision transformer and the identity of its weights.

    Parameters
    ----------
    weights : str
        Local folder with `config.json` and safetensors, or a name on the Hugging Face hub.
    revision : str or None
        Branch, tag or commit on the hub; ignored for a folder.

    Returns
    -------
    network : torch.nn.Module
        float32, in evaluation mode, parameters frozen, on the CPU.
    identity : dict of str
        `sha256` of a folder's weights, or `weights` and `revision` on the hub (the commit if it is
        known); independent of the path of a folder.

    Raises
    ------
    ModelError
        If the weights are missing or damaged, or are not of a DINOv3 vision transformer.
    """
    _check_config(weights, revision)
    where = _arguments(weights, revision)
    try:
        with _without_progress_bar():
            network, report = DINOv3ViTModel.from_pretrained(
                _location(weights),
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
                **where,
            )
    except OSError as error:
        raise _missing(weights, revision, "has no weights in safetensors") from error
    except (SafetensorError, RuntimeError) as error:
        raise _damaged(weights, str(error).splitlines()[0]) from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would fill them with random numbers and only log it.
        raise _damaged(weights, f"{len(missing)} tensors are missing, such as {missing[0]}")
    network.eval().requires_grad_(False)
    return network, _identity(weights, revision)


def image_statistics(weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the colour mean and standard deviation that normalize a transformer's images.

    Parameters
    ----------
    weights : str
        Local folder, or a name on the hub.

    Returns
    -------
    mean, std : tuple of float
        Values for red, green and blue from the folder's `preprocessor_config.json`, or ImageNet's.

    Raises
    ------
    ModelError
        If that file exists but is not valid.
    """
    folder = _folder(weights)
    card = None if folder is None else folder / "preprocessor_config.json"
    if card is None or not card.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    try:
        values = json_values(read_text(card, "a configuration", error=ModelError), card)
        mean = tuple(float(v) for v in values.get("image_mean", IMAGENET_MEAN))
        std = tuple(float(v) for v in values.get("image_std", IMAGENET_STD))
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(weights, f"preprocessor_config.json: {error}") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise _damaged(weights, f"preprocessor_config.json: mean {mean}, deviation {std}")
    return mean, std


def hidden_size(weights: str, *, revision: str | None) -> int:
    """Return the number of channels of a transformer's tokens, from its configuration.

    Parameters
    ----------
    weights : str
        Local folder, or a name on the hub.
    revision : str or None
        Branch, tag or commit on the hub.

    Returns
    -------
    int
        Channels per token.

    Raises
    ------
    ModelError
        If the configuration is missing or is not of a DINOv3 vision transformer.
    """
    return int(_check_config(weights, revision).hidden_size)


def _check_config(weights: str, revision: str | None) -> Any:
    """Return the configuration; raise `ModelError` if it is not that of a DINOv3 ViT."""
    folder = _folder(weights)
    if folder is None and _is_path(weights):
        raise ModelError(f"dinov3 weights: folder {weights} does not exist: {_HOW}")
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(f"dinov3 weights: {weights} has no config.json: {_HOW}")
    where = _arguments(weights, revision)
    try:
        values, _ = DINOv3ViTConfig.get_config_dict(_location(weights), **where)
        if values.get("model_type") != MODEL_TYPE:
            raise ModelError(
                f"dinov3 weights: {weights} is a model of type {values.get('model_type')!r}, not "
                f"{MODEL_TYPE!r}: use weights of a DINOv3 ViT"
            )
        return DINOv3ViTConfig.from_dict(values)
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"dinov3 weights: {weights}/config.json is not valid: {reason}") from error
    except OSError as error:
        raise _missing(weights, revision, "has no readable configuration") from error


def _identity(weights: str, revision: str | None) -> dict[str, str]:
    """Return the identity of the weights, independent of their path."""
    folder = _folder(weights)
    if folder is None:
        found = cached_file(weights, "config.json", revision=revision, local_files_only=True)
        commit = extract_commit_hash(found, None)
        return {"weights": weights, "revision": commit or revision or "main"}
    digest = hashlib.sha256()
    files = sorted(folder.glob("model*.safetensors"))
    if len(files) == 1:
        # The plain hash of the single file, as shown by `sha256sum` and the hub.
        with files[0].open("rb") as stream:
            return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {"sha256": digest.hexdigest()}


def _folder(weights: str) -> Path | None:
    """Return the local folder, or None for a name on the hub."""
    folder = Path(weights).expanduser()
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Keep transformers from printing a bar for each tensor that it loads."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _location(weights: str) -> str:
    """Return the name or path to pass to transformers."""
    folder = _folder(weights)
    return weights if folder is None else os.fspath(folder)


def _arguments(weights: str, revision: str | None) -> dict[str, Any]:
    """Return the arguments for transformers: with a folder, the network is never accessed."""
    if _folder(weights) is not None:
        return {"local_files_only": True}
    return {} if revision is None else {"revision": revision}


def _is_path(weights: str) -> bool:
    """Return whether a string can only be a path: hub names are `owner/name`."""
    return weights.startswith((".", "~", os.sep)) or weights.count("/") != 1


def _missing(weights: str, revision: str | None, reason: str) -> ModelError:
    """Return the error for missing weights."""
    if _folder(weights) is not None:
        return ModelError(f"dinov3 weights: {weights} {reason}: {_HOW}")
    at = "" if revision is None else f" at revision {revision}"
    return ModelError(
        f"dinov3 weights: {weights}{at} is neither a local folder nor reachable on the hub "
        f"(no network, wrong name or revision, or licence not accepted): {_HOW}"
    )


def _damaged(weights: str, reason: str) -> ModelError:
    """Return the error for weights that cannot be loaded."""
    return ModelError(
        f"dinov3 weights: {weights} is damaged or does not match its config.json ({reason}): "
        "download it again"
    )
