"""What DICOM objects that are made from a series have in common: their UIDs, times and maker.

An object is the same bytes whenever it is made again: its UIDs follow from its content, and its
dates and times are those of its source.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from parafovea import __version__
from parafovea.formats.dicom.source_series import SourceSeries
from parafovea.storage.store import replacing

MANUFACTURER = "Parafovea"

#: Longest text of a long string (LO) of DICOM.
_LONGEST = 64


@dataclass(frozen=True)
class Algorithm:
    """What made an object.

    Parameters
    ----------
    task : str
        Name of the kind of task.
    model : str
        Name of the model.
    sha256 : str
        Hash of the model; "" if unknown.
    """

    task: str
    model: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """Name with that of the model."""
        return long_string(f"{MANUFACTURER} {self.task}")

    @property
    def version(self) -> str:
        """Version of Parafovea."""
        return __version__

    @property
    def parameters(self) -> dict[str, str]:
        """The model by its name and hash."""
        known = {"model": self.model, "sha256": self.sha256}
        return {name: value for name, value in known.items() if value}


@dataclass(frozen=True)
class Segment:
    """A region of a segmentation.

    Parameters
    ----------
    label : str
        Its name in viewers, unique in its object.
    category, property_type : Code
        What it is, such as a morphologically abnormal structure, and a nodule.
    site : Code, optional
        Where it lies.
    """

    label: str
    category: Code
    property_type: Code
    site: Code | None = None


def long_string(text: str) -> str:
    """Return a text as a long string of DICOM: without backslashes, and of 64 characters."""
    return " ".join(text.replace("\\", "/").split())[:_LONGEST]


def concept(name: str) -> tuple[Code, Code]:
    """Return category and type of the property that a class of a model segments.

    Parameters
    ----------
    name : str
        Name of the class, such as "liver" or "lung_nodule".

    Returns
    -------
    category, property_type : Code
        An anatomical structure of SNOMED CT where the name is that of one that DICOM lists;
        otherwise a code of the private scheme 99PARAFOVEA, whose value is the name.
    """
    keyword = "".join(word[:1].upper() + word[1:] for word in name.replace("-", "_").split("_"))
    if keyword in dir(codes.SCT):
        return codes.SCT.AnatomicalStructure, getattr(codes.SCT, keyword)
    value = long_string(name)
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return codes.SCT.SpatialAndRelationalConcept, Code(
        value if len(value) <= 16 else digest, "99PARAFOVEA", value
    )


def uid_of(*parts: str | bytes) -> UID:
    """Return the UID of some content: the same for the same parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return UID(f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}")


def series_number(source: SourceSeries, last: int) -> int:
    """Return the number of a series that is made from another, which ends with two digits."""
    number = int(source.common.get("SeriesNumber") or 0)
    return 100 * (number if 0 < number < 10**6 else 0) + last


def equipment(algorithm: Algorithm) -> Mapping[str, Any]:
    """Return the arguments of highdicom that say which program made an object."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(algorithm.model or algorithm.task),
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.sha256[:_LONGEST] or "unknown",
        "specific_character_set": "ISO_IR 192",
    }


def complete(found: Dataset, source: SourceSeries, description: str) -> None:
    """State the series of an object, the times of its source, and what is repeated of it.

    Parameters
    ----------
    found : pydicom.Dataset
        The object, which is changed.
    source : SourceSeries
        The series that it is made from.
    description : str
        SeriesDescription.
    """
    found.SeriesDescription = long_string(description)
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(found, f"{name}Date", source.date)
        setattr(found, f"{name}Time", source.time)
    for item in found.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = source.date + source.time
    found.update(source.repeated)


def write_objects(objects: Sequence[tuple[Path, Dataset]]) -> None:
    """Write objects as files, each whole or not at all."""
    for path, found in objects:
        with replacing(path) as partial:
            found.save_as(partial, enforce_file_format=True)
