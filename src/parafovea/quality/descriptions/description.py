"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Stands for the name of a class or a band in the name of a metric, and in its words.
PLACE = "{}"

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True, slots=True)
class Description:
    """What a metric is.

    Parameters
    ----------
    label : str
        Readable name, such as "IoU of nucleus".
    unit : str
        Symbol or plural noun, such as "mm" or "voxels"; "" for a ratio.
    meaning : str
        One or two sentences.
    low, high : float or None
        Ends of the range of possible values; None if it has no end.
    better : {"higher", "lower", ""}
        Which values are better; "" if neither.
    is_count : bool
        Whether it is a whole number.
    """

    label: str
    unit: str = ""
    meaning: str = ""
    low: float | None = None
    high: float | None = None
    better: Better = ""
    is_count: bool = False

    @property
    def heading(self) -> str:
        """Name with the unit, for axes and columns; the unit of a count is in its name."""
        return f"{self.label} ({self.unit})" if self.unit and not self.is_count else self.label


def share(label: str, meaning: str, better: Better = "higher") -> Description:
    """Return the description of a share, from 0 to 1."""
    return Description(label, "", meaning, 0.0, 1.0, better)


def count(label: str, unit: str, meaning: str, better: Better = "") -> Description:
    """Return the description of a whole number."""
    return Description(label, unit, meaning, 0.0, None, better, is_count=True)
