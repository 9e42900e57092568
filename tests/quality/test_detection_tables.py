import pytest

from parafovea.errors import TableError
from parafovea.quality.detections.tables import (
    read_candidates,
    read_findings,
    read_scores,
    read_series,
)

MARKS = "seriesuid,coordX,coordY,coordZ,probability\n1.2,1,-2.5,3e1,0.5\n"


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        MARKS,
        MARKS.replace(",", "\t"),
        MARKS.replace("\n", "\r\n"),
        MARKS.replace("\n", "\r"),
        "\ufeff" + MARKS,
        "\n" + MARKS + "\n \n,,,,\n",
        MARKS.replace(",", " , "),
        MARKS.replace("\n", ",\n"),
        MARKS.replace("1.2", '"1.2"'),
        "SeriesUID,COORDX,coordy,coordZ,Confidence\n1.2,1,-2.5,30,.5",
        "scan_id,detection_id,coord_x,coord_y,coord_z,diameter_mm,confidence\n1.2,0,1,-2.5,30,8,0.5",
    ],
    ids=[
        "comma",
        "tab",
        "crlf",
        "cr",
        "bom",
        "blank",
        "spaces",
        "trailing",
        "quoted",
        "case",
        "ours",
    ],
)
def test_every_way_to_write_a_table_reads_the_same(table, content):
    (row,) = read_candidates(table(content)).to_dict("records")
    assert row.pop("line") in (2, 3)
    assert row == {
        "seriesuid": "1.2",
        "coordX": 1.0,
        "coordY": -2.5,
        "coordZ": 30.0,
        "probability": 0.5,
    }


def test_a_header_without_lines_is_a_detector_that_found_nothing(table):
    assert len(read_candidates(table(MARKS.splitlines()[0]))) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: the first line names the columns"),
        (" \n\n", "is empty"),
        (b"\xff\xfe1\x00", "is not UTF-8 text"),
        (MARKS.split("\n", 1)[1], r"table.csv:1: the header lacks seriesuid, coordX"),
        (MARKS.replace("coordZ", "depth"), "the header lacks coordZ"),
        (MARKS.replace(",", ";"), "separated by comma or tab; it has: seriesuid;coordX"),
        (MARKS.replace("coordZ", "coordX"), "coordX and coordX both stand for coordX"),
        (
            "seriesuid,coordX,coordY,coordZ,probability,Confidence\na,1,1,1,1,1\n",
            "probability and Confidence both stand for probability",
        ),
        (MARKS + "1.2,nan,0,0,1\n", r"table.csv:3: coordX is nan, which is not finite"),
        (MARKS + "1.2,0,inf,0,1\n", "coordY is inf, which is not finite"),
        (MARKS + "1.2,0,0,1e999,1\n", "coordZ is 1e999, which is not finite"),
        (MARKS + "1.2,0,0,0,NaN\n", "probability is NaN, which is not finite"),
        (MARKS + "1.2,0,0,0,\n", "table.csv:3: probability is empty"),
        (MARKS + "1.2,0,0,0,high\n", "probability is 'high', which is not a number"),
        (MARKS + "1.2,0,0,0,1_0\n", "probability is '1_0', which is not a number"),
        (MARKS + ",0,0,0,1\n", "table.csv:3: seriesuid is empty"),
        (MARKS + "1.2,0,0\n", "table.csv:3: 3 columns, but the header names 5"),
        (MARKS + "1.2,0,0,0,0,5\n", "6 columns, but the header names 5"),
        (MARKS + '1.2,0,0,0,"0.5\n', "the line cannot be read"),
    ],
)
def test_a_bad_table_is_refused_with_its_line_and_the_fault(table, content, message):
    with pytest.raises(TableError, match=message):
        read_candidates(table(content))


def test_all_wrong_lines_are_named_up_to_ten(table):
    with pytest.raises(TableError) as caught:
        read_candidates(table(MARKS + "1.2,nan,0,0,1\n" * 14))
    assert "table.csv:3:" in str(caught.value)
    assert "table.csv:12:" in str(caught.value)
    assert "table.csv:13:" not in str(caught.value)
    assert str(caught.value).endswith("and 4 more like these")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"none\.csv does not exist"):
        read_candidates(tmp_path / "none.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_candidates(tmp_path)


FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,2,3,{}\n"


@pytest.mark.parametrize("size", ["0", "-1", "-0.5"])
def test_a_finding_needs_a_positive_diameter(table, size):
    with pytest.raises(TableError, match=rf"csv:2: diameter_mm is {size}: give a positive"):
        read_findings(table(FINDINGS.format(size)))


def test_only_an_excluded_finding_may_have_an_unknown_diameter(table):
    read = read_findings(table(FINDINGS.format(-1)), unknown_diameter=True)
    assert read["diameter_mm"].tolist() == [-1]
    with pytest.raises(TableError, match="give a positive diameter, or -1 where it is not known"):
        read_findings(table(FINDINGS.format(0)), unknown_diameter=True)


def test_a_finding_that_stands_twice_is_refused_where_it_counts(table):
    path = table(FINDINGS.format(5) + "a,1,2,3,5\n")
    with pytest.raises(TableError, match="csv:3: this repeats the finding of line 2"):
        read_findings(path)
    assert len(read_findings(path, unknown_diameter=True)) == 2


@pytest.mark.parametrize(
    "content",
    [
        "a\r\nb\r\n",
        "seriesuid\na\nb",
        "\ufeffSeriesInstanceUID\na\nb\n",
        "uid\na\nb\n",
        "number,seriesuid\n1,a\n2,b\n",
    ],
)
def test_a_list_of_series_is_read_with_a_header_or_without(table, content):
    assert read_series(table(content)) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\na\n", "csv:3: series 'a' is already on line 1: keep one"),
        ("seriesuid\n", "has a header but no series"),
        ("", "is empty"),
        ("a,1\nb,2\n", "csv:1: none or several of 2 columns are named seriesuid"),
        ("n,seriesuid\n1,a\n2\n", "csv:3: the series is empty"),
    ],
)
def test_a_bad_list_of_series_is_refused(table, content, message):
    with pytest.raises(TableError, match=message):
        read_series(table(content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.5,1", "csv:2: probability is 1.5: give a number from 0 to 1"),
        ("-0.1,1", "probability is -0.1"),
        ("0.5,2", "csv:2: label is 2: give 1 for true and 0 for false"),
        ("0.5,true", "label is 'true', which is not a number"),
    ],
)
def test_scores_and_labels_outside_of_what_they_may_be_are_refused(table, line, message):
    with pytest.raises(TableError, match=message):
        read_scores(table(f"probability,label\n{line}\n"))
