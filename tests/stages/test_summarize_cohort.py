import asyncio
import html as entities
import re
import shutil
from types import SimpleNamespace
from urllib.parse import unquote

import pandas as pd
import pytest
from browser import CHROMIUM, opened
from page_schemes import assert_readable_in_both_schemes
from PIL import Image
from report_results import CLASSES, OBJECTS, render_sample, write_results

from parafovea.errors import ConfigError, StoreError
from parafovea.report.cohort import IndexGroup, IndexRow
from parafovea.report.crate_link import PREVIEW, with_crate
from parafovea.report.sample_results import Metric, verdict
from parafovea.report.segmentation.sample_view import SampleView
from parafovea.stages.summarize_cohort import CohortSample, summarize_cohort

HEADER = "metric\tvalue\tminimum\tmaximum\tpassed\n"
GOOD = HEADER + "seam_energy\t1.04\t\t1.2\tTrue\niou.mitochondrion\t0.9\t0.7\t\tTrue\n"
OTHER = HEADER + "froc.cpm\t0.812345678901\t\t\t\n"


def volume(task, folder):
    """Return a segmented volume of the cohort."""
    page = "parafovea.report.segmentation.sample_view:cohort_view"
    return CohortSample(task=task, kind="segmentation", folder=folder, page=page, objects=True)


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


def index_rows(text):
    """Return the HTML of each sample's row by its name."""
    rows = re.findall(r"<tr data-kind=.*?</tr>", text, re.DOTALL)
    named = {}
    for row in rows:
        head = re.search(r'<th scope="row">(.*?)<(?:/th|span)', row, re.DOTALL)[1]
        named[entities.unescape(re.sub("<.*?>", "", head))] = row
    return named


def addresses(text):
    """Return what the page links to or loads."""
    return [entities.unescape(a) for a in re.findall(r'(?:href|src)="(.*?)"', text)]


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


def test_page_begins_with_how_many_samples_meet_every_limit_and_which_limits_are_missed(cohort):
    text = summarize(cohort)
    line = "1 of 2 samples meet every limit of the config; 1 sample without limits."
    first = text.index(line)
    limits = text[first : text.index('id="samples"')]
    found = re.findall(r">(IoU of mito.*?|Seam.*?|Adapted.*?)</th>.*?</tr>", limits)
    assert [entities.unescape(name) for name in found] == [
        "IoU of mitochondrion ≥ 0.7",
        "Adapted Rand error ≤ 0.1",
        "Seam energy ≤ 1.2",
    ]
    assert "Degraded results:</strong> bad" in text


def test_a_sample_is_one_row_that_leads_to_its_page_with_a_small_picture(cohort):
    text = summarize(cohort)
    rows = index_rows(text)
    assert sorted(rows) == ["bad", "good", "scan"]
    page = cohort.outputs.html.parent
    for name, row in rows.items():
        found = {unquote(address) for address in addresses(row)}
        assert not any(address.startswith(("/", "file:", "http", "data:")) for address in found)
        files = sorted((page / address).resolve() for address in found)
        folder = cohort.root.resolve() / name
        assert files == [folder / "report.html", folder / "thumbnail.jpg"]
        assert row.count('<img loading="lazy"') == 1
    assert len(re.findall("<tr", text)) < 3 + 10
    assert len(text) < 200_000
    assert 'data-state="passed"' in rows["good"]
    assert "✓ 2 of 2" in rows["good"]
    assert "IoU of mitochondrion 0.5, limit ≥ 0.7" in re.sub(r"\s+", " ", rows["bad"])
    assert "degraded" in rows["bad"]
    assert 'data-state="unlimited"' in rows["scan"]


def test_the_page_needs_nothing_but_the_files_that_lie_beside_it(cohort):
    text = summarize(cohort)
    files = [a for a in addresses(text) if not a.startswith(("data:image/", "#"))]
    assert all((cohort.outputs.html.parent / unquote(name)).is_file() for name in files)
    assert {"quality.tsv", "objects.tsv"} <= set(files)


