"""Test-time augmentation: windows predicted from mirrored or rotated views.

The loop runs over the windows of the volume. An augmented view maps each window into the view,
predicts it from the view's own features, and transforms the result back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ScoreError
from parafovea.geometry.grid import Box
from parafovea.inference.sample_inputs import RegionInputs, SampleInputs
from parafovea.inference.window_loop import PredictsWindows


class AugmentedInputs:
    """Inputs of a view, addressed by boxes of the volume.

    Parameters
    ----------
    view : SampleInputs
        Inputs opened with the name of the augmentation.
    """

    def __init__(self, view: SampleInputs) -> None:
        self._view = view
        self._shape = view.symmetry.inverse.shape(view.grid.shape)

    def place(self, box: Box) -> Box:
        """Return the box in the view of a box of the volume."""
        return self._view.symmetry.box(box, self._shape)

    def read(self, box: Box) -> RegionInputs:
        """Read the inputs of the windows in a box of the volume, in the axes of the view."""
        return self._view.read(self.place(box))

    def back(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values (..., z, y, x) of the view in the axes of the volume."""
        return np.ascontiguousarray(self._view.symmetry.inverse.turned(values))


class AugmentedPredictor:
    """Predictor of the volume's windows through a view.

    Parameters
    ----------
    predictor : Predictor or ImagePredictor
        Predictor of windows of the view.
    inputs : AugmentedInputs
        Reader of the regions that the predictor is called with.
    """

    def __init__(self, predictor: PredictsWindows, inputs: AugmentedInputs) -> None:
        self.batch_size = predictor.batch_size
        self._predictor = predictor
        self._inputs = inputs

    def __call__(self, region: RegionInputs, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return the probabilities (window, class, z, y, x) of windows of the volume."""
        places = [self._inputs.place(box) for box in boxes]
        try:
            predicted = self._predictor(region, places)
        except ScoreError as error:
            error.add_note("in a view of inference.tta, whose axes the window is given in")
            raise
        return self._inputs.back(predicted)
