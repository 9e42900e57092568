"""Import of one tensor of a network of another project as a backbone folder."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from parafovea.backbones.network_graph import computed, open_graph
from parafovea.errors import ModelError, shown
from parafovea.runtime.bounded_memory import bounded_memory
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.backbones.folder import DESCRIPTION, GRAPHS, BackboneDescription
from parafovea.storage.store import replacing
from parafovea.upstream.networks.efficientnet_lite import ARCHITECTURES, export_architecture
from parafovea.upstream.networks.file_kinds import file_kind
from parafovea.upstream.networks.onnx_file import read_onnx
from parafovea.upstream.networks.onnx_tensors import OnnxTensors
from parafovea.upstream.networks.reach import Layout, LayoutFinder
from parafovea.upstream.networks.stated import Found, Stated
from parafovea.upstream.networks.torchscript_file import read_torchscript
from parafovea.upstream.networks.torchscript_tensors import TorchScriptTensors

#: Voxels of a window at which tensors are looked at, by dimensions.
SIDES = {2: (256, 256), 3: (64, 64, 64)}

#: Part of a window that its margin is by default, where tokens depend on all of it.
OVERLAP = 8


@dataclass(frozen=True)
class BackboneOptions:
    """What the options of the import state; see `parafovea import-backbone`."""

    architecture: str | None = None
    trust: bool = False
    name: str | None = None
    channels: int | None = None
    bands: tuple[str, ...] = ()
    gain: float = 1.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    window: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    reach: int | None = None
    overlap: int | None = None


@dataclass(frozen=True)
class TensorFacts:
    """An intermediate tensor of a network.

    Parameters
    ----------
    name : str
        Its name in the file.
    shape : tuple of int or None
        Its shape for one window, None for sides that are not known.
    stride : tuple of float or None
        Voxels of the window per element along its last axes; None where it has other axes.
    """

    name: str
    shape: tuple[int | None, ...]
    stride: tuple[float, ...] | None


@dataclass(frozen=True)
class ImportedBackbone:
    """A written backbone folder, with what neither file nor options said."""

    description: BackboneDescription
    assumed: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _Network:
    """An opened network."""

    source: str
    found: Found
    tensors: OnnxTensors | TorchScriptTensors
    kind: str
    channels: int
    sides: tuple[int, ...]
    fixed: bool
    notes: list[str] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Windows at a time that it takes."""
        return self.found.stated.fixed_batch or 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input for one window."""
        return (self.batch, self.channels, *self.sides)


def list_tensors(path: Path, options: BackboneOptions) -> list[TensorFacts]:
    """Return the intermediate tensors of a network that may be features.

    Parameters
    ----------
    path : Path
        ONNX or TorchScript file, or weights of a known architecture.
    options : BackboneOptions
        What the options of the import state.

    Raises
    ------
    ModelError
        If the file is damaged or malicious, is of another kind, or does not run.
    """
    with _opened(path, options) as network:
        return _facts(network)


def import_backbone(
    path: Path, output: Path, feature: str, options: BackboneOptions
) -> ImportedBackbone:
    """Write a backbone folder from a file: the network up to a tensor, and its description.

    Parameters
    ----------
    path : Path
        ONNX or TorchScript file, or weights of a known architecture.
    output : Path
        Folder to write, replaced if it is one of a backbone.
    feature : str
        Name of the tensor.
    options : BackboneOptions
        What the options of the import state.

    Raises
    ------
    ModelError
        If the file is damaged or malicious, there is no such tensor or it is no feature of places,
        or the options do not fit.
    """
    if output.is_dir() and any(output.iterdir()) and not (output / DESCRIPTION).is_file():
        raise ModelError(
            f"{output} is a folder without a {DESCRIPTION} that holds other things, which a "
            "backbone would replace: name a new folder, such as resources/backbones/NAME"
        )
    with _opened(path, options) as network, tempfile.TemporaryDirectory() as scratch:
        _check_name(network, feature)
        graph = network.tensors.cut(feature, Path(scratch))
        run = open_graph(graph, network.kind, torch.device("cpu"))
        source = f"tensor {shown(feature, longest=60)} of {network.source}"
        finder = LayoutFinder(
            lambda images: computed(run, images, source),
            channels=network.channels,
            name=source,
            count=network.batch,
            half=network.tensors.is_half(feature),
        )
        with bounded_memory():
            layout = finder.layout(
                network.sides,
                fixed=network.fixed,
                stride=options.stride,
                bounded=options.reach is None and options.overlap is None,
            )
        return _written(network, feature, graph, output, layout, options)


@contextmanager
def _opened(path: Path, options: BackboneOptions) -> Iterator[_Network]:
    with tempfile.TemporaryDirectory(prefix="parafovea-import-") as scratch:
        yield _open(path, options, Path(scratch))


def _open(path: Path, options: BackboneOptions, scratch: Path) -> _Network:
    kind, source = file_kind(path), str(path)
    opened = path
    if options.architecture is not None:
        if kind not in ("checkpoint", "safetensors"):
            raise ModelError(
                f"{path} is a network ({kind}), not weights alone: leave out --architecture"
            )
        opened = export_architecture(path, options.architecture, scratch)
        kind = "onnx"
    window = options.window
    stated = Stated(
        trust=options.trust,
        window=None if window is None else (*[1] * (3 - len(window)), *window),
    )
    if kind == "onnx":
        found = read_onnx(opened, stated, scratch)
        tensors: OnnxTensors | TorchScriptTensors = OnnxTensors(opened)
        channels = options.channels or found.input_channels
    elif kind == "torchscript":
        found = read_torchscript(opened, stated, scratch)
        tensors = TorchScriptTensors(opened)
        channels = options.channels or tensors.channels
    else:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"{path} is of kind {kind}, which cannot be cut at a tensor: give an ONNX or "
            f"TorchScript file, such as torch.onnx.export writes, or --architecture ({known}) "
            "for its weights"
        )
    if found.input_channels is not None and channels != found.input_channels:
        raise ModelError(
            f"{path} takes {found.input_channels} channels, but --channels is {channels}: leave it "
            "out"
        )
    if channels is None:
        raise ModelError(f"{path} does not say how many channels it takes: give --channels")
    dimensions = found.stated.dimensions or (None if window is None else len(window))
    if dimensions is None:
        raise ModelError(
            f"{path} does not say whether it takes planes or volumes: give --window with 2 or 3 "
            "sides"
        )
    if window is not None and len(window) != dimensions:
        raise ModelError(
            f"{path} takes windows of {dimensions} axes, but --window has {len(window)}: give "
            f"{'Y X' if dimensions == 2 else 'Z Y X'}"
        )
    sides = found.stated.window[-dimensions:] if found.stated.window else window
    return _Network(
        source=source,
        found=found,
        tensors=tensors,
        kind=kind,
        channels=channels,
        sides=tuple(sides or SIDES[dimensions]),
        fixed=bool(found.stated.fixed_window),
        notes=[note for note in found.notes if "--entry" not in note],
    )


def _facts(network: _Network) -> list[TensorFacts]:
    listed = []
    try:
        with bounded_memory():
            shapes = network.tensors.shapes(network.input_shape)
    except ModelError as error:
        raise ModelError(f"{error}; --window names a size that the network takes") from error
    for name, shape in shapes.items():
        sides = [side or 0 for side in shape[2:]]
        stride = None
        if len(shape) == len(network.input_shape) and all(sides):
            terms = zip(network.sides, sides, strict=True)
            stride = tuple(round(taken / given, 3) for taken, given in terms)
            # a mean over all of it, or a padded one
            if max(sides) == 1 or min(stride) < 1:
                stride = None
        listed.append(TensorFacts(name, shape, stride))
    return listed


def _check_name(network: _Network, feature: str) -> None:
    facts = {fact.name: fact for fact in _facts(network)}
    if feature not in facts:
        near = difflib.get_close_matches(feature, facts, n=5, cutoff=0.3)
        nearest = (
            f"the nearest are {shown(', '.join(near), longest=300)}" if near else "none is near"
        )
        raise ModelError(
            f"{network.source} has no tensor {shown(feature)!r} among its {len(facts)}: {nearest}; "
            "without --feature, all are listed"
        )
    shape = facts[feature].shape
    axes = len(network.input_shape)
    if shape and len(shape) != axes:
        wanted = "(window, channel, y, x)" if axes == 4 else "(window, channel, z, y, x)"
        raise ModelError(
            f"tensor {shown(feature)} of {network.source} has the shape {_text(shape)}, "
            f"{len(shape)} axes, but features of places have {axes}, {wanted}: choose another "
            "tensor"
        )


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _written(
    network: _Network,
    feature: str,
    graph: Path,
    output: Path,
    layout: Layout,
    options: BackboneOptions,
) -> ImportedBackbone:
    assumed, notes = [], list(network.notes)
    flat = len(network.sides) == 2
    overlap = (0, 0, 0)
    reach: dict[str, Any] | None = None
    if options.reach is not None:
        side = options.reach
        stated = (0 if flat else side, side, side)
        reach = {"before": stated, "after": stated}
    elif layout.before is not None:
        reach = {"before": layout.before, "after": layout.after}
    else:
        margin = _overlap(layout, options.overlap)
        overlap = (0 if flat else margin, margin, margin)
        if options.overlap is None:
            notes.append(
                f"each token depends on all of the window of {network.sides} voxels, as behind a "
                "mean over the image; or it sees further than that: windows have this size, lie on "
                f"a fixed lattice and overlap by {margin} voxels on each side (--overlap, --window)"
            )
    if not options.mean and not options.deviation:
        assumed.append("values from 0 to 1, as they are (--mean, --deviation, --gain)")
    if not options.bands and network.channels > 1:
        assumed.append(
            f"one channel is seen by all {network.channels} of the network; an input with bands "
            "has to name them (--band)"
        )
    values = {
        "name": options.name or output.name,
        "type": network.kind,
        "tensor": feature,
        "dimensions": len(network.sides),
        "input_channels": network.channels,
        "features": layout.features,
        "stride": layout.stride,
        "offset": layout.offset,
        "period": layout.period,
        "reach": reach,
        "window": layout.window,
        "tokens": layout.tokens,
        "overlap": overlap,
        "fixed_window": layout.fixed_window,
        "fixed_batch": network.found.stated.fixed_batch,
        "bands": options.bands,
        "gain": options.gain,
        "mean": options.mean or (0.0,),
        "deviation": options.deviation or (1.0,),
        "window_bytes": _window_bytes(network, layout),
        "graph_bytes": graph.stat().st_size,
        "sha256": file_sha256(graph),
        "upstream": {
            **network.found.origin,
            "file": Path(network.source).name,
            "sha256": file_sha256(Path(network.source)),
            **({"architecture": options.architecture} if options.architecture else {}),
            "assumed": assumed,
        },
    }
    try:
        description = BackboneDescription.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'backbone'}: {shown(each['msg'])}"
            for each in error.errors()
        )
        raise ModelError(f"{network.source} cannot be imported: {reasons}") from error
    with replacing(output) as folder:
        folder.mkdir(parents=True)
        shutil.copyfile(graph, folder / GRAPHS[network.kind])
        text = json.dumps(description.model_dump(mode="json"), indent=2)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return ImportedBackbone(description, tuple(assumed), tuple(notes))


def _overlap(layout: Layout, stated: int | None) -> int:
    """Return the margin of windows in voxels, a multiple of the stride."""
    stride = max(layout.stride)
    if stated is not None:
        if stated % stride:
            raise ModelError(f"--overlap {stated} must be a multiple of the stride {stride}")
        return stated
    return max(layout.window) // OVERLAP // stride * stride


def _window_bytes(network: _Network, layout: Layout) -> int:
    """Return about how much memory a window takes: three of the largest tensor."""
    window = layout.window[-len(network.sides) :]
    largest = layout.features
    for shape in network.tensors.shapes((network.batch, network.channels, *window)).values():
        count = 1
        for side in shape:
            count *= side or 1
        largest = max(largest, count)
    return 3 * 4 * largest // network.batch
