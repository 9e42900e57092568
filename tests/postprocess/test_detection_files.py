import json

import pandas as pd
import pytest
from pydantic import ValidationError

from parafovea.errors import StoreError
from parafovea.postprocess.detection.detection_files import (
    Detection,
    Detections,
    Properties,
    ScanMetadata,
    Triage,
    candidates_frame,
    detections_csv,
    detections_json,
    load_detections,
    load_detections_table,
    summarize,
)

#: The example of the format, as its users know it.
EXAMPLE_CSV = """\
scan_id,detection_id,coord_x,coord_y,coord_z,diameter_mm,confidence,malignancy_score,risk_category
patient_001,0,245.5,312.8,89.2,8.5,0.92,0.76,high
patient_001,1,198.3,267.4,102.7,5.2,0.85,0.34,low
"""

KEYS = ["scan_id", "model", "timestamp", "metadata", "detections", "summary"]


def example(*, triage=True, seconds=12.5):
    rows = [
        ((245.5, 312.8, 89.2), 8.5, 0.92, (321.4, -450.2, 120.5), (0.76, "high")),
        ((198.3, 267.4, 102.7), 5.2, 0.85, (73.6, -620.8, 95.3), (0.34, "low")),
    ]
    found = [
        Detection(
            id=number,
            coordinates=place,
            coordinates_voxel=tuple(int(v) for v in place),
            diameter_mm=diameter,
            confidence=confidence,
            properties=Properties(
                volume_mm3=measured[0], mean_intensity=measured[1], std_intensity=measured[2]
            ),
            triage=Triage(malignancy_score=risk[0], risk_category=risk[1]) if triage else None,
        )
        for number, (place, diameter, confidence, measured, risk) in enumerate(rows)
    ]
    return Detections(
        scan_id="patient_001",
        model="unet_focal_v1",
        timestamp="2025-12-19T10:30:00Z",
        metadata=ScanMetadata(spacing=(1.0, 1.0, 1.0), shape=(512, 512, 300)),
        detections=tuple(found),
        summary=summarize(found, triaged=triage, seconds=seconds),
    )


def test_the_json_has_the_keys_of_the_format_in_its_order():
    values = json.loads(detections_json(example()))
    assert list(values) == KEYS
    assert list(values["detections"][0]) == [
        "id",
        "coordinates",
        "coordinates_voxel",
        "diameter_mm",
        "confidence",
        "properties",
        "triage",
    ]
    assert values["detections"][0]["properties"] == {
        "volume_mm3": 321.4,
        "mean_intensity": -450.2,
        "std_intensity": 120.5,
    }
    assert values["detections"][1]["triage"] == {"malignancy_score": 0.34, "risk_category": "low"}
    assert values["metadata"] == {"spacing": [1.0, 1.0, 1.0], "shape": [512, 512, 300]}
    assert values["summary"] == {
        "num_detections": 2,
        "high_risk_count": 1,
        "low_risk_count": 1,
        "processing_time_seconds": 12.5,
    }


def test_the_csv_is_that_of_the_format():
    assert detections_csv(example()) == EXAMPLE_CSV


def test_without_a_calibration_nothing_is_said_of_risk():
    document = example(triage=False, seconds=None)
    values = json.loads(detections_json(document))
    assert "triage" not in values["detections"][0]
    assert values["summary"] == {"num_detections": 2}
    assert detections_csv(document).splitlines()[1].endswith(",0.92,,")


def test_what_was_written_is_read_as_it_was(tmp_path):
    for triage in (True, False):
        document = example(triage=triage)
        path = tmp_path / "detections.json"
        path.write_text(detections_json(document), encoding="utf-8")
        assert load_detections(path) == document
        table = tmp_path / "detections.csv"
        table.write_text(detections_csv(document), encoding="utf-8")
        read = load_detections_table(table)
        assert read["coord_z"].tolist() == [89.2, 102.7]
        assert read["malignancy_score"].isna().all() != triage
        assert read["risk_category"].tolist() == (["high", "low"] if triage else ["", ""])


def test_a_scan_id_of_digits_or_with_a_comma_stays_a_text(tmp_path):
    for name in ("007", 'a, "b"', "NA"):
        path = tmp_path / "detections.csv"
        text = detections_csv(example().model_copy(update={"scan_id": name}))
        path.write_text(text, encoding="utf-8")
        assert load_detections_table(path)["scan_id"].tolist() == [name, name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["detections"][1].update(confidence=1.2), r"detections\.1\.confidence"),
        (lambda v: v["detections"][0].update(coordinates=[1, 2]), r"detections\.0\.coordinates"),
        (lambda v: v["detections"][0]["properties"].pop("volume_mm3"), r"properties\.volume_mm3"),
        (lambda v: v["detections"][0].update(id=1), r"ids of detections must be 0, 1"),
        (lambda v: v["summary"].update(num_detections=3), r"num_detections is 3, but there are 2"),
        (lambda v: v.update(timestamp="yesterday"), r"timestamp"),
        (lambda v: v.update(extra=1), r"extra"),
        (lambda v: v["detections"][0].update(diameter_mm=0), r"diameter_mm"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, change, message):
    values = json.loads(detections_json(example()))
    change(values)
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(values))
    with pytest.raises(
        StoreError, match=rf"detections\.json is not a valid detections file: .*{message}"
    ):
        load_detections(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scan_id": NaN}', "\xff"])
def test_what_is_no_json_is_refused(tmp_path, text):
    path = tmp_path / "detections.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="is not a valid detections file"):
        load_detections(path)


def test_a_missing_file_is_named(tmp_path):
    for load in (load_detections, load_detections_table):
        with pytest.raises(StoreError, match=r"nowhere.* is missing"):
            load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("diameter_mm", "width", "has the columns .*width.*, not scan_id"),
        ("89.2", "deep", "non-numeric values in column coord_z"),
        (EXAMPLE_CSV, "", "is not a table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, old, new, message):
    path = tmp_path / "detections.csv"
    path.write_text(EXAMPLE_CSV.replace(old, new))
    with pytest.raises(StoreError, match=message):
        load_detections_table(path)


def test_infinite_numbers_are_no_properties():
    with pytest.raises(ValidationError):
        Properties(volume_mm3=1, mean_intensity=float("nan"), std_intensity=0)


def test_intermediate_risks_are_counted_where_there_are_any():
    first, second = example().detections
    middle = Triage(malignancy_score=0.5, risk_category="intermediate")
    summary = summarize((first, second.model_copy(update={"triage": middle})), triaged=True)
    assert (summary.high_risk_count, summary.intermediate_risk_count) == (1, 1)
    assert summary.low_risk_count == 0


def test_the_table_of_candidates_has_the_columns_of_luna16():
    frame = candidates_frame(example())
    assert frame.to_csv(index=False) == (
        "seriesuid,coordX,coordY,coordZ,diameter_mm,probability\n"
        "patient_001,245.5,312.8,89.2,8.5,0.92\n"
        "patient_001,198.3,267.4,102.7,5.2,0.85\n"
    )
    empty = example().model_copy(update={"detections": ()})
    pd.testing.assert_index_equal(candidates_frame(empty).columns, frame.columns)
    assert all(kind.kind == "f" for kind in candidates_frame(empty).dtypes[1:])
