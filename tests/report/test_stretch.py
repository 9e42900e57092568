"""The words of a stretch are read under every picture of tiles."""

import numpy as np

from parafovea.report.tiles.stretch import stretch_words


def test_a_value_that_rounds_to_zero_has_no_sign():
    stretch = np.array([[-0.0002, 0.05], [-0.012, 0.2]])
    words = stretch_words(stretch, (0, 1))
    assert [text.split(" ", 1)[1] for text in words.split(", ")] == [
        "0.000 to 0.050",
        "-0.012 to 0.200",
    ]