def test_the_page_links_a_crate_that_is_there_and_else_names_the_command(cohort):
    text = summarize(cohort)
    assert "<code>parafovea crate</code>" in text
    assert PREVIEW not in addresses(text)
    preview = cohort.outputs.html.parent / PREVIEW
    preview.parent.mkdir(parents=True)
    preview.touch()
    linked = summarize(cohort)
    assert PREVIEW in addresses(linked)
    assert with_crate(text) == linked


def test_a_sample_that_failed_has_a_row_with_its_reason_and_stops_no_other(cohort):
    reason = "source.tif is cut off after 3 of 40 pages: <copy> it again"
    shutil.rmtree(cohort.samples["bad"].folder)
    cohort.samples["bad"] = cohort.samples["bad"].model_copy(update={"failure": reason})
    text = summarize(cohort)
    row = index_rows(text)["bad"]
    assert 'data-state="stopped"' in row
    assert entities.escape(reason) in row
    assert addresses(row) == []
    assert "2 samples" not in text.partition('class="lead"')[0]
    assert "1 of 1 sample meets every limit of the config" in text
    assert "1 sample failed" in text
    table = pd.read_csv(cohort.outputs.quality, sep="\t", index_col="sample")
    assert table.loc["bad", "failure"] == reason
    assert table.loc["bad"].drop(["task", "failure"]).isna().all()
    assert table["failure"].isna().tolist() == [True, False, True]


def test_a_cohort_in_which_every_sample_failed_is_a_page_too(cohort):
    cohort.samples = {
        name: each.model_copy(update={"failure": "no space"})
        for name, each in cohort.samples.items()
    }
    text = summarize(cohort)
    assert "3 samples failed." in text
    assert len(index_rows(text)) == 3
    assert cohort.outputs.objects.read_text() == "sample\ttask\n"


def test_a_sample_of_an_older_run_without_a_picture_has_a_row(cohort):
    (cohort.samples["good"].folder / "thumbnail.jpg").unlink()
    assert "<img" not in index_rows(summarize(cohort))["good"]


def test_the_worst_samples_come_first(cohort, tmp_path):
    failed = {"folder": tmp_path / "none", "failure": "the disk is full"}
    cohort.samples["lost"] = cohort.samples["good"].model_copy(update=failed)
    worse = tmp_path / "worse"
    shutil.copytree(cohort.samples["good"].folder, worse)
    (worse / "quality.tsv").write_text(GOOD.replace("0.9\t0.7", "0.8\t0.7"))
    cohort.samples["worse"] = volume("em", worse)
    assert list(index_rows(summarize(cohort))) == ["lost", "bad", "worse", "good", "scan"]
    table = pd.read_csv(cohort.outputs.quality, sep="\t")
    assert list(table["sample"]) == ["good", "bad", "scan", "lost", "worse"]
    # the number of false positives is better where it is lower
    rows = [IndexRow(n, "t", "detection", view_of(n, wrong)) for n, wrong in (("a", 1), ("b", 9))]
    group = IndexGroup("detection", tuple(rows), ("false_positives",))
    assert [row.sample for row in group.worst_first] == ["b", "a"]


def view_of(sample, false_positives):
    """Return a sample with one metric."""
    metrics = (Metric("false_positives", false_positives, None, None, None),)
    return SampleView(sample, "t", sample, (), {}, verdict(metrics), metrics, (), (), 0, {}, ())


@pytest.fixture(scope="module")
def large(rendered, tmp_path_factory):
    """Return an index of 1,000 samples, made of three, and the names of the samples."""
    outputs = outputs_in(tmp_path_factory.mktemp("large") / "a_folder_of_results")
    folders = [rendered / name for name in ("good", "bad", "scan")]
    samples = {
        f"patient_{i:04}_follow_up_scan": volume(f"task_{i % 2}", folders[i % 3])
        for i in range(1000)
    }
    summarize_cohort(**vars(outputs), samples=samples)
    return outputs.html, list(samples)


