"""Inputs of a sample: volume and features, checked against the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ModelError
from parafovea.geometry.grid import METRES, Box, Grid, Shape, Vector
from parafovea.geometry.resample import read_reflected, reflected_indices
from parafovea.geometry.symmetry import Symmetry, require_fit
from parafovea.models.conditioning import encoded_conditions
from parafovea.models.token_sampling import TokenSampler, Weights
from parafovea.settings.recipe import BackboneSpec, ModelSpec, Recipe
from parafovea.storage.store import Stored, Turned, open_stored


@dataclass(frozen=True)
class ModelInputs:
    """Paths of a sample's inputs.

    Parameters
    ----------
    volume : Path
        Normalized volume on the local grid.
    features : Path or None
        Local features on their token grid, if the model uses features.
    context : Path or None
        Context features on their token grid.
    augmentation : str
        Mirroring or rotation of the volume before feature extraction; empty for none.
    """

    volume: Path
    features: Path | None = None
    context: Path | None = None
    augmentation: str = ""


@dataclass(frozen=True)
class TokenBlock:
    """Tokens of a region in memory, for the windows inside it.

    Parameters
    ----------
    box : Box
        Box on the token grid.
    values : ndarray
        (feature, z, y, x) float16.
    sampler : TokenSampler
        Gives the tokens that a window needs and their interpolation.
    """

    box: Box
    values: NDArray[Any]
    sampler: TokenSampler

    def window(self, box: Box) -> tuple[NDArray[Any], Weights]:
        """Return the tokens for a window of local voxels, and its interpolation weights."""
        inner = self.sampler.needed(box).relative_to(self.box.start)
        return self.values[(slice(None), *inner.slices)], self.sampler.weights(box)

    def positions(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fractional local voxels (..., 3) as fractional indices of `values`."""
        positions: NDArray[np.float64] = self.sampler.positions(places) - self.box.start
        return positions


@dataclass(frozen=True)
class RegionInputs:
    """The network's inputs for the windows of a region.

    Parameters
    ----------
    box : Box
        The region in voxels of the local grid; may extend beyond the volume.
    raw : ndarray or None
        ([channel,] z, y, x), the region's voxels if the network takes them: float16, for bands of
        an image float32.
    features : TokenBlock or None
        Local features.
    context : TokenBlock or None
        Context features.
    conditions : ndarray or None
        (z, channel) float32, conditions of each plane if the network takes them.
    """

    box: Box
    raw: NDArray[Any] | None
    features: TokenBlock | None = None
    context: TokenBlock | None = None
    conditions: NDArray[np.float32] | None = None

    @property
    def tokens(self) -> TokenBlock:
        """The local features, of a network that takes them."""
        if self.features is None:
            raise AssertionError("a region with features")
        return self.features

    def raw_window(self, box: Box) -> NDArray[Any] | None:
        """Return the voxels of a window inside the region."""
        if self.raw is None:
            return None
        return self.raw[(..., *box.relative_to(self.box.start).slices)]

    def condition(self, box: Box) -> NDArray[np.float32]:
        """Return the conditions of a window's plane, (channel,)."""
        if self.conditions is None:
            raise AssertionError("a region with conditions")
        row: NDArray[np.float32] = self.conditions[box.start[0] - self.box.start[0]]
        return row


class OnGrid(Protocol):
    """An array with a grid, stored or in memory."""

    @property
    def grid(self) -> Grid: ...  # noqa: D102

    def read(self, box: Box) -> NDArray[Any]:
        """Return the values ([channel,] z, y, x) of a box."""
        ...


