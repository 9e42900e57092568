"""What is rare in a phantom landscape, and common in real images: clouds, floods, haze, light.

A landscape's variety, from 0 to 1, is the chance and the strength of each. All of them are part of
the true reflectance, as in a real image, and of its degraded version.

- Flood water carries mud. Its reflectance is rounded from that of the Gironde at 1 g/l of suspended
  matter, pi times the remote sensing reflectance (Doxaran et al. 2002, "Spectral signature of
  highly turbid waters", Remote Sensing of Environment 81, 149-161), in which the near infrared is
  no longer dark. Plants and soil show through where it is shallow.
- Sun glint adds up to 0.05, about the same in all of these bands (Harmel et al. 2018, "Sunglint
  correction of the Multi-Spectral Instrument", Remote Sensing of Environment 204, 308-321).
- Haze adds most to blue, up to the Rayleigh reflectance that remains in an image without
  atmospheric correction (Vermote et al. 1997, "Second simulation of the satellite signal in the
  solar spectrum, 6S", IEEE Transactions on Geoscience and Remote Sensing 35, 675-686).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from parafovea_phantoms.landscapes.ground import Cover
from parafovea_phantoms.landscapes.random_fields import Field, key_of, rough, smooth
from parafovea_phantoms.landscapes.spectra import Spectrum
from parafovea_phantoms.landscapes.surface import Surface

#: Water with mud, and what haze of an optical depth of about 0.25 adds.
MUDDY_WATER: Spectrum = (0.070, 0.115, 0.145, 0.115)
HAZE: Spectrum = (0.070, 0.040, 0.025, 0.010)

#: Reflectance of a thick cloud.
CLOUD: Spectrum = (0.80, 0.78, 0.78, 0.82)

#: Reflectance about which contrast is changed.
AVERAGE: Spectrum = (0.05, 0.07, 0.08, 0.24)

#: Share of the light that comes from a cloud which hides the ground.
HIDDEN = 0.6

#: Land that a flood covers.
FLOODED = (Cover.SOIL, Cover.CROP, Cover.GRASS)

#: Share of varied landscapes with a flood, with glint, with haze, and with clouds.
FLOODS, GLINTS, HAZES, CLOUDS = 0.6, 0.3, 0.5, 0.25


def varied(surface: Surface, seed: int, names: tuple[int, ...], y: Field, x: Field) -> Surface:
    """Return a landscape with what is rare.

    Parameters
    ----------
    surface : Surface
        The landscape on a day.
    seed : int
        Seed of the landscape.
    names : tuple of int
        Month, biome and variety in percent, which the random choices depend on.
    y, x : ndarray
        (y,) and (x,): positions to the south and to the east, in metres.
    """
    variety = names[-1] / 100

    def key(what: str) -> int:
        return key_of(seed, what, *names)

    def chance(what: str) -> float:
        return key(what) * 2.0**-32

    def happens(what: str, share: float) -> bool:
        return chance(what) < share * variety

    def deviation(what: str) -> float:
        return float(ndtri(min(max(chance(what), 0.02), 0.98)))

    cover = surface.ground.cover.copy()
    out = surface.reflectance.copy()
    if happens("flood", FLOODS):
        level = rough(key("level"), y, x, 700, octaves=4)
        share = 0.05 + 0.4 * chance("flooded")
        cover[np.isin(cover, FLOODED) & (level > ndtri(1 - share))] = Cover.WATER
        water = cover == Cover.WATER
        mud = np.clip(0.65 + 0.35 * rough(key("mud"), y, x, 400), 0, 1)
        bright = 0.6 + 0.6 * chance("load")
        shown = np.clip(0.45 * rough(key("shallow"), y, x, 150) - 0.1, 0, 0.6)
        clear = surface.reflectance.min(axis=0) * 0.3
        lake = np.stack([mud * bright * band + (1 - mud) * clear for band in MUDDY_WATER])
        np.copyto(out, (1 - shown) * lake + shown * out, where=water)
    if happens("glint", GLINTS):
        waves = np.clip(0.6 + 0.4 * smooth(key("facets"), y, x, 60), 0, 1)
        out += 0.05 * chance("sunward") * waves * (cover == Cover.WATER)
    light = 0.25 * variety * deviation("light")
    contrast = variety * (0.15 + 0.2 * deviation("contrast"))
    for band, average in enumerate(AVERAGE):
        own = np.exp(light + 0.1 * variety * deviation(f"light_{band}"))
        out[band] = own * (average + np.exp(contrast) * (out[band] - average))
    if happens("haze", HAZES):
        out += chance("depth") * np.array(HAZE)[:, None, None]
    out = np.clip(out, 0.002, 1)
    if happens("clouds", CLOUDS):
        veil, cloud = _clouds(key("cloud"), chance("cloudiness"), y, x)
        out = np.clip(out * (1 - veil) + cloud * veil, 0, 1)
        # what cannot be seen is no water
        cover[(veil > HIDDEN) & (cover == Cover.WATER)] = Cover.SOIL
    return replace(surface, ground=replace(surface.ground, cover=cover), reflectance=out)


def _clouds(
    key: int, amount: float, y: Field, x: Field
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return clouds, thin at their edges, that cover 5 to 65 % of the land.

    Returns
    -------
    veil : ndarray
        (y, x), the share of the light that comes from them.
    cloud : ndarray
        (band, y, x), their reflectance.
    """
    thick = rough(key, y, x, 500, octaves=4) - ndtri(0.95 - 0.6 * amount)
    shade = 1 + 0.08 * rough(key + 1, y, x, 120)
    veil = np.clip(thick * (0.2 + amount), 0, 1)
    return veil, np.stack([band * shade for band in CLOUD])
