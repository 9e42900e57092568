"""Feature extractors that turn blocks of voxels into tokens.

Importing this package loads neither torch nor weights; `load_backbone` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parafovea.backbones.vision_config import FAMILIES
from parafovea.geometry.grid import Vector
from parafovea.runtime.kept_objects import kept
from parafovea.runtime.optional_packages import extras_named
from parafovea.settings.backbones.filterbank import FilterbankArguments
from parafovea.settings.backbones.huggingface import HuggingfaceArguments
from parafovea.settings.backbones.image_encoder import EncoderArguments
from parafovea.settings.backbones.network import NetworkArguments
from parafovea.settings.backbones.parsing import parse_arguments
from parafovea.settings.backbones.prithvi import PrithviArguments
from parafovea.settings.backbones.raw import RawArguments
from parafovea.settings.backbones.terramind import TerramindArguments

if TYPE_CHECKING:
    from parafovea.backbones.backbone import Backbone
    from parafovea.settings.recipe import BackboneSpec

__all__ = ["families", "feature_channels", "load_backbone"]


def load_backbone(
    spec: BackboneSpec,
    *,
    spacing: Vector,
    dimensions: int,
    device: str = "cpu",
    bands: Sequence[str] = (),
) -> Backbone:
    """Return the backbone of a spec, ready to compute.

    Parameters
    ----------
    spec : BackboneSpec
        Name, revision and arguments.
    spacing : tuple of float
        Voxel size of the view along z, y, x, in any unit; only ratios matter.
    dimensions : int
        3, or 2 if every z slice is independent.
    device : str, default "cpu"
        Torch device to compute on.
    bands : sequence of str
        Names of the input's channels; empty for one unnamed channel. Filters are applied to each
        band; a vision model uses the bands in its argument `colours`, a network those in `bands`.

    Returns
    -------
    Backbone
        The backbone on `device`, in evaluation mode. With bands, its blocks are (band, z, y, x).

    Raises
    ------
    ModelError
        If an argument is unknown or invalid, or weights are missing or damaged.
    MissingExtraError
        If a vision model is named and the packages for it are not installed.
    """
    arguments = parse_arguments(spec, dimensions=dimensions)
    if isinstance(arguments, RawArguments):
        from parafovea.backbones.raw import Raw

        raw = Raw(arguments, dimensions=dimensions, device=device)
        return _bandwise(raw, bands, dimensions)
    if isinstance(arguments, FilterbankArguments):
        from parafovea.backbones.filterbank import Filterbank

        bank = Filterbank(arguments, spacing=spacing, dimensions=dimensions, device=device)
        return _bandwise(bank, bands, dimensions)
    if isinstance(arguments, PrithviArguments):
        from parafovea.backbones.prithvi import Prithvi

        return Prithvi(arguments, bands=bands, device=device)
    if isinstance(arguments, TerramindArguments):
        from parafovea.backbones.terramind import Terramind

        return Terramind(arguments, bands=bands, device=device)
    if isinstance(arguments, NetworkArguments):
        from parafovea.backbones.network import NetworkFeatures

        return NetworkFeatures(arguments, bands=bands, device=device)
    with extras_named():
        from parafovea.backbones.huggingface import Huggingface
        from parafovea.backbones.vision_weights import load_vision

    allowed = families(spec, arguments)
    model = kept(
        ("vision", allowed),
        arguments.weights,
        lambda: load_vision(arguments.weights, revision=spec.revision, families=allowed),
    )
    if arguments.compatibility is not None:
        from parafovea.backbones.upstream_dinov3 import CompatibleDinov3

        return CompatibleDinov3(model, arguments, arguments.compatibility, device=device)
    colours = arguments.colour_indices(bands, count=model.config.colours)
    return Huggingface(model, arguments, device=device, colours=colours)


def families(spec: BackboneSpec, arguments: HuggingfaceArguments) -> tuple[str, ...]:
    """Return the families of vision models that a backbone takes."""
    if spec.name == "dinov3" or arguments.compatibility is not None:
        return ("dinov3_vit",)
    return tuple(FAMILIES)


def _bandwise(backbone: Backbone, bands: Sequence[str], dimensions: int) -> Backbone:
    """Return a single-channel backbone, or one that applies it to each of several bands."""
    if not bands:
        return backbone
    from parafovea.backbones.bandwise import Bandwise

    return Bandwise(backbone, bands, dimensions=dimensions)


def feature_channels(spec: BackboneSpec, *, dimensions: int, bands: Sequence[str] = ()) -> int:
    """Return the number of channels of a backbone, without loading its weights.

    Parameters
    ----------
    spec : BackboneSpec
        Name, revision and arguments.
    dimensions : int
        3, or 2 if every z slice is independent.
    bands : sequence of str
        As for `load_backbone`.

    Returns
    -------
    int
        Number of channels.

    Raises
    ------
    ModelError
        If an argument is unknown or invalid, or the configuration of the weights is missing.
    """
    arguments = parse_arguments(spec, dimensions=dimensions)
    if isinstance(arguments, HuggingfaceArguments):
        with extras_named():
            from parafovea.backbones.vision_weights import read_config

        config = read_config(
            arguments.weights, revision=spec.revision, families=families(spec, arguments)
        )
        return config.channels(arguments.layers)
    if isinstance(arguments, EncoderArguments):
        return arguments.features
    if isinstance(arguments, NetworkArguments):
        return arguments.description.features
    return len(arguments.channels(dimensions)) * max(1, len(bands))
