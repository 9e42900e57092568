"""Colours of figures, distinguishable with any colour vision.

Those of classes are in `storage.class_colours`. The error colours come from Tol's "bright" scheme
(2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

#: Colours of figures that are those of the page around them, light or dark.
INK, MUTED, RULE = "#1F2933", "#5B6673", "#D5DAE1"

#: White where the page lies below, such as the rim of a dot; pure white stays white.
PAPER_WHITE = "#FEFEFE"

PASSED, FAILED, UNLIMITED = "#009E73", "#D55E00", "#6B7280"

#: Colours of lines and dots by role, where no style file sets others: C0 is what is compared with,
#: C1 what a figure is about.
CYCLE = ("#8A8F98", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")

#: Errors at a voxel: (label, colour); the index plus one is the code in `error_codes`.
ERRORS = (("missed", "#EE3377"), ("extra", "#33BBEE"), ("other class", "#F0E442"))

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def edges(labels: np.ndarray) -> np.ndarray:
    """Return the pixels adjacent to a pixel of another label.

    Parameters
    ----------
    labels : (row, column) integer
        Class of each pixel.

    Returns
    -------
    (row, column) bool
        True on both sides of every border between labels.
    """
    found = np.zeros(labels.shape, bool)
    vertical, horizontal = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= vertical
    found[:-1] |= vertical
    found[:, 1:] |= horizontal
    found[:, :-1] |= horizontal
    return found


def overlay(
    grey: FloatArray, labels: np.ndarray, colours: Sequence[str], alpha: float
) -> FloatArray:
    """Overlay class colours on an image, with stronger borders.

    Parameters
    ----------
    grey : (row, column) float32
        Image in [0, 1].
    labels : (row, column) integer
        Index of the class; 0 stays grey.
    colours : sequence of str
        A colour for each index.
    alpha : float
        Opacity of an area, in [0, 1].

    Returns
    -------
    (row, column, 3) float32
        Red, green and blue in [0, 1].
    """
    table = np.asarray([to_rgb(c) for c in colours], np.float32)
    # An unknown class (of a damaged file) is shown in the last colour.
    painted = table[np.minimum(labels, len(colours) - 1)]
    strength = np.where(edges(labels), min(1.0, alpha + 0.35 * bool(alpha)), alpha) * (labels > 0)
    weight = strength[..., None].astype(np.float32)
    return np.asarray(grey[..., None] * (1 - weight) + painted * weight, np.float32)


def error_codes(classes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return 0 where two label images agree, otherwise one plus the index of the error in `ERRORS`.

    Parameters
    ----------
    classes, truth : (row, column) integer
        Predicted and true class of each pixel; 0 is the background.

    Returns
    -------
    (row, column) uint8
        1 missed (predicted background), 2 extra (true background), 3 another class.
    """
    wrong = classes != truth
    code = np.where(classes == 0, 1, np.where(truth == 0, 2, 3))
    return np.asarray(np.where(wrong, code, 0), np.uint8)
