"""The whole way from two tables to a score, as `parafovea evaluate-detections` goes it."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.quality.detections.froc import froc_curve
from parafovea.stages.evaluate_detections import score_files

MARKS = """seriesuid,coordX,coordY,coordZ,probability
a,0,0,0,0.9
a,30,0,0,0.4
a,60,0,0,0.8
b,0,0,1,0.7
b,0,0,2,0.6
"""
TRUTH = """seriesuid\tcoordX\tcoordY\tcoordZ\tdiameter_mm
a\t1\t0\t0\t8
b\t0\t0\t0\t8
b\t90\t0\t0\t8
"""
EXCLUDED = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,61,0,0,-1\nz,0,0,0,-1\n"
FILES = {"summary.json", "froc.tsv", "hits.tsv", "candidates.tsv", "froc.svg", "froc.png"}


@pytest.fixture
def files(tmp_path):
    contents = {"marks": MARKS, "truth": TRUTH, "excluded": EXCLUDED, "series": "a\nb\nc\nd\n"}
    for name, text in contents.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in contents}


def call(files, *options):
    tables = [str(files["marks"]), str(files["truth"])]
    return CliRunner().invoke(app, ["evaluate-detections", *tables, *options])


def everything(files, output):
    lists = ("--excluded", str(files["excluded"]), "--series", str(files["series"]))
    return call(files, *lists, "--bootstrap", "50", "--seed", "3", "--output", str(output))


def test_the_command_prints_the_score_and_the_counts_of_the_tables(files, tmp_path):
    done = everything(files, tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    words = {" ".join(line.split()) for line in done.output.splitlines()}
    counts = {"series 4", "nodules 3", "hit 2", "missed 1", "candidates 5", "false positives 1"}
    assert counts | {"ignored on excluded 1", "ignored doubles 1", "beyond limit 0"} <= words
    assert any(line.startswith("CPM 0.6667") for line in words)
    assert any(line.startswith("0.125 0.6667") and line.endswith(" 0.7") for line in words)
    assert any(line.startswith("note 4 bootstrap samples without a nodule") for line in words)
    assert "--series" not in done.output


def test_the_folder_holds_the_curve_the_hits_and_the_summary(files, tmp_path):
    everything(files, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["cpm"] == pytest.approx(2 / 3)
    assert summary["bootstrap"] == {"draws": 50, "without_findings": 4, "confidence": 0.95}
    assert [p["threshold"] for p in summary["points"]][:2] == [0.7, 0.4]
    assert summary["provenance"]["files"]["series"]["name"] == "series.csv"
    froc = pd.read_csv(tmp_path / "out" / "froc.tsv", sep="\t")
    assert froc["sensitivity"].round(4).tolist() == [0, 0.3333, 0.6667, 0.6667]
    assert froc["false_positives_per_scan"].tolist() == [0, 0, 0, 0.25]
    hits = pd.read_csv(tmp_path / "out" / "hits.tsv", sep="\t")
    assert hits["hit"].tolist() == [True, True, False]
    assert hits["candidate_line"].tolist()[:2] == [2, 5]
    assert hits["distance_mm"].tolist()[:2] == [1, 1]
    outcomes = pd.read_csv(tmp_path / "out" / "candidates.tsv", sep="\t")["outcome"]
    assert outcomes.tolist() == ["hit", "false positive", "excluded", "hit", "double"]


def test_all_files_are_the_same_bytes_when_written_again(files, tmp_path):
    for turn in ("one", "two"):
        assert everything(files, tmp_path / turn).exit_code == 0
    for name in FILES:
        first, second = ((tmp_path / turn / name).read_bytes() for turn in ("one", "two"))
        assert first == second, name
        assert len(first) > 100


def test_another_score_is_another_figure(files, tmp_path):
    everything(files, tmp_path / "one")
    files["marks"].write_text(MARKS.replace("b,0,0", "b,9,9"))
    everything(files, tmp_path / "two")
    one, two = ((tmp_path / turn / "froc.svg").read_bytes() for turn in ("one", "two"))
    assert one != two


def test_without_a_list_of_series_a_note_says_which_scans_count(files):
    done = call(files, "--bootstrap", "0")
    assert done.exit_code == 0
    assert "list all scans with --series" in done.output
    assert "series               2" in done.output


def test_a_detector_that_found_nothing_scores_zero(files):
    files["marks"].write_text(MARKS.splitlines()[0])
    done = call(files, "--series", str(files["series"]))
    assert done.exit_code == 0, done.stderr
    assert "CPM 0.0000 0.0000 to 0.0000" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("marks", MARKS + "e,0,0,0,1\n", "candidates name the series 'e' (line 7), which"),
        ("truth", TRUTH + "f\t0\t0\t0\t5\n", "findings name the series 'f' (line 5), which"),
        ("series", "a\nb\na\n", "series 'a' is already on line 1"),
        ("truth", TRUTH.splitlines()[0], "there are no findings"),
        ("marks", "", "is empty"),
        ("marks", MARKS + "a,nan,0,0,1\n", "marks.csv:7: coordX is nan"),
        ("excluded", EXCLUDED + "a,1,1,1\n", "excluded.csv:4: 4 columns"),
    ],
)
def test_a_bad_table_ends_in_one_error_and_nothing_is_written(files, tmp_path, name, text, message):
    files[name].write_text(text)
    done = everything(files, tmp_path / "out")
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_before_it_is_touched(files):
    done = everything(files, files["series"])
    assert done.exit_code == 1
    assert "is a file: give a folder" in done.stderr
    assert files["series"].read_text() == "a\nb\nc\nd\n"


@pytest.fixture(scope="module")
def luna16():
    root = os.environ.get("PARAFOVEA_REAL_DATA")
    if not root:
        pytest.skip("PARAFOVEA_REAL_DATA is not set")
    return Path(root) / "vectors" / "luna16"


@pytest.fixture(scope="module")
def example(luna16):
    """Return the official example's (truth, probability) vectors and its curve."""
    folder = luna16 / "exampleFiles" / "evaluation"
    vectors = np.loadtxt(folder / "froc_gt_prob_vectors_sampleSubmission.csv", delimiter=",")
    return vectors, np.loadtxt(folder / "froc_sampleSubmission.txt", delimiter=",")


