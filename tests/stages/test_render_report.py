import asyncio
import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import CHROMIUM, opened
from page_figures import assert_readable
from page_schemes import assert_readable_in_both_schemes
from PIL import Image
from report_results import METRICS, OBJECTS, Truth, render_sample, write_results

from parafovea.errors import StoreError
from parafovea.geometry.grid import Grid
from parafovea.stages import render_report as stage
from parafovea.storage.store import open_stored

FIGURES = ("overlays.png", "probabilities.png", "sizes.png")


def render(results, **options):
    return render_sample(results, **{"settings": {"slices": 2}, **options}).read_text("utf-8")


class Page(HTMLParser):
    """Collects a page's addresses, ids and tags, and fails on tags that do not nest."""

    VOID = frozenset({"meta", "img", "input", "br", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.tags, self.open = [], [], set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "cell")


def digests(folder):
    files = [folder / "report.html", *(folder / "figures" / name for name in FIGURES)]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_page_needs_no_other_file_and_is_well_formed(results):
    text = render(results)
    page = Page(text)
    assert text.count("<svg viewBox") == 3
    files = [a for a in page.addresses if not a.startswith(("data:image/png;base64,", "#"))]
    # its tables lie beside it
    assert all((results.folder / name).is_file() for name in files)
    assert set(files) == {"objects.tsv", "quality.tsv"}
    assert all(a[1:] in page.ids for a in page.addresses if a.startswith("#"))
    assert len(set(page.ids)) == len(page.ids)
    assert not page.tags & {"link", "iframe"}
    # that of the page, which it names by its hash
    assert text.count("<script") == 1
    script = text.partition("<script>")[2].partition("</script>")[0].encode()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in text
    assert text.count("<style") == 1


def test_figures_are_readable_on_a_page_of_800_pixels(results, tmp_path):
    assert_readable(render(results))
    names = ("background", *(f"class_of_a_long_name_{i}" for i in range(9)))
    assert_readable(render(write_results(tmp_path / "many", classes=names)))


def test_same_results_in_another_folder_give_the_same_bytes(results, tmp_path):
    render(results)
    shutil.copytree(results.folder, tmp_path / "elsewhere" / "cell")
    again = type(results)(tmp_path / "elsewhere" / "cell")
    render(again)
    assert digests(again.folder) == digests(results.folder)


def test_figures_carry_captions_but_no_software_or_date(results):
    render(results)
    for name in FIGURES:
        with Image.open(results.figures / name) as image:
            assert set(image.text) == {"Title", "Description"}
            assert len(image.text["Description"]) > 20
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_names_from_files_are_escaped(tmp_path):
    bad = "<script>alert(1)</script>"
    classes = ("background", '"><img src=x onerror=alert(2)>', "$\\frac{$")
    objects = OBJECTS.replace("nucleus", bad)
    metrics = METRICS + f"<b>{bad}</b>\t1\t\t\t\n"
    results = write_results(tmp_path / "s", classes=classes, objects=objects, metrics=metrics)
    text = render(results, sample=bad, title=f"{bad}'\"")
    page = Page(text)
    assert text.count("<script") == 1
    assert "img" not in page.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;b&gt;" in text
    assert all(a.startswith(("data:image/png", "#")) or a.endswith(".tsv") for a in page.addresses)


def test_limits_that_are_met_missed_or_without_value_are_told_apart(results):
    text = render(results)
    assert "1 of 3 limits of the config met, 1 not judged" in text
    for name, words in (
        ("seam_energy", ("1.04", "≤ 1.2", "met")),
        ("iou.mitochondrion", ("0.5", "≥ 0.7", "missed")),
        ("arand.error", ("undefined", "≤ 0.1", "not judged")),
    ):
        row = re.search(rf"<tr>(?:(?!</tr>).)*<code>{re.escape(name)}</code>.*?</tr>", text, re.S)
        assert row is not None
        assert all(word in row.group() for word in words)


def test_degraded_result_shows_a_banner_and_others_do_not(tmp_path):
    whole = render(write_results(tmp_path / "whole"))
    assert 'role="alert"' not in whole
    degraded = render(write_results(tmp_path / "degraded", degraded="no context was given"))
    assert 'role="alert"' in degraded
    assert "no context was given" in degraded


def test_provenance_is_shown_whatever_it_holds(results):
    text = render(results)
    for part in ("model.sha256", "abcdef0123456789", "blending.starts", "measure_quality"):
        assert part in text
    assert str(results.folder) not in text


def test_truth_on_a_finer_grid_adds_columns_and_is_read_by_planes(results, monkeypatch):
    render(results)
    with Image.open(results.figures / "overlays.png") as image:
        plain = image.size
    labels = np.repeat(np.repeat(open_stored(results.classes).read(), 2, axis=1), 2, axis=2)
    truth = Truth(labels, Grid(labels.shape, (16, 8, 8), (0, -4, -4)))
    monkeypatch.setattr(stage, "open_truth", lambda path, metadata, like: path and truth)
    text = render(results, truth="truth.zarr")
    with Image.open(results.figures / "overlays.png") as image:
        assert image.size != plain
        # The truth is the prediction: nothing above the legend has the colour of a missed voxel.
        pixels = np.asarray(image.convert("RGB"))
    missed = (pixels == (0xEE, 0x33, 0x77)).all(axis=-1)
    assert missed.any()
    assert not missed[: -pixels.shape[0] // 8].any()
    assert "Errors: missed" in text
    assert all(min(box.shape) == 1 for box in truth.boxes)


def test_sample_without_objects_says_so(tmp_path):
    header = OBJECTS.splitlines()[0] + "\n"
    text = render(write_results(tmp_path / "s", objects=header, shape=(1, 32, 32)))
    assert "No objects were found" in text
    assert "The one plane of the sample" in text


def test_only_the_largest_objects_are_listed(tmp_path):
    header = OBJECTS.splitlines()[0]
    lines = [f"{i}\tnucleus\t{i}\t{i * 4096}\t1\t1\t1\t0\t1" for i in range(1, 31)]
    text = render(write_results(tmp_path / "s", objects="\n".join([header, *lines, ""])))
    assert 'The 20 largest of 30 objects; <a href="objects.tsv">objects.tsv</a> lists all.' in text
    ids = re.findall(r'<tr><td class="number">(\d+)</td>', text)
    assert ids == [str(i) for i in range(30, 10, -1)]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: shutil.rmtree(r.volume), "volume.ome.zarr"),
        (lambda r: r.object_table.unlink(), "objects.tsv"),
        (lambda r: r.object_table.write_text("id\tclass\n1\ta\n"), "voxels, volume"),
        (lambda r: r.quality_table.write_text(METRICS.replace("0.5", "much")), "'much'"),
        (lambda r: r.quality.write_text("{"), "quality.json"),
        (lambda r: r.quality.write_text("[]"), "quality.json"),
    ],
)
def test_damaged_result_is_one_readable_error_and_leaves_nothing(results, spoil, words):
    spoil(results)
    with pytest.raises(StoreError, match=re.escape(words)) as caught:
        render(results)
    assert "again" in str(caught.value)
    assert not list(results.figures.iterdir())
    assert not (results.folder / "report.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_page_is_readable_in_the_light_and_in_the_dark_scheme(results, tmp_path):
    render(results)
    assert_readable_in_both_schemes(results.page, tmp_path / "profile")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_tables_are_sorted_by_mouse_and_keyboard(tmp_path):
    # texts are powers of ten from a million, and centroids in nm and µm
    volumes = [20, 3_000, 1_100_000, 500_000, 9_000]
    lines = [f"{i}\tnucleus\t{v // 4}\t{v}\t{i * 400}\t1\t1" for i, v in enumerate(volumes, 1)]
    header = OBJECTS.splitlines()[0].removesuffix("\tz0\tz1")
    results = write_results(tmp_path / "cell", objects="\n".join([header, *lines, ""]))
    render(results)
    rows = "[...document.querySelectorAll('#objects tbody tr')]"
    ids = f"{rows}.map((row) => Number(row.cells[0].textContent))"
    head = "[...document.querySelectorAll('#objects th')]"
    named = f"{head}.find((each) => each.textContent.startsWith('{{}}'))"
    states = f"{head}.map((each) => each.getAttribute('aria-sort') ?? '')"

    async def drive():
        async with opened(results.page, tmp_path / "profile") as browser:
            await browser.until("document.querySelector('#objects th button')?.type === 'button'")
            found = [await browser.ask(ids)]
            for name in ("volume", "centroid", "id"):
                await browser.ask(named.format(name) + ".querySelector('button').focus()")
                await browser.press("Enter")
                found.append(await browser.ask(ids))
            await browser.ask(named.format("id") + ".querySelector('button').click()")
            found.append(await browser.ask(ids))
            assert await browser.ask(states) == ["descending", "", "", "", "", ""]
            # the keyboard goes from heading to heading
            await browser.press("Tab")
            assert await browser.ask("document.activeElement.textContent") == "class"
            # the provenance has no headings, and a table of one row no order
            assert await browser.ask("document.querySelectorAll('#provenance button').length") == 0
            assert browser.problems == []
            return found

    by_volume, *rest = asyncio.run(drive())
    assert by_volume == [3, 4, 5, 2, 1]
    assert rest == [[1, 2, 5, 4, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]