class RegionReader:
    """Reader of the network's inputs by region.

    Parameters
    ----------
    volume : OnGrid
        Normalized voxels on the local grid.
    features, context : OnGrid or None
        Tokens of the two views; None for a network that does not take them.
    raw_input : bool
        Whether the network takes the voxels.
    zoom : tuple of float, optional
        Ratio of context spacing to local spacing, for concentric context.
    conditions : ndarray, optional
        (z, channel) float32, conditions of each plane.
    margin : tuple of int
        Voxels along z, y, x around a window that the network takes besides it.
    """

    def __init__(
        self,
        volume: OnGrid,
        features: OnGrid | None = None,
        context: OnGrid | None = None,
        *,
        raw_input: bool,
        zoom: Vector | None = None,
        conditions: NDArray[np.float32] | None = None,
        margin: Shape = (0, 0, 0),
    ) -> None:
        self._volume = volume
        self._raw_input = raw_input
        self._conditions = conditions
        self._margin = margin
        self._local = None
        if features is not None:
            self._local = features, TokenSampler(volume.grid, features.grid)
        self._wide = None
        if context is not None:
            self._wide = context, TokenSampler(volume.grid, context.grid, zoom=zoom)

    def read(self, box: Box) -> RegionInputs:
        """Read the inputs of the windows in a region, which may extend beyond the volume."""
        box = box.expanded(self._margin)
        raw, known = None, None
        if self._raw_input:
            raw = read_reflected(self._volume.read, self._volume.grid, box)
        if self._conditions is not None:
            planes = reflected_indices(box.start[0], box.stop[0], len(self._conditions))
            known = self._conditions[planes]
        local = None if self._local is None else _token_block(*self._local, box)
        context = None if self._wide is None else _token_block(*self._wide, box)
        return RegionInputs(box, raw, local, context, known)


def check_channels(spec: ModelSpec, *, features: int, context: int, source: str) -> None:
    """Raise `ModelError` if the channels of the features do not match the network.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    features, context : int
        Channels of the features of the two views; 0 without context.
    source : str
        Name of the model, for the message.
    """
    raw = spec.channels if spec.raw_input else 0
    if not spec.uses_features:
        return
    wide = spec.backbone if spec.context is None else spec.context.backbone
    for what, found, wanted, backbone in (
        ("local input", features + raw, spec.input_channels, spec.backbone),
        ("context", context, spec.context_channels, wide),
    ):
        if found != wanted:
            weights = backbone.arguments.get("weights")
            name = backbone.name if weights is None else f"{backbone.name} ({weights})"
            raise ModelError(
                f"{source}: the {what} has {found} channels with the backbone {name}, but the "
                f"network takes {wanted}: use the backbone and the weights that the model was "
                "trained with"
            )


