import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from luna16_rules import match

from parafovea.errors import TableError
from parafovea.quality.detections.matching import match_candidates

MARK = ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
FINDING = [*MARK[:4], "diameter_mm"]


def marks(*rows):
    return pd.DataFrame(rows, columns=MARK)


def findings(*rows):
    return pd.DataFrame(rows, columns=FINDING)


def outcomes(*arguments, **options):
    return match_candidates(*arguments, **options).candidates["outcome"].tolist()


def test_a_hit_is_nearer_than_the_radius_and_not_at_it():
    truth = findings(("a", 0, 0, 0, 10.0))
    assert outcomes(marks(("a", 3, 4, 0, 0.5)), truth) == ["false positive"]
    assert outcomes(marks(("a", 3, 3.999999, 0, 0.5)), truth) == ["hit"]


def test_of_several_candidates_on_a_finding_the_most_probable_counts_and_the_others_do_not():
    truth = findings(("a", 0, 0, 0, 10.0))
    done = match_candidates(
        marks(("a", 0, 0, 0, 0.2), ("a", 2, 0, 0, 0.9), ("a", 1, 0, 0, 0.9)), truth
    )
    assert done.candidates["outcome"].tolist() == ["double", "hit", "double"]
    (found,) = done.findings.to_dict("records")
    assert (found["probability"], found["candidate"], found["marks"]) == (0.9, 1, 3)
    assert found["distance_mm"] == 2


def test_a_candidate_between_two_findings_hits_both():
    truth = findings(("a", 0, 0, 0, 10.0), ("a", 6, 0, 0, 10.0))
    done = match_candidates(marks(("a", 3, 0, 0, 0.4)), truth)
    assert done.findings["hit"].all()
    assert done.counts["hit"] == 2
    assert done.counts["false_positives"] == 0


def test_candidates_on_excluded_findings_count_neither_way():
    truth, spared = findings(("a", 0, 0, 0, 4.0)), findings(("a", 50, 0, 0, 6.0))
    table = marks(("a", 52, 0, 0, 0.9), ("a", 54, 0, 0, 0.8))
    assert outcomes(table, truth, excluded=spared) == ["excluded", "false positive"]
    assert outcomes(table, truth) == ["false positive", "false positive"]


def test_a_finding_wins_over_an_excluded_one_at_its_place():
    truth = findings(("a", 0, 0, 0, 4.0))
    assert outcomes(marks(("a", 1, 0, 0, 0.9)), truth, excluded=truth) == ["hit"]


def test_an_excluded_finding_without_a_diameter_has_one_of_10_mm():
    truth, spared = findings(("a", 99, 0, 0, 4.0)), findings(("a", 0, 0, 0, -1.0))
    table = marks(("a", 4.99, 0, 0, 0.5), ("a", 5.0, 0, 0, 0.5))
    assert outcomes(table, truth, excluded=spared) == ["excluded", "false positive"]


def test_a_candidate_never_hits_a_finding_of_another_scan():
    truth = findings(("a", 0, 0, 0, 10.0), ("b", 50, 0, 0, 10.0))
    done = match_candidates(marks(("a", 0, 0, 0, 0.9), ("a", 50, 0, 0, 0.8)), truth)
    assert done.candidates["outcome"].tolist() == ["hit", "false positive"]


def test_of_more_candidates_than_count_those_above_the_next_one_stay():
    truth = findings(("a", 0, 0, 0, 1.0))
    table = marks(*(("a", 9, 9, i, p) for i, p in enumerate((0.9, 0.5, 0.7, 0.5, 0.1))))
    kept = ["false positive", "beyond limit", "false positive", "beyond limit", "beyond limit"]
    assert outcomes(table, truth, most=2) == kept
    # the one after the third is as probable as the third, so that both go
    assert outcomes(table, truth, most=3) == kept
    assert outcomes(table, truth, most=None) == ["false positive"] * 5


def test_a_series_that_the_list_lacks_is_named_with_its_table():
    truth = findings(("a", 0, 0, 0, 1.0))
    with pytest.raises(TableError, match=r"candidates name the series 'c' and 1 more series"):
        match_candidates(marks(("c", 0, 0, 0, 1.0), ("d", 0, 0, 0, 1.0)), truth, series=["a", "b"])
    with pytest.raises(TableError, match="findings name the series 'a', which the list"):
        match_candidates(marks(("b", 0, 0, 0, 1.0)), truth, series=["b"])


def test_tables_that_name_series_differently_are_refused():
    truth = findings(("1.2.3", 0, 0, 0, 1.0))
    with pytest.raises(TableError, match=r"candidates have 'scan of 1\.2\.3', findings '1\.2\.3'"):
        match_candidates(marks(("scan of 1.2.3", 0, 0, 0, 1.0)), truth)


def test_no_findings_at_all_are_refused():
    with pytest.raises(TableError, match="there are no findings"):
        match_candidates(marks(("a", 0, 0, 0, 1.0)), findings())


place = st.integers(-6, 6).map(float)
scan = st.sampled_from("abc")
level = st.integers(0, 8).map(lambda n: n / 8)
candidate_rows = st.lists(st.tuples(scan, place, place, place, level), max_size=40)
finding_rows = st.lists(st.tuples(scan, place, place, place, st.sampled_from([2.0, 6.0, 9.0])))


@given(candidate_rows, finding_rows.filter(bool), finding_rows, st.integers(1, 12))
def test_any_set_of_scans_is_matched_as_the_rules_say_in_plain_loops(own, true, spared, most):
    spared = [(*row[:4], -1.0 if row[4] == 6 else row[4]) for row in spared]
    hits, wrong = match(own, true, spared, "abc", most)
    done = match_candidates(
        marks(*own), findings(*true), excluded=findings(*spared), series="abc", most=most
    )
    found = done.findings["probability"].astype(object).where(done.findings["hit"], None)
    assert list(zip(done.findings["seriesuid"], found, strict=True)) == hits
    left = done.false_positives
    assert sorted(zip(left["seriesuid"], left["probability"], strict=True)) == sorted(wrong)
    fates = done.counts
    assert fates["candidates"] == len(own)
    assert fates["hit"] + fates["missed"] == len(true)
