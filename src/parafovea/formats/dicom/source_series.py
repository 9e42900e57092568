"""The series that results are made from, as results of DICOM refer to it.

Only here the patient and the study are read, which results of DICOM have to repeat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from parafovea.errors import SourceError
from parafovea.formats.dicom.contents import Contents
from parafovea.formats.dicom.deflated import inflated
from parafovea.formats.dicom.headers import SliceHeader
from parafovea.formats.dicom.series import contents_of, slices_of
from parafovea.formats.dicom.stacking import Stack, stack
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.source import Source, readable
from parafovea.formats.unpacking import LARGEST_EXTENSION
from parafovea.geometry.grid import Shape, shape3

Floats = NDArray[np.float64]

#: What a slice has to state so that results can refer to it, by the field of its header.
_REQUIRED = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
    "instance": "SOPInstanceUID",
    "instance_class": "SOPClassUID",
}

#: Patient and study as they are repeated; empty if the source does not state them.
_REPEATED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)

#: What is repeated if the source states it.
_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
)

#: How the source was compressed, which its segmentation states, too.
_LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)

#: Dates and times of which the first one there is that of the results.
_TIMES = ("Content", "Acquisition", "Series", "Study")

#: Tolerated difference between the voxels of the scan and the slices, in voxels.
_APART = 1e-3


@dataclass(frozen=True)
class SourceSeries:
    """A series of DICOM slices with what its results repeat of it.

    Parameters
    ----------
    path : str
        Folder or archive of the series.
    stack : Stack
        Its slices in the order of the volume's planes.
    start : tuple of int
        First voxel z, y, x of the slices that belongs to the scan, which may be a region of them.
    common : pydicom.Dataset
        Study, series and times, without the patient, so that libraries cannot log a name.
    repeated : pydicom.Dataset
        The patient, and what the source says of the study.
    """

    path: str
    stack: Stack
    start: Shape
    common: Dataset
    repeated: Dataset

    @property
    def date(self) -> str:
        """Date of the source as YYYYMMDD, which its results state instead of the clock's."""
        return self._first("Date", r"\d{8}", "19700101")

    @property
    def time(self) -> str:
        """Time of the source as HHMMSS."""
        return self._first("Time", r"\d{6}", "000000")

    def _first(self, ending: str, pattern: str, default: str) -> str:
        for name in _TIMES:
            found = re.match(pattern, self._stated(f"{name}{ending}"))
            # a time counts only with its date
            if found and (ending == "Date" or self._stated(f"{name}Date")):
                return found[0]
        return default

    def _stated(self, name: str) -> str:
        return str(self.common.get(name) or self.repeated.get(name) or "")

    def instances(self) -> Mapping[str, str]:
        """Return the SOPClassUID of each instance by its SOPInstanceUID, in the slices' order."""
        return {each.instance: each.instance_class for each in self.stack.slices}

    def plane(self, k: int, instance: str) -> Dataset:
        """Return a slice as an image of its own, under another SOPInstanceUID.

        A frame is one of a class with single slices.

        Parameters
        ----------
        k : int
            Index of the slice.
        instance : str
            The SOPInstanceUID.
        """
        header, found = self.stack.slices[k], Dataset()
        found.update(self.common)
        z, y, x = self.spacing
        found.SOPInstanceUID = instance
        found.SOPClassUID = CTImageStorage if header.frames > 1 else header.instance_class
        found.Rows, found.Columns = header.shape
        found.ImagePositionPatient = [decimal(v) for v in header.position]
        found.ImageOrientationPatient = [decimal(v) for v in self.stack.directions[:, :2].T.ravel()]
        found.PixelSpacing = [decimal(y), decimal(x)]
        found.SliceThickness = found.SpacingBetweenSlices = decimal(z)
        return found

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along z, y, x in millimetres."""
        z, y, x = (1.0 if each is None else float(each) for each in self.stack.spacing)
        return z, y, x


def decimal(value: float) -> str:
    """Return a number as a decimal string of DICOM, of at most 16 characters, never minus zero.

    Raises
    ------
    ValueError
        If it has none, such as infinity.
    """
    for digits in range(15, 0, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value} has no decimal string of 16 characters")


def check_output(path: str, metadata: SourceMetadata) -> Stack:
    """Return the slices of a series to which results of DICOM can refer.

    Parameters
    ----------
    path : str
        Folder or archive of the series.
    metadata : SourceMetadata
        What the user states of it.

    Raises
    ------
    SourceError
        If the series cannot be read, lacks what results have to repeat, mixes frames of reference,
        or the user states another place than its slices.
    """
    given = [key for key in ("spacing", "unit", "origin") if getattr(metadata, key) is not None]
    if given:
        raise SourceError(
            f"{path} has {' and '.join(f'{key}=' for key in given)} in its metadata, but DICOM "
            "results lie where its slices say: correct the slices, or write no DICOM results"
        )
    with readable(path):
        found = stack(path, slices_of(contents_of(path), metadata)[0])
    for field, tag in _REQUIRED.items():
        lacking = [each.label for each in found.slices if not getattr(each, field)]
        if lacking:
            raise SourceError(
                f"{lacking[0]} does not state {tag} ({len(lacking)} of {len(found.slices)} slices "
                "lack it), which DICOM results have to repeat: export the series again, or write "
                "no DICOM results"
            )
    for field in ("study", "frame_of_reference"):
        values = {getattr(each, field): each.label for each in found.slices}
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            raise SourceError(
                f"{first} has the {_REQUIRED[field]} {one}, but {second} has {other}: keep the "
                "slices of one study and one frame of reference, or write no DICOM results"
            )
    known: dict[str, str] = {}
    for each in found.slices:
        # frames of one file share it
        if known.setdefault(each.instance, each.label) != each.label and each.frames == 1:
            raise SourceError(
                f"{each.label} and {known[each.instance]} have one SOPInstanceUID, so that DICOM "
                "results could not refer to either: export the series again, or write no DICOM "
                "results"
            )
    if None in found.spacing:
        raise SourceError(
            f"{found.slices[0].label} does not state PixelSpacing or the thickness of its only "
            "slice: export the series again, or write no DICOM results"
        )
    return found


def source_series(scan: Source, metadata: SourceMetadata) -> SourceSeries:
    """Return the series of a scan, with its patient and study.

    Parameters
    ----------
    scan : Source
        The scan as it was opened, or a region of it.
    metadata : SourceMetadata
        What the user states of it.

    Raises
    ------
    SourceError
        As `check_output`, and if the scan's voxels are not those of the slices.
    """
    found = check_output(scan.path, metadata)
    contents = contents_of(scan.path)
    z, y, x = (float(each or 0) for each in found.spacing)
    start = _start(scan, found.affine((z, y, x)))
    common, repeated = _common(contents, found.slices)
    return SourceSeries(scan.path, found, start, common, repeated)


def _start(scan: Source, affine: Floats) -> Shape:
    """Return the voxel of the slices that is the first one of a scan."""
    if scan.affine is None:
        raise SourceError(f"{scan.path} has no place in the patient: export it again")
    between = np.linalg.inv(affine) @ np.asarray(scan.affine, np.float64)
    start = np.rint(between[:3, 3])
    if not np.allclose(between[:3, :3], np.eye(3), atol=1e-6) or (
        np.abs(between[:3, 3] - start).max() > _APART
    ):
        raise SourceError(
            f"{scan.path} is read at other voxels than those of its slices: write no DICOM results"
        )
    return shape3([int(v) for v in start[::-1]])


def _common(contents: Contents, slices: Sequence[SliceHeader]) -> tuple[Dataset, Dataset]:
    """Return study and series of the first slice, and what results repeat of it."""
    first = slices[0]
    with (
        readable(first.label),
        contents.opened() as open_file,
        open_file(first.name) as file,
    ):
        plain: Any = file
        if first.syntax == DeflatedExplicitVRLittleEndian:
            plain = inflated(file, LARGEST_EXTENSION, whole=False) or file
            plain.seek(0)
        times = [f"{name}{ending}" for name in _TIMES for ending in ("Date", "Time")]
        header = dcmread(
            plain,
            stop_before_pixels=True,
            force=True,
            specific_tags=[*_REPEATED, *_OPTIONAL, *times, "SeriesNumber", "SpecificCharacterSet"],
        )
        header.decode()
        common, repeated = Dataset(), Dataset()
        for name in (*_LOSSY, *times, "SeriesNumber"):
            if header.get(name) not in (None, ""):
                common[name] = header[name]
        for name in _OPTIONAL:
            if header.get(name) not in (None, ""):
                repeated[name] = header[name]
        for name in _REPEATED:
            setattr(repeated, name, _repeated(name, header.get(name)))
            # the element itself is the header's
            common.pop(name, None)
            setattr(common, name, "")
    common.SpecificCharacterSet = "ISO_IR 192"
    common.StudyInstanceUID = first.study
    common.SeriesInstanceUID = first.series
    common.FrameOfReferenceUID = first.frame_of_reference
    common.Modality = first.modality
    return common, repeated


def _repeated(name: str, value: Any) -> Any:
    """Return a value of the patient or the study; "" for one that the standard does not allow."""
    text = "" if value is None else str(value)
    if name.endswith("Date") and not re.fullmatch(r"\d{8}", text):
        return ""
    if name.endswith("Time") and not re.fullmatch(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", text):
        return ""
    if name == "PatientSex" and text not in ("M", "F", "O"):
        return ""
    return text
