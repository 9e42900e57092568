import pytest

from parafovea.report.provenance_rows import degraded_reasons, provenance_rows


def test_nested_records_become_dotted_names_and_short_texts():
    record = {
        "stage": "infer",
        "model": {"name": "cell", "training": {}},
        "overlap": 0.5,
        "tta": None,
        "clip": True,
        "starts": [[0, 1], list(range(10))],
    }
    assert provenance_rows(record) == (
        ("stage", "infer"),
        ("model.name", "cell"),
        ("model.training", "none"),
        ("overlap", "0.5"),
        ("tta", "none"),
        ("clip", "yes"),
        ("starts", "[[0, 1], [0, 1, 2, …, 9] (10 values)]"),
    )


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        ({}, ()),
        ({"degraded": False, "model": {"degraded": []}}, ()),
        ({"inference": {"degraded": "no context"}}, ("no context",)),
        ({"degraded": ["a", "b"], "deeper": {"degraded": ["b", "c"]}}, ("a", "b", "c")),
        ({"degraded": True, "degraded_reason": "ran without context"}, ("ran without context",)),
    ],
)
def test_degraded_is_found_at_any_depth_and_told_once(record, reasons):
    assert degraded_reasons(record) == reasons


def test_degraded_without_a_reason_gets_one():
    (reason,) = degraded_reasons({"degraded": True})
    assert "missing" in reason
