"""Bundles of MONAI: a folder with weights, and configs that are read as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.kinds import kind_named
from parafovea.models.networks.monai_network import require_known
from parafovea.runtime.names import name_problem
from parafovea.settings.recipe import DEFAULT_KIND
from parafovea.upstream.networks.bundle_config import (
    COMPONENT_KEYS,
    NAMES,
    BundleConfig,
    component_name,
    read_mapping,
)
from parafovea.upstream.networks.bundle_transforms import Preprocessing
from parafovea.upstream.networks.monai_weights import class_named, monai_found
from parafovea.upstream.networks.state_files import read_state_file
from parafovea.upstream.networks.stated import Found, Stated

#: Weights in `models`, the first that exists; or a single file with one of these endings.
WEIGHTS = ("model.safetensors", "model.pt", "model.pth")

#: Keys of the network, of which the first that is a component is taken.
NETWORKS = ("network_def", "network", "net", "model")


def read_monai_bundle(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read the network of a bundle, and what its configs say of preprocessing, window and output.

    Parameters
    ----------
    path : Path
        The folder, with `configs` and `models`.
    stated : Stated
        What the options state; what they state is not looked for in the configs.
    scratch : Path
        Folder for temporary files.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or something has to be evaluated that no option states.
    """
    config = _config(path)
    source = str(config.path)
    key = next((name for name in NETWORKS if component_name(config.raw(name))), None)
    if key is None:
        raise ModelError(
            f"{source} has no network under {', '.join(NETWORKS)}: give the file of the weights "
            "with --network CLASS and --arguments JSON instead of the folder"
        )
    architecture = class_named(stated.architecture or component_name(config.raw(key)))
    require_known(architecture, source)
    arguments = _arguments(config, key, stated)
    described = _described(path)
    bands = stated.bands or described.get("bands")
    channels = arguments.get("in_channels", 1)
    steps = Preprocessing(
        source,
        channels=channels if isinstance(channels, int) else 1,
        stated_values=stated.normalization is not None,
    )
    if stated.spacing is not None:
        # a voxel size that has to be evaluated is not needed
        steps.spacing = stated.spacing[::-1]
    steps.orientation = stated.orientation
    where = "preprocessing" if config.raw("preprocessing#transforms") else "dataset#transform"
    steps.take(config, where)
    known: dict[str, Any] = {"axes": "xyz", **steps.network}
    if bands and channels != 1:
        known["bands"] = bands
    if steps.orientation is not None:
        known["orientation"] = steps.orientation
    if steps.normalization is not None:
        known["normalization"] = steps.normalization
    if steps.spacing is not None:
        known |= {"spacing": steps.spacing[::-1], "unit": "millimeter"}
    notes = list(steps.notes)
    known |= _window(config, stated, notes)
    known |= _meaning(config, stated, described, arguments)
    origin = {"bundle": path.resolve().name, **described["origin"]}
    return monai_found(
        architecture,
        arguments,
        read_state_file(_weights(path)),
        scratch,
        options=stated,
        stated=Stated.model_validate(known),
        notes=notes,
        origin=origin,
    )


def _config(path: Path) -> BundleConfig:
    folder = path / "configs"
    if not folder.is_dir():
        raise ModelError(
            f"{path} has no folder configs: give the folder of a bundle, with configs and models"
        )
    found = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder} has none of {', '.join(NAMES)}: give the folder of a bundle")
    return BundleConfig.read(found)


def _weights(path: Path) -> Path:
    folder = path / "models"
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    endings = {Path(name).suffix for name in WEIGHTS}
    others = sorted(each for each in folder.glob("*") if each.suffix in endings)
    if len(others) == 1:
        return others[0]
    has = f"has {shown(', '.join(each.name for each in others))}, of which none is called" * bool(
        others
    )
    raise ModelError(
        f"{folder} {has or 'has none of'} {', '.join(WEIGHTS)}: download the weights of the bundle "
        "(its large_files.yml says from where), and call those to import so"
    )


