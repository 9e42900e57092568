"""A sample seen mirrored or turned: the same windows, predicted from the view's own features.

The engine walks the windows of the volume. An augmented view translates each to its place in the
view, lets the network see what is there, and turns the answer back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import RegionInputs, SampleInputs


class AugmentedInputs:
    """The inputs of a view, asked for by boxes of the volume.

    Parameters
    ----------
    view : SampleInputs
        Opened with the name of its augmentation.
    """

    def __init__(self, view: SampleInputs) -> None:
        self._view = view
        self._shape = view.symmetry.inverse.shape(view.grid.shape)

    def place(self, box: Box) -> Box:
        """Return where a box of the volume lies in the view."""
        return self._view.symmetry.box(box, self._shape)

    def read(self, box: Box) -> RegionInputs:
        """Return what windows inside a box of the volume need, in the axes of the view."""
        return self._view.read(self.place(box))

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values (..., z, y, x) of the view in the axes of the volume."""
        return np.ascontiguousarray(self._view.symmetry.inverse.turned(values))


class AugmentedPredictor:
    """Class probabilities of the volume's windows, seen in a view.

    Parameters
    ----------
    predictor : Predictor
        Predicts windows of the view.
    inputs : AugmentedInputs
        Reads the regions that this is called with.
    """

    def __init__(self, predictor: Predictor, inputs: AugmentedInputs) -> None:
        self.batch_size = predictor.batch_size
        self._predictor = predictor
        self._inputs = inputs

    def __call__(self, region: RegionInputs, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return the probabilities (window, class, z, y, x) of windows of the volume."""
        places = [self._inputs.place(box) for box in boxes]
        return self._inputs.back(self._predictor(region, places))
