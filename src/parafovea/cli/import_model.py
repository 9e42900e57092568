"""The command that writes a model folder from the network of another project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from parafovea.cli.terminal import console, finite, readable_errors
from parafovea.errors import ConfigError, shown

if TYPE_CHECKING:
    from parafovea.settings.recipe import ModelSpec
    from parafovea.upstream.networks.importing import Reader
    from parafovea.upstream.networks.stated import Stated

app = typer.Typer()

Triple = tuple[int, int, int]

#: Modules in `upstream.networks`, and their functions, that read files of a kind.
READERS: Mapping[str, tuple[str, str]] = {
    "onnx": ("onnx_file", "read_onnx"),
    "exported": ("exported_program", "read_exported"),
    "torchscript": ("torchscript_file", "read_torchscript"),
}

#: Options of networks that apply to checkpoints of DINOv3UNet3D as well.
SHARED_OPTIONS = ("classes", "spacing")


def _numbers(values: list[float] | None) -> list[float] | None:
    for value in values or ():
        finite(value)
    return values


@app.command()
def import_model(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX file, file of torch.export or TorchScript; or a DINOv3UNet3D checkpoint, "
            "best.pkl, checkpoint_epoch_*.pkl, or the folder of its run."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Model folder to write: resources/models/NAME.")
    ],
    kind: Annotated[str | None, typer.Option(help="segmentation, detection or refinement.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            "--class",
            help="Class name, in the order of the output, a segmentation's background first; may "
            "be repeated.",
        ),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--band",
            help="Name of an input channel, such as B02, in the network's order; may be repeated.",
        ),
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Voxel size along z y x that the network was trained at."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Its unit: nanometer, micrometer, millimeter, meter, ….")
    ] = None,
    window: Annotated[
        Triple | None, typer.Option(help="Voxels of a window along z y x; z is 1 in 2 dimensions.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=2, max=3, help="2: every z slice is independent.")
    ] = None,
    low: Annotated[
        float | None, typer.Option(callback=finite, help="Source value that maps to 0.")
    ] = None,
    high: Annotated[
        float | None, typer.Option(callback=finite, help="Source value that maps to 1.")
    ] = None,
    clip: Annotated[
        bool, typer.Option(help="Whether values beyond them are clipped to 0 and 1.")
    ] = True,
    percentiles: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Percentiles of the sample's voxels that map to 0 and 1."),
    ] = None,
    no_normalization: Annotated[
        bool, typer.Option("--no-normalization", help="Source values are left as they are.")
    ] = False,
    mean: Annotated[
        list[float] | None,
        typer.Option(
            callback=_numbers,
            help="Subtracted from the normalized values; once, or once per channel.",
        ),
    ] = None,
    deviation: Annotated[
        list[float] | None,
        typer.Option(
            callback=_numbers, help="Divides the values after --mean; once, or once per channel."
        ),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(help="Which of several outputs: its number from 0, or its name."),
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Channel of the output of each class, from 0; may be repeated."),
    ] = None,
    complement: Annotated[
        bool | None, typer.Option(help="The output lacks the background, the rest to 1.")
    ] = None,
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"] | None,
        typer.Option(help="What makes the output probabilities; none: it is."),
    ] = None,
    residual: Annotated[
        bool | None, typer.Option(help="refinement: add the output to the input bands.")
    ] = None,
    margin: Annotated[
        Triple | None,
        typer.Option(help="Voxels along z y x at each border that the output lacks."),
    ] = None,
    stride: Annotated[
        Triple | None, typer.Option(help="Voxels along z y x for each voxel of the output.")
    ] = None,
    multiple_of: Annotated[
        Triple | None, typer.Option(help="What the sides of a window z y x are multiples of.")
    ] = None,
    fixed_window: Annotated[
        bool | None, typer.Option(help="The network takes no other window.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open TorchScript, which is code: you trust its source.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="DINOv3UNet3D: folder or name of the transformer's weights; default: from the "
            "file."
        ),
    ] = None,
    context_spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="DINOv3UNet3D: voxel size of the context along z y x in nanometer."),
    ] = None,
) -> None:
    """Write a model folder from the network of another project, or a DINOv3UNet3D checkpoint.

    The kind of the file is found by its content. What neither the file nor an option says is
    assumed, and listed.
    """
    given: dict[str, Any] = {
        "kind": kind,
        "classes": classes or None,
        "bands": bands or None,
        "spacing": spacing,
        "unit": unit,
        "window": window,
        "dimensions": dimensions,
        "mean": mean or None,
        "deviation": deviation or None,
        "entry": int(entry) if entry is not None and entry.isdecimal() else entry,
        "channels": channel or None,
        "complement": complement,
        "activation": activation,
        "residual": residual,
        "margin": margin,
        "stride": stride,
        "multiple_of": multiple_of,
        "fixed_window": fixed_window,
    }
    checkpoint = {"weights": weights, "context_spacing": context_spacing}
    with readable_errors(output):
        given["normalization"] = _normalization(low, high, clip, percentiles, no_normalization)
        named = {name: value for name, value in given.items() if value is not None}
        # loads torch, which takes seconds
        from parafovea.upstream.networks.file_kinds import file_kind

        found = file_kind(file)
        if found in READERS:
            _refuse([name for name, value in checkpoint.items() if value is not None], found, file)
            _import_network(file, output, _reader(found), _stated(named, trust))
        else:
            _refuse([name for name in named if name not in SHARED_OPTIONS], found, file)
            _import_checkpoint(file, output, spacing, classes, checkpoint)


def _normalization(
    low: float | None,
    high: float | None,
    clip: bool,
    percentiles: tuple[float, float] | None,
    none: bool,
) -> dict[str, Any] | None:
    """Return the normalization that the options state, None if they state none."""
    if (low is None) != (high is None):
        raise ConfigError("--low and --high are the two ends of one window: give both")
    if (low is not None) + (percentiles is not None) + none > 1:
        raise ConfigError(
            "--low and --high, --percentiles and --no-normalization exclude each other: give one"
        )
    if none:
        return {"method": "none"}
    if percentiles is not None:
        return {
            "method": "percentile",
            "low": percentiles[0],
            "high": percentiles[1],
            "clip": clip,
        }
    return None if low is None else {"method": "window", "low": low, "high": high, "clip": clip}


def _refuse(options: list[str], kind: str, file: Path) -> None:
    if options:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        what = "a network" if kind in READERS else "a checkpoint, which states that of DINOv3UNet3D"
        raise ConfigError(
            f"{file} is {what} ({kind}), to which {names} does not apply: leave it out"
        )


def _stated(named: dict[str, Any], trust: bool) -> Stated:
    from pydantic import ValidationError

    from parafovea.upstream.networks.stated import Stated

    try:
        return Stated.model_validate({**named, "trust": trust})
    except ValidationError as error:
        reasons = "; ".join(
            f"--{shown('.'.join(map(str, problem['loc']))).replace('_', '-')}: "
            f"{shown(problem['msg'])}"
            for problem in error.errors()
        )
        raise ConfigError(f"the options of the import do not fit: {reasons}") from error


def _reader(kind: str) -> Reader:
    import importlib

    module, name = READERS[kind]
    reader: Reader = getattr(importlib.import_module(f"parafovea.upstream.networks.{module}"), name)
    return reader


def _import_network(file: Path, output: Path, reader: Reader, stated: Stated) -> None:
    from parafovea.upstream.networks.importing import import_network

    done = import_network(file, output, reader=reader, stated=stated)
    for note in done.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    for each in done.assumed:
        console.print(f"[yellow]assumed[/] {escape(each)}", highlight=False)
    for name, value in _facts(done.spec).items():
        console.print(f"  {escape(f'{name:12s} {value}')}", highlight=False)
    _print_origin(output, done.spec)
    console.print(f"To use it, in config.yaml:\n{escape(_config(output))}", highlight=False)


def _facts(spec: ModelSpec) -> dict[str, str]:
    """Return what a network is, in words, for the terminal."""
    from parafovea.settings.networks import ImageNetworkSpec

    network = spec.network
    if not isinstance(network, ImageNetworkSpec):
        raise AssertionError("a network of another project")
    windows = " x ".join(map(str, spec.window))
    sizes = "and no other" if network.fixed_window else f"or multiples of {network.multiple_of}"
    memory, seconds = network.window_bytes or 0, network.window_seconds or 0
    chosen = ", ".join(map(str, network.selected))
    facts = {
        "network": f"{network.type}, {network.dimensions} dimensions",
        "kind": f"{spec.kind} of {', '.join(spec.classes)}",
        "input": ", ".join(spec.bands) or "one channel",
        "voxels": f"{' x '.join(f'{size:g}' for size in spec.spacing)} {spec.unit}",
        "window": f"{windows}, {sizes}; {memory / 2**20:.0f} MiB and {seconds:g} s each",
        "output": f"{network.entry!r}, channels {chosen} of {network.output_channels}, "
        f"activation {spec.activation}",
    }
    if any(network.margin) or set(network.stride) != {1}:
        facts["output"] += f", margin {network.margin}, stride {network.stride}"
    return facts


def _config(output: Path) -> str:
    return f"tasks:\n  {output.name}:\n    model: {output}"


def _import_checkpoint(
    file: Path,
    output: Path,
    spacing: tuple[float, float, float] | None,
    classes: list[str] | None,
    options: Mapping[str, Any],
) -> None:
    from parafovea.models.model_json import read_spec
    from parafovea.upstream.importing import import_model as import_checkpoint

    notes = import_checkpoint(file, output, spacing=spacing, classes=classes or (), **dict(options))
    for note in notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    _print_origin(output, read_spec(output))


def _print_origin(output: Path, spec: ModelSpec) -> None:
    origin = spec.training["upstream"]
    text = f"{output} is written from {origin['file']}, SHA-256 {origin['sha256']}."
    console.print(escape(text), highlight=False)