def _arguments(config: BundleConfig, key: str, stated: Stated) -> dict[str, Any]:
    given = stated.arguments or {}
    written = config.raw(key)
    found = {
        str(name): config.value(f"{key}#{name}", f"state it with --arguments '{{\"{name}\": …}}'")
        for name in written
        if name not in COMPONENT_KEYS and name not in given
    }
    return {**found, **given}


def _window(config: BundleConfig, stated: Stated, notes: list[str]) -> dict[str, Any]:
    """Return the window of the bundle; says how it blends windows."""
    for name, setting in (("overlap", "overlap"), ("mode", "blending")):
        value = config.raw(f"inferer#{name}")
        if value is not None:
            if not _is_expression(value):
                value = config.value(f"inferer#{name}", "")
            notes.append(
                f"the bundle's windows have the {name} {shown(value)}: set inference.{setting} of "
                "the task to it"
            )
    if stated.window is not None or config.raw("inferer#roi_size") is None:
        return {}
    sides = config.value("inferer#roi_size", "state --window Z Y X")
    if isinstance(sides, int):
        sides = [sides] * 3
    whole = isinstance(sides, Sequence) and not isinstance(sides, str)
    if not whole or not all(isinstance(n, int) and n > 0 for n in sides) or len(sides) > 3:
        raise ModelError(
            f"{config.path}: inferer#roi_size is {shown(sides)}, not the voxels of a window: state "
            "--window Z Y X"
        )
    return {"window": (1,) * (3 - len(sides)) + tuple(sides[::-1])}


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$")


def _meaning(
    config: BundleConfig, stated: Stated, described: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return activation and classes of the output."""
    known: dict[str, Any] = {}
    for number in range(len(config.raw("postprocessing#transforms") or ())):
        step = config.raw(f"postprocessing#transforms#{number}")
        if component_name(step).startswith("Activations"):
            for name in ("softmax", "sigmoid"):
                if step.get(name) is True:
                    known["activation"] = name
        elif component_name(step).startswith("AsDiscrete") and step.get("argmax") is True:
            known.setdefault("activation", "softmax")
    activation = stated.activation or known.get("activation")
    exclusive = kind_named(stated.kind or DEFAULT_KIND).exclusive
    outputs = arguments.get("out_channels")
    count = outputs if stated.channels is None else len(stated.channels)
    if exclusive and activation == "sigmoid" and isinstance(count, int) and count > 1:
        raise ModelError(
            f"{config.path}: the {count} channels of the output may be true together (sigmoid), "
            "which is no segmentation into exclusive classes: choose one with --channel, or give "
            "--kind detection"
        )
    names = described.get("classes", ())
    if names and stated.classes is None:
        chosen = range(len(names)) if stated.channels is None else stated.channels
        classes = tuple(names[n] for n in chosen if n < len(names))
        if exclusive and activation == "sigmoid":
            classes = ("background", *classes)
        known["classes"] = classes
    return known


def _described(path: Path) -> dict[str, Any]:
    """Return what the metadata say: names of the channels and classes, and of the bundle."""
    file = path / "configs" / "metadata.json"
    if not file.is_file():
        return {"origin": {}}
    values = read_mapping(file)
    origin = {
        name: values[name] for name in ("name", "version") if isinstance(values.get(name), str)
    }
    found: dict[str, Any] = {"origin": origin}
    for side, name in (("inputs", "bands"), ("outputs", "classes")):
        names = _names(values.get("network_data_format"), side)
        if names:
            found[name] = names
    return found


def _names(formats: Any, side: str) -> tuple[str, ...]:
    """Return the names of the channels of the first input or output; none if they are not names."""
    sides = formats.get(side) if isinstance(formats, Mapping) else None
    first = next(iter(sides.values()), None) if isinstance(sides, Mapping) else None
    named = first.get("channel_def") if isinstance(first, Mapping) else None
    if not isinstance(named, Mapping):
        return ()
    names = [named.get(str(number)) for number in range(len(named))]
    plain = [each.strip().replace(" ", "_") for each in names if isinstance(each, str)]
    if len(plain) != len(named) or len(set(plain)) != len(plain):
        return ()
    return () if any(name_problem(each) for each in plain) else tuple(plain)
