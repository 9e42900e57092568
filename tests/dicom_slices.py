"""DICOM series for tests, written by pydicom, with a patient in each file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

SERIES = "1.2.826.0.1.3680043.8.498.1"

#: What must never leave a file.
PATIENT = {
    "PatientName": "Secretname^Test",
    "PatientID": "SECRET-4711",
    "PatientBirthDate": "19010203",
    "InstitutionName": "Secret Hospital",
    "SeriesDescription": "secret words",
}

#: Directions along x, y, z of an axial scan, and of an oblique one, as columns (LPS).
AXIAL = np.eye(3)
OBLIQUE = np.linalg.qr(np.array([[1.0, 0.2, -0.3], [-0.1, 0.9, 0.4], [0.3, -0.3, 1.0]]))[0]
OBLIQUE *= np.sign(np.diag(OBLIQUE))
OBLIQUE[:, 2] = np.cross(OBLIQUE[:, 0], OBLIQUE[:, 1])


def slice_dataset(
    stored: np.ndarray,
    position: Sequence[float],
    *,
    directions: np.ndarray = AXIAL,
    spacing: Sequence[float] = (0.7, 0.8),
    syntax: str = ExplicitVRLittleEndian,
    series: str = SERIES,
    **elements: Any,
) -> FileDataset:
    """Return a slice (rows, columns) of int16 or uint16; `elements` replace, None removes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{abs(hash(tuple(position))) % 10**9}"
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(
        "",
        {},
        preamble=bytes(128),
        file_meta=meta,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
    )
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = series
    dataset.ImagePositionPatient = [f"{v:.10g}" for v in position]
    dataset.ImageOrientationPatient = [f"{v:.10g}" for v in directions[:, :2].T.ravel()]
    dataset.PixelSpacing = list(spacing)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.PixelData = stored.tobytes()
    for key, value in {**PATIENT, **elements}.items():
        if value is None:
            delattr(dataset, key)
        else:
            setattr(dataset, key, value)
    return dataset


def save(dataset: Dataset, path: Path) -> None:
    """Write a data set as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    directions: np.ndarray = AXIAL,
    spacing: Sequence[float] = (2.5, 0.7, 0.8),
    origin: Sequence[float] = (-100.0, -80.0, 30.0),
    prefix: str = "slice",
    **elements: Any,
) -> list[Path]:
    """Write a volume (z, y, x), files in another order than slices; return them by slice."""
    numbers = np.random.default_rng(5).permutation(len(volume))
    paths = []
    for k, (number, plane) in enumerate(zip(numbers, volume, strict=True)):
        position = np.asarray(origin) + k * spacing[0] * directions[:, 2]
        dataset = slice_dataset(
            plane, position, directions=directions, spacing=spacing[1:], **elements
        )
        paths.append(folder / f"{prefix}{number:03d}.dcm")
        save(dataset, paths[-1])
    return paths


def write_structures(path: Path) -> None:
    """Write an RTSTRUCT object, which has no pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.77"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = f"{SERIES}.78"
    dataset.PatientName = PATIENT["PatientName"]
    save(dataset, path)


def enhanced_dataset(
    volume: np.ndarray,
    *,
    order: Sequence[int] | None = None,
    directions: np.ndarray = AXIAL,
    spacing: Sequence[float] = (2.5, 0.7, 0.8),
    origin: Sequence[float] = (-100.0, -80.0, 30.0),
    rescale: Sequence[tuple[float, float]] | None = None,
    shared: bool = True,
    stacks: Sequence[tuple[str, int]] | None = None,
    number: int = 1,
    **elements: Any,
) -> FileDataset:
    """Return an enhanced CT whose frames are the planes of a volume (z, y, x).

    Parameters
    ----------
    volume : ndarray
        int16 or uint16.
    order : sequence of int, optional
        Planes in the order of the frames.
    rescale : sequence of (float, float), optional
        Slope and intercept of each plane; by default 1 and 0 of all.
    shared : bool
        Whether orientation, spacing and a common rescaling are stated once, or for each frame.
    stacks : sequence of (str, int), optional
        StackID and TemporalPositionIndex of each plane; planes of several start at the origin.
    number : int
        End of the SOPInstanceUID.
    """
    order = range(len(volume)) if order is None else order
    dataset = slice_dataset(volume[0], origin, directions=directions, **elements)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = f"{SERIES}.5.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    for name in ("RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{v:.10g}" for v in directions[:, :2].T.ravel()]
    measures.PixelSpacing = list(spacing[1:])
    measures.SliceThickness = spacing[0]
    common = {"PlaneOrientationSequence": [orientation], "PixelMeasuresSequence": [measures]}

    def scaled(plane: int) -> list[Dataset]:
        slope, intercept = (1, 0) if rescale is None else rescale[plane]
        found = Dataset()
        found.RescaleSlope, found.RescaleIntercept = str(slope), str(intercept)
        found.RescaleType = "HU"
        return [found]

    if rescale is None:
        common["PixelValueTransformationSequence"] = scaled(0)
    groups, counts = [], {}
    for plane in order:
        group, content, place = Dataset(), Dataset(), Dataset()
        stack = ("1", 1) if stacks is None else stacks[plane]
        content.StackID, content.TemporalPositionIndex = stack
        k = plane if stacks is None else counts.setdefault(stack, 0)
        counts[stack] = k + 1
        content.InStackPositionNumber = k + 1
        position = np.asarray(origin) + k * spacing[0] * directions[:, 2]
        place.ImagePositionPatient = [f"{v:.10g}" for v in position]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [place]
        if rescale is not None:
            group.PixelValueTransformationSequence = scaled(plane)
        groups.append(group)
    whole = Dataset()
    if shared:
        for name, value in common.items():
            setattr(whole, name, value)
    else:
        for group in groups:
            for name, value in common.items():
                setattr(group, name, value)
    dataset.SharedFunctionalGroupsSequence = [whole]
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.NumberOfFrames = len(order)
    dataset.PixelData = np.ascontiguousarray(volume[list(order)]).tobytes()
    return dataset