def test_an_index_of_1000_samples_is_below_3_megabytes(large):
    index, names = large
    assert sorted(index_rows(index.read_text(encoding="utf-8"))) == names
    assert index.stat().st_size < 3e6


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_1000_samples_are_searched_and_sorted_in_a_browser(large, tmp_path):
    index, names = large
    shown = (
        "[...document.querySelectorAll('table.index tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => row.querySelector('th').textContent.trim())"
    )
    head = "[...document.querySelectorAll('table.index th button')]"

    async def drive():
        async with opened(index, tmp_path / "profile") as browser:
            await browser.until("document.getElementById('controls')?.hidden === false")
            await browser.ask(f"{head}.find((each) => each.textContent === 'sample').focus()")
            await browser.press("Enter")
            rising = await browser.ask(shown)
            await browser.press("Enter")
            falling = await browser.ask(shown)
            await browser.ask(
                "(() => { const field = document.getElementById('search'); field.value = '_099';"
                " field.dispatchEvent(new Event('input', { bubbles: true })); })()"
            )
            found = await browser.ask(shown)
            count = await browser.ask("document.getElementById('count').textContent")
            await browser.ask("document.querySelector('button[type=reset]').click()")
            await browser.until("document.getElementById('count').textContent === ''")
            assert browser.problems == []
            return rising, falling, found, count, await browser.ask(shown)

    rising, falling, found, count, reset = asyncio.run(drive())
    assert rising == names
    assert falling == names[::-1]
    assert found == [f"patient_099{i}_follow_up_scan" for i in range(9, -1, -1)]
    assert count == "10 of 1000 samples"
    assert reset == list(index_rows(index.read_text(encoding="utf-8")))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_index_is_readable_in_the_light_and_in_the_dark_scheme(cohort, tmp_path):
    summarize(cohort)
    assert_readable_in_both_schemes(cohort.outputs.html, tmp_path / "profile")


@pytest.fixture
def alone(cohort, tmp_path, caplog):
    """Return the index with all pages in it, in a folder where nothing lies beside it."""
    cohort.samples['scan\'s "2"'] = cohort.samples.pop("scan")
    with caplog.at_level("INFO"):
        summarize(cohort, embed=True)
    path = tmp_path / "alone" / "report.html"
    path.parent.mkdir()
    shutil.copy(cohort.outputs.html, path)
    return path


