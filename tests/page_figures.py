"""The figures of a page, as elements in its text."""

from __future__ import annotations

import re

#: Points, and points of the width of a page: at 800 pixels, such text is 10 pixels high.
SMALLEST, WIDEST = 8.0, 8 * 72


def assert_readable(page: str) -> None:
    """Fail if a figure of a page is wider than it, or has text that is small beside that."""
    figures = re.findall(r"<svg viewBox=.*?</svg>", page, re.DOTALL)
    assert figures
    for figure in figures:
        width = float(re.search(r'viewBox="\S+ \S+ (\S+) ', figure)[1])
        assert width <= WIDEST + 1e-6
        # an outline is that of a letter of 100 points
        sizes = [100 * float(size) for size in re.findall(r"scale\((0\.\d+) -0\.\d+\)", figure)]
        assert sizes
        assert min(sizes) >= SMALLEST - 1e-6
