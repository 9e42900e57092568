"""Model folders of networks of other projects: `model.json` and the files of the network."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from parafovea.errors import ModelError
from parafovea.models.folder import CARD
from parafovea.models.model_json import require_replaceable
from parafovea.models.networks.image_network import ImageNetwork
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import ModelSpec
from parafovea.storage.store import replacing

#: Module in `models.networks` of the networks of a type; its `load` reads one.
MODULES: Mapping[str, str] = {
    "onnx": "onnx_network",
    "torchscript": "torchscript_network",
    "exported": "exported_network",
    "monai": "monai_network",
    "pivot": "pivot_network",
}


def load_image_network(folder: Path, spec: ModelSpec) -> ImageNetwork:
    """Read the network of another project from a model folder.

    Parameters
    ----------
    folder : Path
        The model folder.
    spec : ModelSpec
        Content of its `model.json`.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or not the one that `model.json` states.
    MissingExtraError
        If a package that reads it is not installed.
    """
    if not isinstance(spec.network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    hashes = {NETWORK_FILES[spec.network.type]: spec.weights_sha256, **spec.network.files}
    for name, wanted in hashes.items():
        check_file(folder / name, wanted)
    module = importlib.import_module(f"parafovea.models.networks.{MODULES[spec.network.type]}")
    load: Callable[[Path, ModelSpec], ImageNetwork] = module.load
    return load(folder, spec)


def check_file(path: Path, sha256: str) -> None:
    """Raise `ModelError` if a file of a model folder is missing or has another hash."""
    if not path.is_file():
        raise ModelError(f"{path} is missing: copy all files of the model folder")
    found = file_sha256(path)
    if found != sha256:
        raise ModelError(
            f"{path} has the hash {found[:12]}…, but {CARD} states {sha256[:12]}…: it was changed "
            "or belongs to another model; copy the folder again"
        )


def save_image_network(folder: Path, spec: ModelSpec, files: Mapping[str, Path]) -> ModelSpec:
    """Write a model folder atomically.

    Parameters
    ----------
    folder : Path
        Folder to write, replaced if it exists.
    spec : ModelSpec
        Description; its hashes are set to those of the files.
    files : mapping of str to Path
        Files of the network by their name in the folder, which are copied; the one of
        `NETWORK_FILES` is among them.

    Returns
    -------
    ModelSpec
        The description as written.

    Raises
    ------
    ModelError
        If the folder exists and holds something other than a model.
    """
    if not isinstance(spec.network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    require_replaceable(folder)
    main = NETWORK_FILES[spec.network.type]
    with replacing(folder) as partial:
        partial.mkdir()
        hashes = {}
        for name, path in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / name)
            hashes[name] = file_sha256(partial / name)
        further = {name: sha256 for name, sha256 in hashes.items() if name != main}
        network = spec.network.model_copy(update={"files": further})
        written = spec.model_copy(update={"weights_sha256": hashes[main], "network": network})
        text = json.dumps(written.model_dump(mode="json"), indent=2)
        (partial / CARD).write_text(text + "\n", encoding="utf-8")
    return written
