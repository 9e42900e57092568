"""A DICOM report (Comprehensive 3D SR, TID 1500) of measurements of segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from parafovea.formats.dicom.derived_object import (
    MANUFACTURER,
    Algorithm,
    Segment,
    complete,
    equipment,
    long_string,
    series_number,
    uid_of,
)
from parafovea.formats.dicom.segmentation_object import tracking
from parafovea.formats.dicom.source_series import SourceSeries

#: x, y, z in the frame of reference (LPS), in millimetres.
Position = tuple[float, float, float]

#: End of the number of the series.
NUMBER = 92

#: Procedures by modality.
_PROCEDURES = {
    "CT": Code("77477000", "SCT", "Computed Tomography"),
    "MR": Code("113091000", "SCT", "Magnetic Resonance Imaging"),
    "PT": Code("82918005", "SCT", "Positron Emission Tomography"),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")

_PRESENCE = Code("705057003", "SCT", "Presence")


@dataclass(frozen=True)
class Measured:
    """A measurement of a segment.

    Parameters
    ----------
    name, unit : Code
        What is measured.
    value : float
        In the unit.
    derivation : Code, optional
        Such as the mean of many values.
    """

    name: Code
    unit: Code
    value: float
    derivation: Code | None = None


@dataclass(frozen=True)
class MeasuredSegment:
    """A segment with its measurements.

    Parameters
    ----------
    number : int
        Of the segment, from 1.
    segment : Segment
        What it is.
    measured : sequence of Measured
        At least one; the position belongs to the first.
    position : tuple of float, optional
        Its centre x, y, z in the frame of reference (LPS), in millimetres.
    """

    number: int
    segment: Segment
    measured: Sequence[Measured]
    position: Position | None = None


def measurement_report(
    source: SourceSeries,
    segmentation: Dataset,
    groups: Sequence[MeasuredSegment],
    *,
    algorithm: Algorithm,
    sought: Segment,
) -> Dataset:
    """Return a report with a group of measurements for each segment, and one for its position.

    In the group of a region (TID 1411) a measurement must not refer to coordinates, so that the
    position is a point that the first measurement is inferred from in a group of its own
    (TID 1501), with the same tracking UID.

    Parameters
    ----------
    source : SourceSeries
        The series that was measured.
    segmentation : pydicom.Dataset
        From `segmentation_object`; groups refer to its segments and have their tracking UIDs.
    groups : sequence of MeasuredSegment
        The segments; with none, one group states that what was sought is absent.
    algorithm : Algorithm
        What found and measured them.
    sought : Segment
        What was looked for.
    """
    made = uid_of("report", segmentation.SOPInstanceUID, repr(groups), repr(algorithm))
    identified = sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        parameters=[f"{name}: {value}" for name, value in algorithm.parameters.items()],
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )
    content = [_region(source, segmentation, group, identified) for group in groups]
    content += [
        _position(source, segmentation, group, group.position, identified)
        for group in groups
        if group.position is not None
    ]
    content = content or [_none_found(made, sought, identified)]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=uid_of("device", repr(algorithm), algorithm.version),
                    name=algorithm.name,
                    manufacturer_name=MANUFACTURER,
                    model_name=long_string(algorithm.model),
                ),
            )
        ),
        procedure_reported=_PROCEDURES.get(source.common.Modality, _ANY_PROCEDURE),
        imaging_measurements=content,
        title=codes.DCM.ImagingMeasurementReport,
    )
    # the first one is what the library takes the patient from, and logs: there is none in it
    evidence: list[Dataset] = []
    for instance, instance_class in source.instances().items():
        image = source.plane(0, instance)
        image.SOPClassUID = instance_class
        evidence.append(image)
    evidence.append(segmentation)
    found = sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=uid_of(made, "series"),
        series_number=series_number(source, NUMBER),
        sop_instance_uid=made,
        instance_number=1,
        is_complete=True,
        **equipment(algorithm),
    )
    complete(found, source, f"{algorithm.name}: measurements")
    return found


def _region(
    source: SourceSeries,
    segmentation: Dataset,
    group: MeasuredSegment,
    algorithm: sr.AlgorithmIdentification,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(segmentation, group),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=group.number,
            source_series=sr.SourceSeriesForSegmentation(source.common.SeriesInstanceUID),
        ),
        finding_type=group.segment.property_type,
        finding_category=group.segment.category,
        finding_sites=_sites(group.segment),
        algorithm_id=algorithm,
        measurements=[_measurement(each) for each in group.measured],
    )


def _position(
    source: SourceSeries,
    segmentation: Dataset,
    group: MeasuredSegment,
    position: Position,
    algorithm: sr.AlgorithmIdentification,
) -> sr.MeasurementsAndQualitativeEvaluations:
    place = sr.CoordinatesForMeasurement3D(
        graphic_type=sr.GraphicTypeValues3D.POINT,
        graphic_data=np.array([position], np.float64),
        frame_of_reference_uid=source.common.FrameOfReferenceUID,
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(segmentation, group),
        finding_type=group.segment.property_type,
        finding_category=group.segment.category,
        finding_sites=_sites(group.segment),
        algorithm_id=algorithm,
        measurements=[_measurement(group.measured[0], place)],
    )


def _tracked(segmentation: Dataset, group: MeasuredSegment) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=tracking(segmentation.SOPInstanceUID, group.number),
        identifier=long_string(group.segment.label),
    )


def _sites(segment: Segment) -> list[sr.FindingSite] | None:
    return None if segment.site is None else [sr.FindingSite(segment.site)]


def _measurement(
    measured: Measured, place: sr.CoordinatesForMeasurement3D | None = None
) -> sr.Measurement:
    return sr.Measurement(
        name=measured.name,
        value=measured.value,
        unit=measured.unit,
        derivation=measured.derivation,
        referenced_coordinates=None if place is None else [place],
    )


def _none_found(
    made: str, sought: Segment, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return a group that states that nothing was found; a report has at least one group."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid_of(made, "none"), identifier="none"),
        finding_type=sought.property_type,
        finding_category=sought.category,
        finding_sites=_sites(sought),
        algorithm_id=algorithm,
        qualitative_evaluations=[sr.QualitativeEvaluation(_PRESENCE, codes.SCT.Absent)],
    )
