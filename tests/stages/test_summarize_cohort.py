import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image
from report_results import CLASSES, OBJECTS, render_sample, write_results

from parafovea.errors import ConfigError, StoreError
from parafovea.stages.summarize_cohort import CohortSample, summarize_cohort

HEADER = "metric\tvalue\tminimum\tmaximum\tpassed\n"
GOOD = HEADER + "seam_energy\t1.04\t\t1.2\tTrue\niou.mitochondrion\t0.9\t0.7\t\tTrue\n"
OTHER = HEADER + "froc.cpm\t0.812345678901\t\t\t\n"


def volume(task, folder):
    """Return a segmented volume of the cohort."""
    page = "parafovea.report.segmentation.sample_view:cohort_view"
    return CohortSample(task=task, folder=folder, page=page, objects=True)


def outputs_in(folder):
    """Return where to write."""
    return SimpleNamespace(
        quality=folder / "quality.tsv",
        objects=folder / "objects.tsv",
        figure=folder / "quality.png",
        html=folder / "report.html",
    )


def with_label(table):
    """Add a column to an object table."""
    header, *lines = table.splitlines()
    return "\n".join([f"{header}\tlabel", *(f"{line}\tx" for line in lines), ""])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Return a folder with three samples of two tasks: one good, one bad, one without limits."""
    root = tmp_path_factory.mktemp("rendered")
    scan = {"metrics": OTHER, "classes": CLASSES[:2], "objects": with_label(OBJECTS)}
    for name, options in {
        "good": {"metrics": GOOD},
        "bad": {"degraded": True},
        "scan": scan,
    }.items():
        results = write_results(root / name, shape=(4, 24, 24), **options)
        render_sample(results, sample=name, settings={"slices": 1})
    return root


@pytest.fixture
def cohort(rendered, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(rendered, root)
    tasks = {"good": "em", "bad": "em", "scan": "nodules"}
    return SimpleNamespace(
        root=root,
        samples={name: volume(task, root / name) for name, task in tasks.items()},
        outputs=outputs_in(root / "cohort"),
    )


def summarize(cohort, **options):
    summarize_cohort(**vars(cohort.outputs), samples=cohort.samples, **options)
    return cohort.outputs.html.read_text(encoding="utf-8")


def sections(text):
    return text.split('<details class="sample"')[1:]


def test_table_has_a_line_for_each_sample_and_a_column_for_each_metric_of_any(cohort):
    summarize(cohort)
    table = pd.read_csv(cohort.outputs.quality, sep="\t", index_col="sample")
    assert list(table.index) == ["good", "bad", "scan"]
    assert list(table["task"]) == ["em", "em", "nodules"]
    assert list(table["limits_met"]) == [2, 1, 0]
    assert list(table["degraded"]) == [False, True, False]
    assert table.loc["scan", "froc.cpm"] == 0.812345678901
    assert table.loc[["good", "bad"], "froc.cpm"].isna().all()
    assert pd.isna(table.loc["bad", "arand.error"])


def test_objects_of_all_samples_keep_their_text_and_gain_missing_columns(cohort):
    summarize(cohort)
    lines = cohort.outputs.objects.read_text().splitlines()
    assert lines[0] == "sample\ttask\t" + OBJECTS.splitlines()[0] + "\tlabel"
    assert lines[1] == "good\tem\t" + OBJECTS.splitlines()[1] + "\t"
    assert lines[-1] == "scan\tnodules\t" + OBJECTS.splitlines()[-1] + "\tx"
    assert len(lines) == 1 + 3 * 3


def test_page_begins_with_how_many_samples_meet_every_limit_and_what_failed(cohort):
    text = summarize(cohort)
    line = "1 of 2 samples meet every limit; 1 sample without limits."
    first = text.index(line)
    assert first < text.index("iou.mitochondrion", first) < text.index("✗ missed", first)
    assert text.index("✗ missed", first) < text.index("? not judged", first)
    assert "Degraded results:</strong> bad" in text


def test_every_sample_has_a_section_with_its_figures_and_only_the_first_is_open(cohort):
    parts = sections(summarize(cohort))
    assert [part.split(">")[0].endswith("open") for part in parts] == [True, False, False]
    assert [part.count("data:image/png;base64,") for part in parts] == [3, 3, 3]


def test_pictures_beyond_the_limit_are_left_out_with_a_word_and_failed_samples_keep_theirs(cohort):
    text = summarize(cohort, embedded=1)
    assert [part.count("data:image/png;base64,") for part in sections(text)] == [0, 3, 0]
    assert text.count("only in this sample's report") == 2


def test_rerun_in_another_folder_gives_the_same_bytes(cohort, tmp_path):
    summarize(cohort)
    root = tmp_path / "other"
    shutil.copytree(cohort.root, root)
    moved = {n: volume(s.task, root / n) for n, s in cohort.samples.items()}
    outputs = outputs_in(root / "moved")
    summarize_cohort(**vars(outputs), samples=moved)
    for name in ("quality", "objects", "figure", "html"):
        assert getattr(outputs, name).read_bytes() == getattr(cohort.outputs, name).read_bytes()


def test_names_are_escaped(cohort):
    bad = "<script>alert(1)</script>"
    cohort.samples = {bad: volume(bad, cohort.samples["bad"].folder)}
    text = summarize(cohort, title=bad)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "0 of 1 sample meets every limit" in text


def test_many_samples_are_drawn_in_the_row_of_their_task(cohort):
    folder = cohort.samples["good"].folder
    cohort.samples = {f"s{i}": volume(f"t{i % 2}", folder) for i in range(14)}
    summarize(cohort, embedded=0)
    with Image.open(cohort.outputs.figure) as image:
        assert "in the row of its task" in image.text["Description"]


def test_empty_cohort_and_unknown_headline_are_config_errors(cohort):
    with pytest.raises(ConfigError, match=r"iou\.nothing.*use some of.*seam_energy"):
        summarize(cohort, headline=["iou.nothing"])
    cohort.samples = {}
    with pytest.raises(ConfigError, match=r"samples\.tsv"):
        summarize(cohort)


def test_missing_figure_names_the_sample(cohort):
    (cohort.root / "bad" / "figures" / "sizes.png").unlink()
    with pytest.raises(StoreError, match=r"sizes\.png") as caught:
        summarize(cohort)
    assert caught.value.__notes__ == ["in sample 'bad'"]
