import csv
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.config.sheet import OPTIONAL, RESERVED, read_sheet
from parafovea.errors import ConfigError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.runtime.names import FOLDER

HEADER = "sample\ttask\tsource\ttruth\tmetadata\n"


def sheet(tmp_path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = tmp_path / "samples.tsv"
    path.write_bytes(text.encode(encoding))
    return path


def test_byte_order_mark_windows_line_ends_comments_and_blank_lines_are_accepted(tmp_path):
    text = "sample\ttask\tsource\r\n\r\n# a remark\r\na\tcell\tx y.tif\r\n\t\t\r\n"
    (sample,) = read_sheet(sheet(tmp_path, text, encoding="utf-8-sig"))
    assert (sample.name, sample.task, sample.source, sample.line) == ("a", "cell", "x y.tif", 4)
    assert (sample.truth, sample.metadata, sample.shards) == (None, "", None)


def test_columns_may_stand_in_any_order_and_hold_shards(tmp_path):
    text = "source\tshards\tsample\ttask\ns.tif\t3\ta\tcell\ns.tif\t\tb\tcell\n"
    a, b = read_sheet(sheet(tmp_path, text))
    assert (a.name, a.source, a.shards, b.shards) == ("a", "s.tif", 3, None)


def test_trailing_tabs_of_a_spreadsheet_are_accepted(tmp_path):
    (sample,) = read_sheet(sheet(tmp_path, HEADER + "a\tcell\ts.tif\t\t\t\t\t\n"))
    assert sample.truth is None


def test_a_sheet_that_excel_wrote_is_read(tmp_path):
    # cells with commas in quotes, quotes doubled, and columns that were once formatted
    text = (
        "sample\ttask\t\tsource\ttruth\tmetadata\t\t\r\n"
        'a\tcell\t\t"s, 1.tif"\t\t"spacing=50,4.6,4.6 objects=""o 1.zarr"""\t\t\r\n'
        '"# a remark, with a comma"\t\t\t\t\t\t\t\r\n'
    )
    for encoding in ("utf-8-sig", "utf-16"):
        (sample,) = read_sheet(sheet(tmp_path, text, encoding=encoding))
        assert (sample.name, sample.source, sample.truth) == ("a", "s, 1.tif", None)
        metadata = parse_metadata(sample.metadata, folder=tmp_path)
        assert metadata.spacing == (50, 4.6, 4.6)
        assert metadata.objects == "o 1.zarr"


def test_a_workbook_and_a_folder_are_readable_errors(tmp_path):
    path = tmp_path / "samples.xlsx"
    with zipfile.ZipFile(path, "w") as workbook:
        workbook.writestr("xl/workbook.xml", "")
    with pytest.raises(ConfigError, match="workbook of a spreadsheet program: save it as tab-sep"):
        read_sheet(path)
    with pytest.raises(ConfigError, match="is a folder"):
        read_sheet(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty: start with a header line of sample, task, source"),
        (HEADER, "has a header but no samples"),
        ("sample task source\na cell s.tif\n", "separated by spaces, but have to be by tabs"),
        ("sample,task,source\na,cell,s.tif\n", "separated by commas, but have to be by tabs"),
        ("sample;task;source\na;cell;s.tif\n", "separated by semicolons, but have to be by tabs"),
        (HEADER + 'a\tcell\t"s.tif\n', ":2: a double quote at the start of a cell is not closed"),
        (HEADER + 'a\tcell\ts\t\t"spacing=1\n2"\n', ":2: a double quote at the start of a cell"),
        ("sample\ttask\t\tsource\na\tcell\tx\ts\n", ":2: 'x' is in a column without a name"),
        ("sample\ttask\n", ":1: column 'source' is missing"),
        ("sample\ttask\tsauce\n", ":1: column 'sauce' is not known: did you mean 'source'?"),
        ("sample\ttask\tsource\ttask\n", "duplicate column"),
        (HEADER + "a\tcell\t\n", ":2: source is empty"),
        (HEADER + "a\tcell\ts\ng\tcell\ts\na\tcell\ts\n", ":4: sample 'a' is already on line 2"),
        (HEADER + "a\tcell\ts\t\t\t\tmore\n", ":2: 7 columns, but the header names 5"),
        (HEADER + "a/b\tcell\ts\n", "sample 'a/b' is not a valid name"),
        (HEADER + ".a\tcell\ts\n", "sample '.a' is not a valid name"),
        ("sample\ttask\tsource\tshards\na\tcell\ts\t0\n", "shards '0' must be a whole number"),
        ("sample\ttask\tsource\tshards\na\tcell\ts\t²\n", "shards '²' must be a whole number"),
        ("sample\ttask\tsource\tshards\na\tc\ts\t100000000\n", "a whole number from 1 to 100000"),
        ("sample\ttask\tsource\tshards\na\tc\ts\t" + "9" * 5000 + "\n", "from 1 to 100000"),
        (HEADER + "a" * 101 + "\tcell\ts\n", "it has 101 characters, use at most 100"),
        (HEADER + "a\tcell\ts\nA\tcell\ts\n", "sample 'A' differs from 'a' on line 2 in upper and"),
        (HEADER + "a\tcell\ts\x1b[31m.tif\n", "source 's\\x1b[31m.tif' contains the control"),
        (HEADER + "a\tcell\ts\tt\u202e.tif\n", "truth 't\\u202e.tif' contains the control"),
        (HEADER + "{a}\tcell\ts\n", "sample '{a}' is not a valid name"),
    ],
)
def test_a_wrong_sheet_says_where_and_what_to_do(tmp_path, text, expected):
    with pytest.raises(ConfigError) as caught:
        read_sheet(sheet(tmp_path, text))
    assert expected in str(caught.value)
    assert str(tmp_path / "samples.tsv") in str(caught.value)


