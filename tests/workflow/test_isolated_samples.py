"""A sample that cannot be read, is not there, or fails on its way stops itself alone.

One project goes through all of it: bad samples beside a good one, their repair, and a source that
is archived.
"""

import json
import re
from types import SimpleNamespace

import pytest
import tifffile

pytestmark = pytest.mark.workflow

SPACING = "spacing=16,16,16 unit=nanometer"


@pytest.fixture(scope="module")
def folder(make_runnable, tmp_path_factory):
    """Return a project of a good sample, a cut one, a missing one, and one with a wrong truth."""
    folder = make_runnable(tmp_path_factory.mktemp("isolated"))
    for name in ("cut", "late"):
        folder.add(name)
    folder.rows.append(["gone", "cell", "data/gone.tif", "", SPACING])
    data = folder.path / "data"
    (data / "cut.tif").write_bytes((data / "cut.tif").read_bytes()[:9000])
    folder.truth = (data / "late_truth.tif").read_bytes()
    tifffile.imwrite(data / "late_truth.tif", tifffile.imread(data / "late_truth.tif")[:, :, :9])
    folder.write()
    return folder


@pytest.fixture(scope="module")
def runs(folder, snakemake):
    """Return what became of the run with bad samples, of its repair, and of the archive."""
    done = {}
    results, data = folder.path / "results", folder.path / "data"

    def run(name, *arguments):
        status, text = snakemake(folder.path, "--keep-going", *arguments)
        page = (results / "report.html").read_text()
        quality = (results / "cohort" / "quality.tsv").read_text()
        made = json.loads((results / "a" / "quality.json").read_text())
        done[name] = SimpleNamespace(
            status=status, text=text, page=page, quality=quality, of_a=made
        )

    run("bad")
    (data / "late_truth.tif").write_bytes(folder.truth)
    run("repaired")
    folder.rows = [row for row in folder.rows if row[0] in ("a", "late")]
    folder.write()
    run("good")
    (data / "a.tif").rename(folder.path / "archived.tif")
    folder.add("new")
    limits = {"limits": {"iou.nucleus": {"min": 0.99}}}
    folder.config["tasks"]["cell"]["quality"] = limits
    folder.write()
    run("archived")
    return done


def samples_of(table):
    """Return the samples of a table of quality."""
    return [line.partition("\t")[0] for line in table.splitlines()[1:]]


REASONS = {
    "cut": r"data/cut\.tif is truncated",
    "gone": r"data/gone\.tif does not exist",
    "late": r"does not cover the same region",
}


@pytest.mark.parametrize("sample", REASONS)
def test_the_last_lines_and_the_report_name_a_failed_sample_with_its_reason(runs, sample):
    run = runs["bad"]
    assert run.status == 1
    last = run.text[run.text.index("3 of 4 samples failed:") :]
    assert re.search(rf"^{sample}: .*{REASONS[sample]}", last, re.MULTILINE), last
    assert re.search(rf"{sample}<.*{REASONS[sample]}", run.page, re.DOTALL)


def test_the_others_have_a_report(runs, folder):
    assert "The report of the other sample is results/report.html" in runs["bad"].text
    assert runs["bad"].quality.splitlines()[1].startswith("a\tcell")
    assert (folder.path / "results" / "a" / "report.html").is_file()


def test_a_sample_that_is_left_out_has_no_results_and_the_start_says_so(runs, folder):
    begin = runs["bad"].text.partition("Execute")[0]
    assert "Note: sample 'cut' is left out: data/cut.tif is truncated" in begin
    assert "Note: sample 'gone' is left out" in begin
    assert not (folder.path / "results" / "cut").exists()


def test_the_run_after_a_repair_makes_the_report_anew_and_still_fails(runs):
    run = runs["repaired"]
    assert run.status == 1
    assert set(samples_of(run.quality)) == {"a", "cut", "gone", "late"}
    assert "2 of 4 samples failed:" in run.text
    assert "does not cover" not in run.page
    assert "cut.tif is truncated" in run.page


def test_a_run_without_the_bad_samples_ends_well_and_forgets_them(runs):
    run = runs["good"]
    assert run.status == 0, run.text
    assert "cut" not in run.quality
    assert "cut.tif is truncated" not in run.page


def test_an_archived_source_stops_neither_a_new_sample_nor_a_new_limit(runs, folder):
    run = runs["archived"]
    assert run.status == 0, run.text
    assert (folder.path / "results" / "new" / "report.html").is_file()
    assert samples_of(run.quality) == ["a", "late", "new"]
    assert run.of_a["limits"]["iou.nucleus"]["minimum"] == 0.99
    assert "Note: sample 'a' keeps its finished results" in run.text
