"""What the preprocessing of a MONAI bundle does to values and voxels, as a recipe states it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parafovea.errors import ModelError, shown
from parafovea.settings.recipe import Normalization
from parafovea.upstream.networks.bundle_config import BundleConfig, component_name

#: Steps that change neither values nor places.
WITHOUT_EFFECT = (
    "LoadImage",
    "EnsureChannelFirst",
    "EnsureType",
    "AddChannel",
    "AsChannelFirst",
    "CastToType",
    "ToTensor",
    "ToDevice",
    "Identity",
    "SelectItems",
    "DeleteItems",
    "CopyItems",
)


@dataclass
class Preprocessing:
    """What preprocessing does, step by step.

    Parameters
    ----------
    source : str
        The config, for messages.
    channels : int
        Channels of the image.
    stated_values : bool
        Whether the options state the normalization, so that steps of values are passed over.
    spacing : tuple of float or None
        Voxel size along x, y, z.
    normalization : Normalization or None
        How values are normalized before `scale` and `shift`.
    orientation : str or None
        Where the axes x, y, z point to.
    scale, shift : float
        What normalized values are multiplied by, and what is added then.
    notes : list of str
        What else the user should know.
    """

    source: str
    channels: int = 1
    stated_values: bool = False
    spacing: tuple[float, ...] | None = None
    normalization: Normalization | None = None
    orientation: str | None = None
    scale: float = 1.0
    shift: float = 0.0
    notes: list[str] = field(default_factory=list)

    def take(self, config: BundleConfig, key: str) -> None:
        """Take all steps of a `Compose` in a config; a known spacing or orientation is kept.

        Raises
        ------
        ModelError
            If a step cannot be expressed, or has to be evaluated.
        """
        steps = config.raw(f"{key}#transforms")
        known = {"Spacing": self.spacing, "Orientation": self.orientation}
        for number in range(len(steps) if isinstance(steps, list) else 0):
            place = f"{key}#transforms#{number}"
            name = component_name(config.raw(place))
            plain = name.removesuffix("Dict").removesuffix("D").removesuffix("d")
            if plain in WITHOUT_EFFECT or self._of_others(config, place):
                continue
            step = _STEPS.get(plain)
            if step is None:
                self._unknown(name, place)
            elif known.get(plain) is not None:
                continue
            elif plain not in _OF_VALUES or not self.stated_values:
                fix = "state the normalization with --low and --high, --percentiles or --zscore"
                if plain == "Spacing":
                    fix = "state --spacing Z Y X"
                step(self, config.value(place, fix), place)

    @property
    def network(self) -> dict[str, tuple[float, ...]]:
        """Mean and deviation of the network's input, which `scale` and `shift` amount to."""
        if (self.scale, self.shift) == (1.0, 0.0):
            return {}
        return {"mean": (-self.shift / self.scale,), "deviation": (1 / self.scale,)}

    def _of_others(self, config: BundleConfig, place: str) -> bool:
        """Return whether a step is for labels alone."""
        keys = config.raw(f"{place}#keys")
        if isinstance(keys, str) and keys.startswith(("@", "$", "%")):
            return False
        named = [keys] if isinstance(keys, str) else keys or []
        return bool(named) and all(str(each) in ("label", "labels", "pred") for each in named)

    def _unknown(self, name: str, place: str) -> None:
        if not self.stated_values:
            raise ModelError(
                f"{self.source}: {place} is {shown(name) or 'no component'}, a step that is not "
                "done here: state what the network takes with --low and --high, --percentiles or "
                "--zscore, and prepare the files for the rest"
            )
        self.notes.append(f"the step {name} of the bundle is not done here: prepare the files")

    def _spacing(self, step: Mapping[str, Any], place: str) -> None:
        size = step.get("pixdim")
        sizes = size if isinstance(size, list) else [size] * 3
        if not all(isinstance(each, int | float) and each > 0 for each in sizes):
            raise ModelError(
                f"{self.source}: {place} has the voxel size {shown(size)}, which is not one of "
                "each axis: state --spacing Z Y X"
            )
        self.spacing = tuple(map(float, sizes))

    def _orientation(self, step: Mapping[str, Any], place: str) -> None:
        codes = step.get("axcodes")
        if not isinstance(codes, str) or re.fullmatch("[RL][AP][SI]", codes) is None:
            raise ModelError(
                f"{self.source}: {place} turns scans to the axes {shown(codes)}, and only "
                "directions are changed here, not the order of axes: prepare the files, and state "
                "--orientation none"
            )
        self.orientation = codes

    def _crop(self, step: Mapping[str, Any], place: str) -> None:
        self.notes.append("the bundle crops scans to their foreground, and windows cover all here")

    def _resize(self, step: Mapping[str, Any], place: str) -> None:
        raise ModelError(
            f"{self.source}: {place} resizes whole images, so that their voxels have no size, "
            "which windows need: such a network cannot be imported as a bundle"
        )

    def _range(self, step: Mapping[str, Any], place: str) -> None:
        low, high = self._numbers(step, place, "a_min", "a_max")
        self._begin(place, method="window", low=low, high=high, clip=bool(step.get("clip")))
        self._spread(step, place)

    def _percentiles(self, step: Mapping[str, Any], place: str) -> None:
        if step.get("relative"):
            self._refuse(place, "takes percentiles of a relative range")
        self._require_channelwise(step, place)
        low, high = self._numbers(step, place, "lower", "upper")
        self._begin(place, method="percentile", low=low, high=high, clip=bool(step.get("clip")))
        self._spread(step, place)

    def _intensity(self, step: Mapping[str, Any], place: str) -> None:
        if step.get("factor") is not None and step.get("minv") is None:
            factor = 1 + float(step["factor"])
            self.scale, self.shift = self.scale * factor, self.shift * factor
            return
        self._require_channelwise(step, place)
        before = self.normalization
        if before is not None and before.method == "zscore":
            if before.nonzero:
                self.notes.append("voxels of exactly 0 are scaled here as all others are")
        elif before is not None and before.clip:
            self._refuse(place, "scales values that are clipped before")
        self.normalization, self.scale, self.shift = None, 1.0, 0.0
        self._begin(place, method="percentile", low=0.0, high=100.0, clip=True)
        self._spread({"b_min": step.get("minv", 0.0), "b_max": step.get("maxv", 1.0)}, place)

    def _zscore(self, step: Mapping[str, Any], place: str) -> None:
        nonzero = bool(step.get("nonzero"))
        subtrahend, divisor = step.get("subtrahend"), step.get("divisor")
        if subtrahend is not None and divisor is not None:
            if nonzero:
                self._refuse(place, "leaves zeros out of constants")
            low, span = self._numbers(step, place, "subtrahend", "divisor")
            if span <= 0:
                self._refuse(place, f"divides by {span:g}")
            if self.normalization is None:
                self.normalization = Normalization(method="none")
            self.scale, self.shift = self.scale / span, (self.shift - low) / span
            return
        if subtrahend is not None or divisor is not None:
            self._refuse(place, "has one constant of two")
        self._require_channelwise(step, place)
        before = self.normalization
        whole = before is not None and before.method == "percentile" and before.high == 100
        if before is not None and (nonzero or (before.clip and not (whole and before.low == 0))):
            self._refuse(place, "normalizes values that were normalized before")
        self.normalization, self.scale, self.shift = None, 1.0, 0.0
        self._begin(place, method="zscore", nonzero=nonzero)

    def _begin(self, place: str, **values: Any) -> None:
        if self.normalization is not None:
            self._refuse(place, "normalizes values that were normalized before")
        if values.get("low", 0.0) >= values.get("high", 1.0):
            self._refuse(place, "has an empty range of values")
        self.normalization = Normalization.model_validate(values)

    def _spread(self, step: Mapping[str, Any], place: str) -> None:
        if step.get("b_min") is None and step.get("b_max") is None:
            return
        low, high = self._numbers(step, place, "b_min", "b_max")
        if low >= high:
            self._refuse(place, "has an empty range of values")
        self.scale, self.shift = high - low, low

    def _require_channelwise(self, step: Mapping[str, Any], place: str) -> None:
        if self.channels > 1 and not step.get("channel_wise"):
            self._refuse(place, f"normalizes the {self.channels} channels by one range")

    def _numbers(self, step: Mapping[str, Any], place: str, *names: str) -> tuple[float, ...]:
        found = [step.get(name) for name in names]
        if not all(isinstance(each, int | float) for each in found):
            self._refuse(place, f"has {', '.join(names)} of {shown(found)}, not two numbers")
        return tuple(float(each) for each in found if each is not None)

    def _refuse(self, place: str, why: str) -> None:
        raise ModelError(
            f"{self.source}: {place} {why}, which a recipe cannot say: state what the network "
            "takes with --low and --high, --percentiles or --zscore"
        )


_STEPS: Mapping[str, Callable[[Preprocessing, Mapping[str, Any], str], None]] = {
    "Spacing": Preprocessing._spacing,
    "Orientation": Preprocessing._orientation,
    "CropForeground": Preprocessing._crop,
    "Resize": Preprocessing._resize,
    "ScaleIntensityRange": Preprocessing._range,
    "ScaleIntensityRangePercentiles": Preprocessing._percentiles,
    "ScaleIntensity": Preprocessing._intensity,
    "NormalizeIntensity": Preprocessing._zscore,
}
_OF_VALUES = tuple(name for name in _STEPS if "Intensity" in name)
