"""The command that writes a backbone folder: one tensor of a network of another project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from parafovea.cli.terminal import console, finite, readable_errors
from parafovea.errors import ConfigError

if TYPE_CHECKING:
    from parafovea.upstream.networks.backbone_import import (
        BackboneOptions,
        ImportedBackbone,
        TensorFacts,
    )

app = typer.Typer()


def _numbers(values: list[float] | None) -> list[float] | None:
    for value in values or ():
        finite(value)
    return values


@app.command()
def import_backbone(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX or TorchScript file of a network; with --architecture, its weights."
        ),
    ],
    feature: Annotated[
        str | None,
        typer.Option(help="Name of the tensor that is the features; without it, all are listed."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write: resources/backbones/NAME."),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="efficientnet_lite0: the file holds its weights alone.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open TorchScript, which is code: you trust its source.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the features; default: that of the folder.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels that the network takes, if it has no say.")
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--band",
            help="Band that is a channel of the network, such as B02, in its order; may be "
            "repeated.",
        ),
    ] = None,
    gain: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            help="Factor from the input to the network's, such as 3 from "
            "reflectance to colour; the product is clipped to 0 to 1.",
        ),
    ] = 1.0,
    mean: Annotated[
        list[float] | None,
        typer.Option(callback=_numbers, help="Subtracted from it; once, or once per channel."),
    ] = None,
    deviation: Annotated[
        list[float] | None,
        typer.Option(callback=_numbers, help="Divides it after --mean; once, or once per channel."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help='Voxels of a window, such as "256 256" along y x, or z y x.'),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(help='Voxels per token, such as "8 8"; default: found by windows.'),
    ] = None,
    reach: Annotated[
        int | None,
        typer.Option(min=0, help="Voxels that a token sees beyond its own; default: found."),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Windows have the size --window, lie on a fixed lattice, and overlap by so many "
            "voxels on each side; for tokens that depend on all of a window.",
        ),
    ] = None,
) -> None:
    """Write a backbone folder from a network of another project: one of its tensors as features.

    Stride, reach and period of the tokens are found by running the network on noise. Without
    --feature, its tensors are listed.
    """
    with readable_errors(output or Path()):
        if (feature is None) != (output is None):
            raise ConfigError(
                "--feature and --output belong together: give both, or neither to list the tensors"
            )
        if reach is not None and overlap is not None:
            raise ConfigError(
                "--reach is for tokens that see part of a window, --overlap for those that see all "
                "of it: give one"
            )
        if gain <= 0:
            raise ConfigError(f"--gain {gain} must be positive")
        # loads torch, which takes seconds
        from parafovea.upstream.networks import backbone_import as importing

        options = importing.BackboneOptions(
            architecture=architecture,
            trust=trust,
            name=name,
            channels=channels,
            bands=tuple(bands or ()),
            gain=gain,
            mean=tuple(mean or ()),
            deviation=tuple(deviation or ()),
            window=_sides(window, "--window"),
            stride=_sides(stride, "--stride"),
            reach=reach,
            overlap=overlap,
        )
        if feature is None or output is None:
            _list(file, options)
        else:
            _print(output, importing.import_backbone(file, output, feature, options))


def _sides(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.replace(",", " ").split()
    if len(parts) not in (2, 3) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f'{option} {text!r} must be two or three counts of voxels, such as "8 8"')
    return tuple(map(int, parts))


def _list(file: Path, options: BackboneOptions) -> None:
    from parafovea.upstream.networks.backbone_import import list_tensors

    facts = list_tensors(file, options)
    usable = [fact for fact in facts if fact.stride is not None]
    console.print(escape(f"{'tensor':50s} {'shape':24s} stride"), highlight=False)
    for fact in usable:
        console.print(escape(_line(fact)), highlight=False, soft_wrap=True)
    text = (
        f"{len(usable)} of {len(facts)} tensors lie over the input; one is imported with --feature "
        "and --output."
    )
    console.print(escape(text), highlight=False)


def _line(fact: TensorFacts) -> str:
    shape = " x ".join("?" if side is None else str(side) for side in fact.shape[1:])
    stride = " x ".join(f"{side:g}" for side in fact.stride or ())
    return f"{fact.name:50s} {shape:24s} {stride}"


def _print(output: Path, done: ImportedBackbone) -> None:
    for note in done.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    for each in done.assumed:
        console.print(f"[yellow]assumed[/] {escape(each)}", highlight=False)
    found = done.description
    reach = "unbounded" if found.reach is None else f"{found.reach.before}, {found.reach.after}"
    for name, value in {
        "features": f"{found.features} of {found.tensor}",
        "input": ", ".join(found.bands) or f"{found.input_channels} channels",
        "stride": f"{found.stride} voxels per token along z, y, x, from {found.offset} on",
        "reach": f"{reach} voxels before and after a token's own; period {found.period}",
        "window": f"{found.window}, {'and no other' if found.fixed_window else 'or others'}"
        + (f", overlap {found.overlap}" if found.reach is None else ""),
    }.items():
        console.print(escape(f"  {name:10s} {value}"), highlight=False)
    origin = found.upstream
    text = f"{output} is written from {origin['file']}, SHA-256 {origin['sha256']}."
    console.print(escape(text), highlight=False)
    config = f"backbone:\n  name: network\n  arguments: {{weights: {output}}}"
    console.print(f"To use it, in a recipe:\n{escape(config)}", highlight=False)
