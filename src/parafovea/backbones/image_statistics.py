"""How a vision model's images are scaled, by the `preprocessor_config.json` beside its weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parafovea.backbones.vision_config import refuse_code
from parafovea.errors import ModelError, shown

logger = logging.getLogger(__name__)

#: Mean and standard deviation of ImageNet's red, green and blue in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Families without statistics that all of their weights share.
VARIED = ("vit", "siglip")

#: Value of an image of 8 bits that stands for 1 here.
WHITE = 255.0

#: Steps that choose pixels: planes are read at the model's voxel size and cut into tiles instead.
_LEFT_OUT = ("do_resize", "do_center_crop", "do_pad")

#: Steps that are done, or that change nothing here.
_DONE = ("do_rescale", "do_normalize", "do_convert_rgb", "do_reduce_labels")


@dataclass(frozen=True)
class ImageStatistics:
    """Mean and standard deviation that images in [0, 1] are normalized by.

    Attributes
    ----------
    mean, std : tuple of float
        One value per colour.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def usual(self) -> bool:
        """Whether they are those of ImageNet."""
        return (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)


def default_statistics(family: str, colours: int) -> ImageStatistics:
    """Return what a family's processors use where nothing is stated."""
    if family in VARIED:
        return ImageStatistics((0.5,) * colours, (0.5,) * colours)
    if colours == 3:
        return ImageStatistics(IMAGENET_MEAN, IMAGENET_STD)
    mean, std = (sum(part) / 3 for part in (IMAGENET_MEAN, IMAGENET_STD))
    return ImageStatistics((mean,) * colours, (std,) * colours)


def stated_statistics(values: Any, where: str, *, family: str, colours: int) -> ImageStatistics:
    """Return the statistics that a `preprocessor_config.json` states.

    Parameters
    ----------
    values : object
        Content of the file.
    where : str
        Where it is from, for messages.
    family : str
        Family of the model, for what the file does not state.
    colours : int
        Channels of the model's images.

    Returns
    -------
    ImageStatistics
        Its mean and deviation, divided by what it multiplies 8-bit values with, times 255.

    Raises
    ------
    ModelError
        If they are not as many numbers as colours, or the file asks for code or for a step that
        changes values otherwise.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{where} is not a mapping of names to values: download it again")
    refuse_code(values, where)
    asked = [n for n in values if n.startswith("do_") or n == "rescale_offset"]
    unknown = [n for n in asked if values[n] and n not in (*_LEFT_OUT, *_DONE)]
    if unknown:
        raise ModelError(
            f"{where} asks for {shown(', '.join(unknown))}, which is not done here: use weights "
            "without it, or remove it from a local copy if features do not depend on it"
        )
    skipped = [name for name in _LEFT_OUT if values.get(name)]
    if skipped:
        logger.info(
            "%s: %s left out: planes are read at the model's voxel size, and cut into tiles",
            where,
            ", ".join(skipped),
        )
    scale = _scale(values, where)
    if values.get("do_normalize", True):
        usual = default_statistics(family, colours)
        if not {"image_mean", "image_std"} <= set(values):
            logger.warning(
                "%s does not state image_mean and image_std: mean %s and deviation %s assumed",
                where,
                usual.mean,
                usual.std,
            )
        mean = _colours(values, "image_mean", where, default=usual.mean)
        std = _colours(values, "image_std", where, default=usual.std)
    else:
        mean, std = (0.0,) * colours, (1.0,) * colours
    if min(std) <= 0:
        raise ModelError(f"{where}: image_std {list(std)} is not positive: download it again")
    if scale == 1:
        return ImageStatistics(mean, std)
    return ImageStatistics(tuple(v / scale for v in mean), tuple(v / scale for v in std))


def _scale(values: Mapping[str, Any], where: str) -> float:
    """Return what 1 becomes before it is normalized: 1 by a factor of 1/255."""
    if not values.get("do_rescale", True):
        return WHITE
    factor = values.get("rescale_factor", 1 / WHITE)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise ModelError(
            f"{where}: rescale_factor {shown(repr(factor))} is not a positive number: download it "
            "again"
        )
    scale = float(factor) * WHITE
    return 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale


def _colours(
    values: Mapping[str, Any], name: str, where: str, *, default: Sequence[float]
) -> tuple[float, ...]:
    """Return a number per colour, or one number for all of them."""
    found = values.get(name)
    if found is None:
        return tuple(default)
    listed = found if isinstance(found, list | tuple) else [found]
    wrong = [
        v for v in listed if isinstance(v, bool) or not isinstance(v, int | float) or v - v != 0
    ]
    count = len(default)
    if wrong or len(listed) not in (1, count):
        raise ModelError(
            f"{where}: {name} {shown(repr(found))} must be {count} numbers, one a colour: download "
            "it again"
        )
    return tuple(float(v) for v in listed) * (count if len(listed) == 1 else 1)