def test_one_file_holds_all_pages_and_says_its_size(cohort, alone, caplog):
    text = alone.read_text(encoding="utf-8")
    pages = [each.folder / "report.html" for each in cohort.samples.values()]
    assert text.count("<iframe") == 3
    assert alone.stat().st_size > sum(page.stat().st_size for page in pages)
    size = f"{alone.stat().st_size / 1e6:.1f} MB"
    assert f"This file of {size} holds the pages of all samples" in text
    assert size in " ".join(each.getMessage() for each in caplog.get_records("setup"))
    outside = re.sub(r"srcdoc='.*?'", "", text, flags=re.DOTALL)
    found = [a for a in addresses(outside) if not a.startswith(("data:image/jpeg", "#"))]
    # only tables are outside
    assert set(found) == {"quality.tsv", "objects.tsv"}
    inner = [entities.unescape(each) for each in re.findall(r"srcdoc='(.*?)'", text, re.DOTALL)]
    for page, held in zip(pages, inner, strict=True):
        links = re.findall(r'<a target="_top" href="(.*?)"', held)
        assert links
        assert all((cohort.outputs.html.parent / unquote(link)).is_file() for link in links)
        assert re.sub(r'<a target="_top" href="[^"]*/', '<a href="', held) == page.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_page_inside_the_index_is_opened_sorted_and_left_in_a_browser(alone, tmp_path):
    frame = "[...document.querySelectorAll('iframe')].find((each) => each.checkVisibility())"
    inner = f"{frame}?.contentDocument"

    async def drive():
        async with opened(alone, tmp_path / "profile") as browser:
            await browser.prefer("dark")
            await browser.until("document.getElementById('controls')?.hidden === false")
            assert await browser.ask(f"{frame} === undefined")
            await browser.ask("document.querySelector('tr[data-state=passed] td.number').click()")
            await browser.until(f"{inner}?.querySelector('#scheme')?.id === 'scheme'")
            first = f"{inner}.querySelector('#objects tbody tr').cells[0].textContent"
            before = await browser.ask(first)
            head = f"{inner}.querySelector('#objects th[aria-sort] button')"
            await browser.ask(f"{head}.click()")
            after = await browser.ask(first)
            back = f"getComputedStyle({inner}.body).backgroundColor"
            dark = await browser.ask(f"{back} === getComputedStyle(document.body).backgroundColor")
            await browser.ask(f"{inner}.querySelector('nav a[href=\"#objects\"]').click()")
            await browser.until(f"{frame}.contentWindow.scrollY > 0 && {inner}?.title === 'good'")
            await browser.ask("document.querySelector('.inside:target a').click()")
            await browser.until(f"{frame} === undefined")
            assert browser.problems == []
            return before, after, dark

    assert asyncio.run(drive()) == ("3", "2", True)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_samples_are_searched_filtered_sorted_and_opened_in_a_browser(cohort, tmp_path):
    failed = {"folder": tmp_path / "none", "failure": "the disk is full"}
    cohort.samples["lost"] = cohort.samples["good"].model_copy(update=failed)
    summarize(cohort)
    shown = (
        "[...document.querySelectorAll('table.index tbody tr')]"
        ".filter((row) => row.checkVisibility())"
        ".map((row) => row.querySelector('th').firstElementChild?.textContent"
        " ?? row.querySelector('th').textContent).join()"
    )
    enter = (
        "(() => {{ const field = document.getElementById('{0}'); field.value = '{1}';"
        " field.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
    )

    async def drive():
        async with opened(cohort.outputs.html, tmp_path / "profile") as browser:
            await browser.until("document.getElementById('controls')?.hidden === false")
            found = {"all": await browser.ask(shown)}
            for field, value in (
                ("search", "MITO 0.5"),
                ("search", "disk full"),
                ("search", ""),
                ("by-state", "failed"),
                ("by-state", "stopped"),
                ("by-state", ""),
                ("by-task", "nodules"),
            ):
                await browser.ask(enter.format(field, value))
                found[field, value] = await browser.ask(shown)
                if field != "search" and value:
                    await browser.ask(enter.format(field, ""))
            count = await browser.ask("document.getElementById('count').textContent")
            head = "[...document.querySelectorAll('table.index th button')]"
            iou = f"{head}.find((each) => each.textContent.startsWith('IoU of')).click()"
            for turn in ("rising", "falling"):
                await browser.ask(iou)
                found[turn] = await browser.ask(shown)
            await browser.ask("document.querySelector('tr[data-state=passed] td.number').click()")
            await browser.until("document.title === 'good'")
            return found, count, browser.problems

    found, count, problems = asyncio.run(drive())
    assert problems == []
    assert count == ""
    assert found["all"] == "lost,bad,good,scan"
    assert found["search", "MITO 0.5"] == "bad"
    assert found["search", "disk full"] == "lost"
    assert found["search", ""] == found["by-state", ""] == found["all"]
    assert found["by-state", "failed"] == "bad"
    assert found["by-state", "stopped"] == "lost"
    assert found["by-task", "nodules"] == "scan"
    # samples without a value come last in both orders
    assert found["rising"] == "bad,good,lost,scan"
    assert found["falling"] == "good,bad,lost,scan"


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
    assert text.count("<script>") == text.count("<script") == 2
    assert "&lt;script&gt;" in text
    assert "0 of 1 sample meets every limit" in text


def test_many_samples_are_drawn_in_the_row_of_their_task(cohort):
    folder = cohort.samples["good"].folder
    cohort.samples = {f"s{i}": volume(f"t{i % 2}", folder) for i in range(14)}
    summarize(cohort)
    with Image.open(cohort.outputs.figure) as image:
        assert "in the row of its task" in image.text["Description"]


def test_empty_cohort_and_unknown_headline_are_config_errors(cohort):
    with pytest.raises(ConfigError, match=r"iou\.nothing.*use some of.*seam_energy"):
        summarize(cohort, headline=["iou.nothing"])
    cohort.samples = {}
    with pytest.raises(ConfigError, match=r"samples\.tsv"):
        summarize(cohort)


def test_a_missing_table_names_the_sample(cohort):
    (cohort.root / "bad" / "objects.tsv").unlink()
    with pytest.raises(StoreError, match=r"objects\.tsv") as caught:
        summarize(cohort)
    assert caught.value.__notes__ == ["in sample 'bad'"]
