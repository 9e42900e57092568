"""Loading and identification of vision models' weights: safetensors, without code or pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils import cached_file, extract_commit_hash
from transformers.utils import logging as transformers_logging

from parafovea.backbones.image_statistics import (
    VARIED,
    ImageStatistics,
    default_statistics,
    stated_statistics,
)
from parafovea.backbones.vision_config import FAMILIES, VisionConfig, vision_config
from parafovea.errors import ModelError, shown
from parafovea.runtime.documents import json_values, read_text

logger = logging.getLogger(__name__)

#: Configuration, class and further arguments of a family's network. Heads are left out.
_CLASSES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "dinov2": (Dinov2Config, Dinov2Model, {}, {}),
    "dinov2_with_registers": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel, {}, {}),
    "dinov3_vit": (DINOv3ViTConfig, DINOv3ViTModel, {}, {}),
    "dinov3_convnext": (DINOv3ConvNextConfig, DINOv3ConvNextModel, {}, {}),
    "vit": (ViTConfig, ViTModel, {}, {"add_pooling_layer": False}),
    "siglip": (SiglipVisionConfig, SiglipVisionModel, {"vision_use_head": False}, {}),
}

#: Where a processor's settings lie: in a file of their own, or in that of a model of two kinds.
_CARDS = ("preprocessor_config.json", "processor_config.json")

_HOW = (
    "accept the licence on the model's page (https://huggingface.co/facebook), "
    "run `hf auth login` and `hf download NAME --local-dir FOLDER`, "
    "and set the argument `weights` to that folder"
)

#: A block or stage in the name of a tensor.
_BLOCK = re.compile(r"\b(?:layers?|stages)\.\d+\.")


@dataclasses.dataclass(frozen=True)
class VisionModel:
    """A vision model with its weights.

    Attributes
    ----------
    network : torch.nn.Module
        float32, in evaluation mode, parameters frozen, on the CPU.
    config : VisionConfig
        What its configuration describes.
    statistics : ImageStatistics
        What its images are normalized by.
    identity : dict of str
        `sha256` of a folder's weights, or `weights` and `revision` on the hub (the commit if it is
        known); independent of the path of a folder. `config` is a hash of what the configuration
        states, except of a DINOv3 transformer.
    """

    network: torch.nn.Module
    config: VisionConfig
    statistics: ImageStatistics
    identity: dict[str, str]


def load_vision(
    weights: str, *, revision: str | None, families: Sequence[str] = tuple(FAMILIES)
) -> VisionModel:
    """Return a vision model.

    Parameters
    ----------
    weights : str
        Local folder with `config.json` and safetensors, or a name on the Hugging Face hub.
    revision : str or None
        Branch, tag or commit on the hub; ignored for a folder.
    families : sequence of str
        Families that are allowed.

    Raises
    ------
    ModelError
        If the weights are missing or damaged, do not fit the configuration, are not finite, exist
        as pickles only, or are of another family.
    """
    config = read_config(weights, revision=revision, families=families)
    statistics = _statistics(weights, revision, config)
    kind, network_class, own, arguments = _CLASSES[config.family]
    stated = _architecture(config, kind)
    try:
        built = kind.from_dict({**stated, **own})
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ModelError(
            f"weights {weights}: config.json is not valid: {shown(' '.join(str(error).split()))}: "
            "download it again"
        ) from error
    try:
        with _quietly():
            network, report = network_class.from_pretrained(
                _location(weights),
                config=built,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                **arguments,
                **_arguments(weights, revision),
            )
    except OSError as error:
        raise _missing(weights, revision, _without_safetensors(weights)) from error
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError) as error:
        reason = shown(" ".join(str(error).split()), longest=200)
        raise _damaged(weights, reason or type(error).__name__) from error
    _require_fit(weights, report)
    _require_finite(weights, network)
    network.eval().requires_grad_(False)
    identity = _identity(weights, revision)
    if config.family != "dinov3_vit":
        text = json.dumps(stated, sort_keys=True, separators=(",", ":"))
        identity["config"] = hashlib.sha256(text.encode()).hexdigest()
    return VisionModel(network, config, statistics, identity)


def read_config(
    weights: str, *, revision: str | None, families: Sequence[str] = tuple(FAMILIES)
) -> VisionConfig:
    """Return what the configuration of a vision model describes, without its weights.

    Parameters
    ----------
    weights, revision, families
        As for `load_vision`.

    Raises
    ------
    ModelError
        If the configuration is missing or damaged, or is of another family.
    """
    folder = _folder(weights)
    if folder is None and _is_path(weights):
        raise ModelError(f"weights: folder {weights} does not exist: {_HOW}")
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(f"weights: {weights} has no config.json: {_HOW}")
    try:
        path = cached_file(_location(weights), "config.json", **_arguments(weights, revision))
        text = read_text(Path(path), "a configuration", error=ModelError)
    except OSError as error:
        raise _missing(weights, revision, "has no readable configuration") from error
    where = f"weights {weights}: config.json"
    return vision_config(json_values(text, where, error=ModelError), where, families=families)


def _statistics(weights: str, revision: str | None, config: VisionConfig) -> ImageStatistics:
    """Return the statistics of the processor beside the weights, or those of the family."""
    for name in _CARDS:
        path = cached_file(
            _location(weights),
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **_arguments(weights, revision),
        )
        if path is None:
            continue
        where = f"weights {weights}: {name}"
        text = read_text(Path(path), "a configuration", error=ModelError)
        values = json_values(text, where, error=ModelError)
        if name == _CARDS[1] and isinstance(values, dict):
            values = values.get("image_processor")
            if values is None:
                continue
        return stated_statistics(values, where, family=config.family, colours=config.colours)
    usual = default_statistics(config.family, config.colours)
    if config.family in VARIED:
        logger.warning(
            "weights %s have no %s, and models of type %s were trained in several ways: mean %s "
            "and deviation %s assumed",
            weights,
            _CARDS[0],
            config.family,
            usual.mean,
            usual.std,
        )
    return usual


def _architecture(config: VisionConfig, kind: Any) -> dict[str, Any]:
    """Return what a configuration states of the architecture, and nothing else of it."""
    common = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    known = {field.name for field in dataclasses.fields(kind)} - common
    return {k: v for k, v in config.stated.items() if k in known and not k.startswith("_")}


def _require_fit(weights: str, report: dict[str, Any]) -> None:
    """Raise `ModelError` if tensors have other shapes, are missing, or are of blocks too many."""
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        name, found, wanted = mismatched[0]
        raise _damaged(
            weights,
            f"{len(mismatched)} tensors have another shape, such as {name}: {tuple(found)} in the "
            f"file, {tuple(wanted)} by the configuration",
        )
    # transformers would fill these with random numbers and only log it.
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("mask_token"))
    if missing:
        raise _damaged(weights, f"{len(missing)} tensors are missing, such as {missing[0]}")
    extra = sorted(n for n in report["unexpected_keys"] if _BLOCK.search(n) and "text" not in n)
    if extra:
        raise _damaged(
            weights, f"{len(extra)} tensors are of blocks that it does not have, such as {extra[0]}"
        )


def _require_finite(weights: str, network: torch.nn.Module) -> None:
    """Raise `ModelError` if a weight is not a finite number."""
    for name, values in network.state_dict().items():
        wrong = int((~torch.isfinite(values)).sum())
        if wrong:
            raise _damaged(weights, f"{wrong} of {values.numel()} numbers of {name} are not finite")


def _without_safetensors(weights: str) -> str:
    """Return what a place lacks, and that pickles in it are not read."""
    folder = _folder(weights)
    names = () if folder is None else sorted(p.name for p in folder.iterdir())
    pickled = [n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
    if not pickled:
        return "has no weights in safetensors"
    return (
        f"has no weights in safetensors, only {shown(pickled[0])}, a pickle, which could run code "
        "and is never read; convert it with its author's program (save_pretrained), or"
    )


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
def _quietly() -> Iterator[None]:
    """Keep transformers from printing a bar and a table of tensors, which are checked here."""
    shown_before = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown_before:
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
        return ModelError(f"weights: {weights} {reason}: {_HOW}")
    at = "" if revision is None else f" at revision {revision}"
    return ModelError(
        f"weights: {weights}{at} is neither a local folder nor reachable on the hub (no network, "
        "wrong name or revision, licence not accepted), or has no weights in safetensors there: "
        f"{_HOW}"
    )


def _damaged(weights: str, reason: str) -> ModelError:
    """Return the error for weights that cannot be loaded."""
    return ModelError(
        f"weights: {weights} is damaged or does not match its config.json ({reason}): download it "
        "again"
    )
