"""A DICOM segmentation (SEG) of regions, on the slices of their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from parafovea.formats.dicom.derived_object import (
    Algorithm,
    Segment,
    complete,
    equipment,
    long_string,
    series_number,
    uid_of,
)
from parafovea.formats.dicom.source_series import SourceSeries

#: End of the number of the series.
NUMBER = 91

Labels = NDArray[np.uint16]


def segmentation_object(
    source: SourceSeries,
    planes: Mapping[int, Labels],
    segments: Sequence[Segment],
    *,
    algorithm: Algorithm,
) -> Dataset:
    """Return a segmentation with a frame for each segment in each slice that it reaches.

    Parameters
    ----------
    source : SourceSeries
        The segmented series; frames lie on its slices and refer to them.
    planes : mapping of int to ndarray
        (rows, columns) uint16 by the index of the slice: number of the segment from 1, 0 outside.
    segments : sequence of Segment
        At least one. A segment without a voxel has no frame; if all are empty, the middle slice is
        a frame without a voxel, since an image has one.
    algorithm : Algorithm
        What found the segments.

    Returns
    -------
    pydicom.Dataset
        Binary, uncompressed; the UIDs follow from the content.
    """
    held = {k: plane for k, plane in sorted(planes.items()) if plane.any()}
    if not held:
        middle = len(source.stack.slices) // 2
        held = {middle: np.zeros(source.stack.slices[middle].shape, np.uint16)}
    content = [part for k, plane in held.items() for part in (str(k), plane.tobytes())]
    made = uid_of(
        "segmentation",
        source.common.SeriesInstanceUID,
        *source.instances(),
        repr(segments),
        repr(algorithm),
        algorithm.version,
        *content,
    )
    # frames of one file are told apart while references are made
    temporary = {str(uid_of(made, "plane", str(k))): k for k in held}
    found = Segmentation(
        source_images=[source.plane(k, uid) for uid, k in temporary.items()],
        pixel_array=np.stack(list(held.values())),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, segment, made, algorithm)
            for number, segment in enumerate(segments, start=1)
        ],
        series_instance_uid=uid_of(made, "series"),
        series_number=series_number(source, NUMBER),
        sop_instance_uid=made,
        instance_number=1,
        # without a segment's voxel there is the frame without one
        omit_empty_frames=any(plane.any() for plane in held.values()),
        content_label="SEGMENTATION",
        content_description=long_string(f"{algorithm.name}, {algorithm.model}"),
        **equipment(algorithm),
    )
    _refer(found, source, temporary)
    organization = uid_of(made, "dimensions")
    for item in (*found.DimensionOrganizationSequence, *found.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    complete(found, source, f"{algorithm.name}: segmentation")
    return found


def tracking(made: str, number: int) -> str:
    """Return the UID by which a segment and its measurements are known."""
    return str(uid_of(made, "segment", str(number)))


def _description(
    number: int, segment: Segment, made: str, algorithm: Algorithm
) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=long_string(segment.label),
        segmented_property_category=segment.category,
        segmented_property_type=segment.property_type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=codes.DCM.ArtificialIntelligence,
            version=algorithm.version,
            parameters=algorithm.parameters,
        ),
        tracking_uid=tracking(made, number),
        tracking_id=long_string(segment.label),
        anatomic_regions=None if segment.site is None else [segment.site],
    )


def _refer(found: Any, source: SourceSeries, temporary: Mapping[str, int]) -> None:
    """Let references name the files of the source, and their frames."""
    for group in found.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for item in derivation.SourceImageSequence:
                if item.ReferencedSOPInstanceUID not in temporary:
                    # frames of several segments share the item of their slice
                    continue
                header = source.stack.slices[temporary[item.ReferencedSOPInstanceUID]]
                item.ReferencedSOPClassUID = header.instance_class
                item.ReferencedSOPInstanceUID = header.instance
                if header.frames > 1:
                    item.ReferencedFrameNumber = header.frame + 1
    references = []
    for instance in dict.fromkeys(source.stack.slices[k].instance for k in temporary.values()):
        item = Dataset()
        item.ReferencedSOPClassUID = source.instances()[instance]
        item.ReferencedSOPInstanceUID = instance
        references.append(item)
    series = Dataset()
    series.SeriesInstanceUID = source.common.SeriesInstanceUID
    series.ReferencedInstanceSequence = references
    found.ReferencedSeriesSequence = [series]
    found.SourceImageSequence = references