def check_curve(curve, expected):
    corners = curve.corners()
    assert len(corners.threshold) == len(expected) == 529
    np.testing.assert_allclose(corners.false_positives, expected[:, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(corners.sensitivity, expected[:, 1], rtol=0, atol=1e-9)
    # the script's first threshold is the highest probability plus one, which none reaches
    assert corners.threshold[0] == np.inf
    np.testing.assert_allclose(corners.threshold[1:], expected[1:, 2], rtol=0, atol=1e-9)


@pytest.mark.real_data
def test_the_official_examples_curve_follows_from_its_vectors(example):
    vectors, expected = example
    hit = (vectors[:, 0] == 1) & (vectors[:, 1] > -1e9)
    wrong = vectors[vectors[:, 0] == 0, 1]
    curve = froc_curve(vectors[hit, 1], wrong, findings=1186, scans=888)
    check_curve(curve, expected)
    at = np.interp(np.array([1 / 8, 1, 8]), expected[:, 0], expected[:, 1])
    np.testing.assert_allclose(curve.sensitivity_at([1 / 8, 1, 8]), at, rtol=0, atol=1e-9)


@pytest.mark.real_data
def test_the_official_examples_curve_follows_from_tables_of_candidates_and_annotations(
    luna16, example, tmp_path
):
    """The example's candidates are not stored; its vectors say which nodules they hit.

    Each hit becomes a candidate at its nodule, the false positives lie where nothing is.
    """
    vectors, expected = example
    tables = luna16 / "annotations"
    series = (tables / "seriesuids.csv").read_text().split()
    nodules = pd.read_csv(tables / "annotations.csv")
    nodules = nodules.sort_values("seriesuid", key=lambda c: c.map(series.index), kind="stable")
    # the script writes nodules series by series
    nodules["probability"] = vectors[vectors[:, 0] == 1, 1]
    hits = nodules[nodules["probability"] > -1e9]
    room = pd.Series(100, index=series).sub(hits["seriesuid"].value_counts(), fill_value=0)
    places = np.repeat(room.index, room.astype(int))
    wrong = vectors[vectors[:, 0] == 0, 1]
    elsewhere = pd.DataFrame({"seriesuid": places[: len(wrong)], "probability": wrong})
    elsewhere[["coordX", "coordY", "coordZ"]] = 9999.0
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    marks = pd.concat([elsewhere, hits])[columns].sample(frac=1, random_state=0)
    marks.to_csv(tmp_path / "candidates.csv", index=False)

    score = score_files(
        tmp_path / "candidates.csv",
        tables / "annotations.csv",
        excluded=tables / "annotations_excluded.csv",
        series=tables / "seriesuids.csv",
        bootstrap=200,
    )
    check_curve(score.curve, expected)
    assert score.score == pytest.approx(0.004456757407853529, abs=1e-9)
    missed = score.matching.findings[~score.matching.findings["hit"]]
    folder = luna16 / "exampleFiles" / "evaluation"
    listed = pd.read_csv(folder / "nodulesWithoutCandidate_sampleSubmission.txt", header=None)
    assert missed["seriesuid"].tolist() == listed[0].tolist()
    np.testing.assert_allclose(missed["coordX"], listed[2], rtol=0, atol=1e-9)
    # The official draws are not stored, only their spread, and false positives lie elsewhere here.
    official = pd.read_csv(folder / "froc_sampleSubmission_bootstrapping.csv").iloc[-1]
    mine = score.points.iloc[-1]
    assert mine["lower"] == pytest.approx(official["Sensivity[Lower bound]"], abs=2e-3)
    assert mine["upper"] == pytest.approx(official["Sensivity[Upper bound]"], abs=2e-3)
