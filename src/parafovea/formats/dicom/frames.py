"""Frames of enhanced multi-frame images: the elements of each, as those of a slice in a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parafovea.errors import SourceError

#: Functional groups with elements that place, scale or tell apart frames.
_GROUPS = (
    "FrameContentSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
)

#: Elements of a frame that tell volumes of one file apart.
_APART = ("StackID", "TemporalPositionIndex", "FrameType")

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


class FrameElements:
    """Elements of one frame, which replace those of the whole image.

    Parameters
    ----------
    header : pydicom.FileDataset
        Elements of the image.
    groups : sequence of pydicom.Dataset
        Functional groups of all frames, then those of this frame, which replace them.
    """

    def __init__(self, header: Any, *groups: Any) -> None:
        self.file_meta = header.file_meta
        self.original_encoding = header.original_encoding
        self._header = header
        self._own = {
            element.keyword: element.value
            for group in groups
            for name in _GROUPS
            for item in list(group.get(name) or ())[:1]
            for element in item
        }

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of an element, or the default."""
        return self._own[key] if key in self._own else self._header.get(key, default)

    def __contains__(self, key: str) -> bool:
        return key in self._own or key in self._header

    @property
    def volume(self) -> tuple[tuple[str, str], ...]:
        """What tells the volume of this frame from others: names of elements and their values."""
        found = ((name, self._own.get(name)) for name in _APART)
        return tuple(
            (name, str(value) if isinstance(value, str | int) else "\\".join(map(str, value)))
            for name, value in found
            if value not in (None, "")
        )


def has_frames(header: Any) -> bool:
    """Return whether an image states the place of each of its frames."""
    return PER_FRAME in header


def frame_elements(label: str, header: Any) -> Iterator[FrameElements]:
    """Yield the elements of each frame, in the order of the file.

    Parameters
    ----------
    label : str
        Name of the file in messages.
    header : pydicom.FileDataset
        The elements that were read, with functional groups.

    Raises
    ------
    SourceError
        If there are not as many functional groups as frames.
    """
    own = list(header.get(PER_FRAME) or ())
    frames = int(header.get("NumberOfFrames") or 1)
    if len(own) != frames:
        raise SourceError(
            f"{label} has {frames} frames (NumberOfFrames) and describes {len(own)} of them "
            f"({PER_FRAME}): export it again"
        )
    shared = list(header.get(SHARED) or ())[:1]
    for group in own:
        yield FrameElements(header, *shared, group)