class SampleInputs:
    """Inputs of a sample, opened and checked.

    Parameters
    ----------
    inputs : ModelInputs
        Paths of the inputs.
    recipe : Recipe
        Recipe of the model.

    Raises
    ------
    ModelError
        If spacing, unit, backbone or context do not match the model.
    StoreError
        If an input is missing or damaged.
    """

    def __init__(self, inputs: ModelInputs, recipe: Recipe) -> None:
        self.paths = inputs
        self.symmetry = Symmetry.named(inputs.augmentation)
        self.volume: Stored = open_stored(inputs.volume)
        if inputs.augmentation:
            self._check_augmentation(inputs.augmentation, recipe)
            self.volume = Turned.of(self.volume, self.symmetry)
        self._augmentation = inputs.augmentation
        self.features = None if inputs.features is None else open_stored(inputs.features)
        self.context = None if inputs.context is None else open_stored(inputs.context)
        self.raw_input = recipe.raw_input
        self._unit = recipe.unit
        _check_view(self.volume, inputs.volume, recipe)
        if (self.features is not None) != recipe.uses_features:
            has, takes = ("no ", "") if self.features is None else ("", "no ")
            raise ModelError(f"the sample has {has}features, but the model takes {takes}features")
        if self.features is not None and inputs.features is not None:
            self._check_features(self.features, inputs.features, recipe.backbone, recipe.spacing)
        if (self.context is None) != (recipe.context is None):
            has, needs = ("no ", "a ") if self.context is None else ("a ", "no ")
            raise ModelError(f"the sample has {has}context, but the model takes {needs}context")
        if recipe.context is not None and inputs.context is not None and self.context is not None:
            context = recipe.context
            self._check_features(self.context, inputs.context, context.backbone, context.spacing)
            _check_alignment(self.context, inputs.context, recipe)
        self._regions = RegionReader(
            self.volume,
            self.features,
            self.context,
            raw_input=recipe.raw_input,
            zoom=recipe.context_ratio,
            conditions=_conditions(self.volume, inputs.volume, recipe),
            margin=recipe.margin,
        )

    def _check_augmentation(self, name: str, recipe: Recipe) -> None:
        """Raise `GridError` if the rotated voxels do not have the model's spacing."""
        for view in (recipe, recipe.context):
            if view is not None:
                require_fit(name, view.spacing, dimensions=recipe.network.dimensions)

    def _check_features(
        self, stored: Stored, path: Path, backbone: BackboneSpec, spacing: Vector
    ) -> None:
        """Raise `ModelError` if features are from another backbone, view or volume."""
        facts = stored.attributes.get("features", {})
        wanted = backbone.model_dump(mode="json")
        if facts.get("backbone") != wanted:
            raise ModelError(
                f"{path} has features of {facts.get('backbone')}, but the model was trained with "
                f"{wanted}: run their stage again with the model's backbone"
            )
        scale = METRES[self.grid.unit] / METRES[self._unit]
        found = [s * scale for s in facts.get("view_spacing", [])]
        if len(found) != 3 or not np.allclose(found, spacing, rtol=1e-3):
            raise ModelError(
                f"{path} was computed with voxels of {found} {self._unit}, but the model expects "
                f"{list(spacing)}: run extract_features, or extract_context, again with the "
                "model's spacing"
            )
        if facts.get("augmentation", "") != self._augmentation:
            raise ModelError(
                f"{path} has features of the view {facts.get('augmentation', '')!r}, not of "
                f"{self._augmentation!r}: run its stage again"
            )
        source = stored.attributes.get("volume", {}).get("source")
        if source != self.volume.attributes.get("source"):
            raise ModelError(f"{path} was computed from another volume: run its stage again")

    @property
    def grid(self) -> Grid:
        """The local grid."""
        return self.volume.grid

    @property
    def input_channels(self) -> int:
        """Number of channels of the local input, including raw voxels."""
        raw = len(self.volume.channels or ("",)) if self.raw_input else 0
        return self.feature_channels + raw

    @property
    def feature_channels(self) -> int:
        """Number of channels of the local features; 0 without features."""
        return 0 if self.features is None else len(self.features.channels or ())

    @property
    def context_channels(self) -> int:
        """Number of channels of the context features; 0 without context."""
        return 0 if self.context is None else len(self.context.channels or ())

    def read(self, box: Box) -> RegionInputs:
        """Read the inputs of the windows in a region, which may extend beyond the volume."""
        return self._regions.read(box)


def _token_block(tokens: OnGrid, sampler: TokenSampler, box: Box) -> TokenBlock:
    needed = sampler.needed(box)
    return TokenBlock(needed, tokens.read(needed), sampler)


def _conditions(volume: Stored, path: Path, recipe: Recipe) -> NDArray[np.float32] | None:
    """Return the conditions of each plane, (z, channel), if the model takes them."""
    if not recipe.conditions:
        return None
    known = volume.attributes.get("conditions")
    if known is None:
        raise ModelError(
            f"{path} has no {' and '.join(recipe.conditions)}, which the model takes: run "
            "resample_volume again with the model's settings"
        )
    return encoded_conditions(recipe.conditions, known)


def _check_view(volume: Stored, path: Path, recipe: Recipe) -> None:
    if (volume.channels or ()) != recipe.bands:
        raise ModelError(
            f"{path} has the bands {', '.join(volume.channels or ()) or 'of one channel'}, but the "
            f"model expects {', '.join(recipe.bands) or 'one channel'}: run resample_volume "
            "again with the model's bands"
        )
    found = volume.grid.converted(recipe.unit).spacing
    if any(abs(a - b) > 1e-3 * b for a, b in zip(found, recipe.spacing, strict=True)):
        raise ModelError(
            f"{path} has voxels of {found} {recipe.unit}, but the model expects "
            f"{recipe.spacing}: run resample_volume again with the model's spacing"
        )


def _check_alignment(context: Stored, path: Path, recipe: Recipe) -> None:
    """Raise `ModelError` if context features do not cover the model's windows."""
    wanted = None if recipe.context_ratio is None else list(recipe.window)
    found = context.attributes.get("features", {}).get("concentric_window")
    if found != wanted:
        have, need = (
            "registered context" if window is None else f"context for concentric windows {window}"
            for window in (found, wanted)
        )
        raise ModelError(
            f"{path} has {have}, but the model expects {need}: run extract_context again "
            "with the model's alignment and window"
        )
