"""Import of a network of another project as a model folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parafovea.errors import ModelError, shown
from parafovea.kinds import kind_named
from parafovea.models.image_folder import load_image_network, save_image_network
from parafovea.models.model_json import field_path
from parafovea.runtime.bounded_memory import bounded_memory
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.networks import NETWORK_FILES, ImageNetworkSpec
from parafovea.settings.recipe import DEFAULT_KIND, ModelSpec
from parafovea.upstream.networks.probing import Probe, Prober
from parafovea.upstream.networks.stated import Found, Stated
from parafovea.upstream.networks.windows import window_of

#: Reads a file, with what the options state and a folder for temporary files.
Reader = Callable[[Path, Stated, Path], Found]


@dataclass(frozen=True)
class Imported:
    """A written model folder.

    Parameters
    ----------
    spec : ModelSpec
        Its description.
    assumed : tuple of str
        What neither the file nor an option said, a sentence each.
    notes : tuple of str
        What else the user should know.
    """

    spec: ModelSpec
    assumed: tuple[str, ...]
    notes: tuple[str, ...]


def import_network(path: Path, output: Path, *, reader: Reader, stated: Stated) -> Imported:
    """Write a model folder from a file with a network of another project.

    The network is run on noise, to find what its output is, and that it runs.

    Parameters
    ----------
    path : Path
        The file, or the folder of a bundle.
    output : Path
        Folder to write, replaced if it exists; its name becomes the model's.
    reader : callable
        Reads files of this type.
    stated : Stated
        What the options of the import state; they take precedence over the file.

    Raises
    ------
    ModelError
        If the file is damaged or malicious, does not run, or something is not known that has no
        default.
    """
    with ExitStack() as stack:
        stack.enter_context(bounded_memory())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parafovea-import-")))
        found = reader(path, stated, scratch)
        # of a class and its arguments, the reader has made what MONAI has now
        options = stated.model_copy(update={"architecture": None, "arguments": None})
        return _written(found, path, output, scratch, options.over(found.stated))


def _written(found: Found, path: Path, output: Path, scratch: Path, known: Stated) -> Imported:
    source = str(path)
    assumed: list[str] = []
    if known.spacing is None or known.unit is None:
        raise ModelError(
            f"{source} does not state the voxel size that the network was trained at: give "
            "--spacing Z Y X and --unit"
        )
    dimensions = known.dimensions or (None if known.window is None else 3 - (known.window[0] == 1))
    if dimensions is None:
        raise ModelError(f"{source} does not state its dimensions: give --dimensions 2 or 3")
    window = window_of(known, dimensions)
    if known.window is None:
        assumed.append(f"windows of {window} voxels along z, y, x (--window)")
    bands = known.bands or ()
    if found.input_channels is not None and found.input_channels != max(1, len(bands)):
        raise ModelError(
            f"{source} takes {found.input_channels} channels, but "
            f"{len(bands) or 'no'} are named: name each with --band, in the order of the input"
        )
    entry = 0 if known.entry is None else known.entry
    basis: dict[str, Any] = {
        name: value for name, value in known.given.items() if name in ImageNetworkSpec.model_fields
    }
    basis |= {"type": found.type, "dimensions": dimensions, "entry": entry}
    hashes = {name: file_sha256(each) for name, each in found.files.items()}
    values: dict[str, Any] = {
        "name": output.name,
        "kind": known.kind or DEFAULT_KIND,
        "bands": bands,
        "unit": known.unit,
        "spacing": known.spacing,
        "window": window,
        "backbone": {"name": "none"},
        "input_channels": max(1, len(bands)),
        "weights_sha256": hashes[NETWORK_FILES[found.type]],
    }
    probe = _probed(found, basis, values, known, scratch, source)
    network = {
        **basis,
        "output_channels": probe.channels,
        "margin": probe.margin,
        "stride": probe.stride,
        "multiple_of": probe.multiple_of,
        "fixed_window": probe.fixed_window,
        "fixed_batch": known.fixed_batch or (1 if probe.fixed_batch else None),
        "window_bytes": probe.window_bytes,
        "window_seconds": probe.window_seconds,
        "files": {n: h for n, h in hashes.items() if n != NETWORK_FILES[found.type]},
    }
    values |= _meaning(network, values, known, probe, assumed)
    values["network"] = network
    values["training"] = {"upstream": {**found.origin, "assumed": assumed}}
    spec = _validated(values, source)
    return Imported(save_image_network(output, spec, found.files), tuple(assumed), found.notes)


def _probed(
    found: Found,
    basis: dict[str, Any],
    values: dict[str, Any],
    known: Stated,
    scratch: Path,
    source: str,
) -> Probe:
    """Return what the network does, loaded as from its model folder."""
    folder = scratch / "probed"
    folder.mkdir()
    for name, each in found.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # engines refuse data to which a symbolic link leads out of the folder
        try:
            (folder / name).hardlink_to(each.resolve())
        except OSError:
            shutil.copyfile(each, folder / name)
    # the output is not known yet: any number of channels describes a network that can be loaded
    provisional = {**basis, "output_channels": 2, "channels": (), "complement": False}
    names = ("background", "foreground")
    spec = _validated(
        {**values, "kind": DEFAULT_KIND, "classes": names, "network": provisional}, source
    )
    network = load_image_network(folder, spec)
    prober = Prober(
        network,
        input_channels=values["input_channels"],
        entry=basis["entry"],
        source=source,
        fixed_batch=known.fixed_batch,
    )
    return prober.probe(
        values["window"],
        margin=known.margin,
        stride=known.stride,
        multiple_of=known.multiple_of,
        fixed_window=known.fixed_window,
    )


def _meaning(
    network: dict[str, Any],
    values: dict[str, Any],
    known: Stated,
    probe: Probe,
    assumed: list[str],
) -> dict[str, Any]:
    """Return classes, normalization and residual; completes the network's activation."""
    if known.kind is None:
        assumed.append(f"a {values['kind']} (--kind)")
    kind = kind_named(values["kind"])
    exclusive = kind.exclusive
    chosen = probe.channels if known.channels is None else len(known.channels)
    complement = known.complement
    if complement is None:
        complement = exclusive and chosen == 1
        if complement:
            assumed.append("the output is the foreground, and the background the rest to 1")
    network["complement"] = complement
    classes = known.classes
    if classes is None:
        names = [f"class_{n}" for n in range(exclusive, chosen + complement)]
        classes = ("background", *names) if exclusive else tuple(names)
        assumed.append(f"class names {', '.join(classes)} (--class)")
    if known.activation is None:
        activation, reason = _activation(probe, exclusive and not complement)
        network["activation"] = activation
        assumed.append(f"activation {activation}, since {reason} (--activation)")
    normalization = known.normalization
    if normalization is None:
        normal: dict[str, Any] = {"method": "none"}
        if not kind.residual and known.mean is None and not values["bands"]:
            normal = {"method": "percentile", "low": 0.5, "high": 99.5}
        assumed.append(f"normalization {normal} (--low and --high, or --percentiles)")
    else:
        normal = normalization.model_dump()
    return {
        "classes": classes,
        "normalization": normal,
        "residual": bool(known.residual),
    }


def _activation(probe: Probe, exclusive: bool) -> tuple[str, str]:
    """Return the activation that an output needs, and why."""
    if probe.complete and exclusive:
        return "none", "the output of noise lies in [0, 1] and adds up to 1"
    if probe.bounded and not exclusive:
        return "none", "the output of noise lies in [0, 1]"
    if exclusive:
        return "softmax", "the output of noise is no probabilities"
    return "sigmoid", "the output of noise is no probabilities"


def _validated(values: dict[str, Any], source: str) -> ModelSpec:
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{shown(field_path(problem['loc'])) or 'model'}: {shown(problem['msg'])}"
            for problem in error.errors()
        )
        raise ModelError(f"{source} cannot be imported: {reasons}") from error
