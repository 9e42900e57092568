"""What a received DICOM object is: a slice that is predicted, something to ignore, or damaged.

Only elements before the first one of its place are read, and no patient data. UIDs become names of
files, so what is no UID is refused.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage

from parafovea.errors import SourceError

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

#: Longest UID of the standard.
_LONGEST = 64

_NAMES = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
_TAGS = tuple(Tag(name) for name in _NAMES)
_LAST = Tag("SeriesInstanceUID")

#: Kinds of objects that are never slices of a scan, although they have pixels.
_NO_SLICES = ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTDOSE", "REG", "OT", "SC")

#: Overview images that scanners add to a scan.
_OVERVIEW = "LOCALIZER"

#: Objects of which a scan of a CT scanner consists.
CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage)


class RefusedObject(Exception):  # noqa: N818  (an answer, not an error of the program)
    """An object that a limit refuses.

    Parameters
    ----------
    reason : str
        Which limit, without any value of the object.
    full : bool
        Whether it is for lack of room, and may be taken later.
    """

    def __init__(self, reason: str, *, full: bool) -> None:
        super().__init__(reason)
        self.full = full


def is_uid(text: str) -> bool:
    """Return whether a text is a UID: numbers with dots between them, at most 64 characters.

    Such a text names a file safely: it is no path, and neither `.` nor `..`.
    """
    return len(text) <= _LONGEST and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object by its header.

    Parameters
    ----------
    instance, series, study : str
        SOPInstanceUID, SeriesInstanceUID and StudyInstanceUID; valid names of files.
    kind : str
        SOPClassUID.
    modality : str
        Modality.
    image_type : tuple of str
        ImageType.
    """

    instance: str
    series: str
    study: str
    kind: str
    modality: str
    image_type: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: BinaryIO) -> ReceivedObject:
        """Read the header of a DICOM file.

        Parameters
        ----------
        file : binary file
            At its beginning.

        Raises
        ------
        SourceError
            If it cannot be read, or its UIDs are missing or none. The message holds no value of
            the file.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = read_partial(file, stop_when=_beyond, specific_tags=list(_TAGS))
                syntax = header.file_meta.get("TransferSyntaxUID")
                values = {name: header.get(name) for name in _NAMES}
        except Exception as error:
            # pydicom raises errors of all kinds at damaged files, and their texts quote them
            raise SourceError(
                f"the object is no readable DICOM ({type(error).__name__}): export it again"
            ) from None
        if syntax == DeflatedExplicitVRLittleEndian:
            raise SourceError("the object is deflated as a whole: send it without this compression")
        for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            if not is_uid(str(values[name] or "")):
                raise SourceError(f"the {name} of the object is missing or no UID: export it again")
        image_type = values["ImageType"]
        listed = [image_type] if isinstance(image_type, str) else list(image_type or ())
        return cls(
            instance=str(values["SOPInstanceUID"]),
            series=str(values["SeriesInstanceUID"]),
            study=str(values["StudyInstanceUID"]),
            kind=str(values["SOPClassUID"] or ""),
            modality=str(values["Modality"] or "").strip(),
            image_type=tuple(str(each).strip().upper() for each in listed),
        )

    def is_slice(self, modalities: tuple[str, ...]) -> bool:
        """Return whether it is part of a scan of one of some modalities, and no overview image."""
        if self.modality not in modalities or self.modality in _NO_SLICES:
            return False
        if self.modality == "CT" and self.kind not in CT_CLASSES:
            return False
        return _OVERVIEW not in self.image_type


def _beyond(tag: BaseTag, representation: str | None, length: int) -> bool:
    return bool(tag > _LAST)


# Scanners break the formatting rules of the standard; what is used here is checked.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