@pytest.mark.parametrize("name", [*RESERVED, "Cohort", "REPORT.html"])
def test_folders_of_the_workflow_are_no_sample_names(tmp_path, name):
    with pytest.raises(ConfigError, match="reserved name"):
        read_sheet(sheet(tmp_path, HEADER + f"{name}\tcell\ts\n"))


def test_all_wrong_lines_are_named_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_sheet(sheet(tmp_path, HEADER + "a b\tcell\ts\nok\tcell\ts\nc\t\ts\n"))
    assert ":2:" in str(caught.value)
    assert ":4:" in str(caught.value)


def test_a_missing_sheet_and_one_that_is_no_text_are_readable_errors(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_sheet(tmp_path / "none.tsv")
    for data, what in ((b"\xff\xfe\x00s\x00", "UTF-16 text"), (b"sample\xe9", "UTF-8 text")):
        (tmp_path / "excel.tsv").write_bytes(data)
        with pytest.raises(ConfigError, match=f"is not {what}"):
            read_sheet(tmp_path / "excel.tsv")
    (tmp_path / "excel.tsv").write_bytes("sample\ttask".encode("utf-16-le"))
    with pytest.raises(ConfigError, match="holds bytes of value 0"):
        read_sheet(tmp_path / "excel.tsv")


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)


@settings(max_examples=30)
@given(rows=st.lists(st.tuples(st.from_regex(FOLDER, fullmatch=True), CELLS, CELLS), max_size=5))
def test_a_sheet_is_read_as_written_or_refused_with_its_path(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("sheet") / "samples.tsv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, delimiter="\t")
        lines.writerows([["sample", "task", "source", *OPTIONAL], *rows])
    names = [name.lower() for name, _, _ in rows]
    whole = all(task and source for _, task, source in rows)
    if rows and whole and len(set(names)) == len(names) and not set(names) & set(RESERVED):
        assert [(s.name, s.task, s.source) for s in read_sheet(path)] == rows
    else:
        with pytest.raises(ConfigError, match=r"samples\.tsv"):
            read_sheet(path)
