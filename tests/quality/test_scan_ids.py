"""Ids of scans that two tables write differently are one where that is one to one."""

import pandas as pd
import pytest

from parafovea.errors import TableError
from parafovea.quality.detections.detector_score import evaluate_detections
from parafovea.quality.detections.matching import match_candidates
from parafovea.quality.detections.scan_ids import plain_id, same_ids
from parafovea.quality.detections.scan_score import scan_findings

COLUMNS = ["seriesuid", "coordX", "coordY", "coordZ"]


def _marks(*ids):
    rows = [[name, 10.0 * k, 0, 0, 0.9] for k, name in enumerate(ids)]
    return pd.DataFrame(rows, columns=[*COLUMNS, "probability"])


def _findings(*ids):
    rows = [[name, 10.0 * k, 0, 0, 6.0] for k, name in enumerate(ids)]
    return pd.DataFrame(rows, columns=[*COLUMNS, "diameter_mm"])


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("7", "7"),
        ("007", "7"),
        ("7.0", "7"),
        ("7.", "7"),
        (" 007 ", "7"),
        ("000", "0"),
        ("007.nii.gz", "7"),
        ("scans/007.mha", "7"),
        ("a.nii", "a"),
        ("7.5", "7.5"),
        ("1.2.840.0", "1.2.840.0"),
        ("a007", "a007"),
        ("12345678901234567890", "12345678901234567890"),
        ("", ""),
    ],
)
def test_an_id_means_its_number_or_its_name(name, meaning):
    assert plain_id(name) == meaning


@pytest.mark.parametrize(
    "ours", [["7", "10", "100"], ["7.0", "10.0", "100.0"], ["7.nii.gz", "010"]]
)
@pytest.mark.parametrize("listed", [True, False], ids=["with a list", "without"])
def test_findings_are_found_whatever_the_zeros_of_their_ids(ours, listed):
    theirs = ["007", "010", "100"][: len(ours)]
    series = theirs if listed else None
    score = evaluate_detections(_marks(*ours), _findings(*theirs), series=series, bootstrap=0)
    assert score.score == 1
    (note,) = score.matching.notes
    assert f"{ours[0]!r} = '007'" in note
    assert score.matching.warnings == ()


def test_the_findings_are_matched_to_the_list_too():
    found = match_candidates(_marks("7"), _findings("7.0"), series=["007", "008"])
    assert found.counts["hit"] == 1
    assert len(found.notes) == 2


def test_excluded_findings_are_matched_too():
    excluded = _findings("7.0", "7.0").assign(coordX=[0.0, 50.0])
    marks = _marks("007", "007").assign(coordX=[0.0, 50.0])
    found = match_candidates(marks, _findings("007"), excluded=excluded)
    assert found.counts["ignored_on_excluded"] == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(["7", "007"], ["7.0"]), (["7"], ["007", "07"]), (["7"], ["7", "007"]), (["7.5"], ["07.5"])],
)
def test_ids_that_are_not_one_to_one_are_left_as_they_are(ours, theirs):
    assert same_ids(ours, theirs) == {}


def test_ids_of_one_table_alone_are_a_warning():
    found = match_candidates(_marks("a", "b", "c"), _findings("a", "d"))
    assert found.notes == ()
    missed, false = found.warnings
    assert missed.startswith("1 of 2 series with findings have no candidate")
    assert missed.endswith(": d")
    assert false.startswith("2 of 3 series with candidates have no finding")
    assert false.endswith(": b, c")


def test_a_list_that_lacks_a_series_is_no_reason_to_remove_lines():
    with pytest.raises(TableError, match=r"the series 'x'.* spell it as in the list") as caught:
        match_candidates(_marks("x"), _findings("a"), series=["a", "b"])
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize("series", ["007", "7", "7.0", "7.nii.gz"])
def test_the_findings_of_one_scan_are_matched_by_number(tmp_path, caplog, series):
    (tmp_path / "a.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n007,1,2,3,6\n010,1,2,3,6\n"
    )
    assert len(scan_findings(tmp_path / "a.csv", series)) == 1
    assert len(caplog.records) == (series != "007")
