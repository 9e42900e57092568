"""The report of a folder of tiles."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM
from matplotlib.patches import Rectangle
from page_figures import assert_readable
from page_schemes import assert_readable_in_both_schemes
from PIL import Image
from tile_results import CLASSES, REFINED, SEGMENTED, write_folder

from parafovea.errors import StoreError
from parafovea.formats.tiles.ledger import read_ledger
from parafovea.formats.tiles.npz import write_tile
from parafovea.quality.tiles.image_metrics import ndvi
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.canvas import PAGE_WIDTH, styled
from parafovea.report.tiles.folder_view import view_tiles
from parafovea.report.tiles.map import map_figure
from parafovea.report.tiles.ndvi import count_ndvi, evenly_spaced
from parafovea.report.tiles.refined_report import RefinedReport
from parafovea.report.tiles.stretch import grey, stretch_of
from parafovea.report.tiles.tile_table import worst_first
from parafovea.settings.quality import Limit
from parafovea.stages.measure_tiles import measure_tiles
from parafovea.stages.render_tiles import render_tiles
from parafovea.storage.layout import SampleResults

LIMITS = {"preservation.ndvi_rmse": Limit(max=0.001)}


def measured(root, *, how=REFINED, truth=True, limits=None, **options):
    """Return a folder of tiles that is written and measured."""
    kind = "segmentation" if how["measures"] == SEGMENTED["measures"] else "refinement"
    folder = write_folder(root, kind=kind, **options)
    return remeasured(folder, how, truth=truth, limits=limits)


def remeasured(folder, how=REFINED, *, truth=True, limits=None):
    results = SampleResults(folder.root / "results")
    measure_tiles(
        folder.ledger,
        folder.quarantine,
        results.quality,
        results.quality_table,
        results.tile_quality,
        source=str(folder.root / "source"),
        truth=str(folder.truth) if truth else None,
        limits=limits or {},
        **how,
    )
    return folder


def render(folder, how=REFINED, *, truth=True):
    results = SampleResults(folder.root / "results")
    render_tiles(
        *tables(results),
        results.page,
        results.figures,
        results.thumbnail,
        sample="iowa",
        truth=str(folder.truth) if truth else None,
        settings={"tiles": 2},
        **how,
    )
    return results.page.read_text(encoding="utf-8"), results.figures


def tables(results):
    """Return the tables that the page is made of."""
    return (
        results.ledger,
        results.quarantine,
        results.quality,
        results.quality_table,
        results.tile_quality,
    )


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("refined"), limits=LIMITS)


@pytest.fixture(scope="module")
def rendered(refined):
    return render(refined)


def test_the_page_says_first_how_many_tiles_came_out_and_what_was_gained(rendered):
    text, figures = rendered
    assert "6 of 7 tiles refined, 1 quarantined; NDVI RMSE 0." in text
    assert "dB more than the input." in text
    assert "0 of 1 limit of the config met" in text
    assert "the file is cut off" in text
    assert text.count("<svg viewBox") == 3
    assert sorted(path.name for path in figures.iterdir()) == ["map.png", "ndvi.png", "tiles.png"]


def test_the_same_results_give_the_same_bytes_in_another_folder(refined, rendered, tmp_path):
    text, figures = rendered
    pictures = {path.name: path.read_bytes() for path in figures.iterdir()}
    shutil.copytree(refined.root, tmp_path / "copy")
    copy = type(refined)(tmp_path / "copy", refined.names)
    again, figures = render(copy)
    assert again == text
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == pictures


def test_the_worst_tiles_come_first_and_those_without_truth_after_them(refined):
    entries = read_ledger(refined.ledger)
    scores = read_tile_quality(refined.root / "results" / "tile_quality.tsv")
    worst = [entry.name for entry in worst_first(entries, scores, RefinedReport(()).error(scores))]
    judged = scores["accuracy.ndvi_rmse"].dropna().sort_values(ascending=False)
    assert worst == [*judged.index, "tile_0005"]


def test_figures_are_readable_on_a_page_of_800_pixels(rendered, tmp_path):
    assert_readable(rendered[0])
    segmented = measured(tmp_path, how=SEGMENTED, count=2)
    assert_readable(render(segmented, SEGMENTED)[0])


def test_pictures_say_what_they_show(rendered):
    _, figures = rendered
    with Image.open(figures / "tiles.png") as image:
        tiles = image.text["Description"]
        assert image.width == 200 * PAGE_WIDTH
        assert image.height > 1000
    assert "2 tiles with the largest NDVI RMSE against the truth" in tiles
    assert "from the 2nd to the 98th percentile of its truth" in tiles
    with Image.open(figures / "map.png") as image:
        places = image.text["Description"]
    assert "6 tiles, coloured by their NDVI RMSE against the truth" in places
    assert "undefined value are empty frames" in places


def test_a_stretch_is_of_each_band_and_never_narrower_than_its_least_span():
    image = np.stack([np.linspace(0, 1, 101).reshape(1, 101), np.full((1, 101), 0.2)])
    image[0, 0, 50] = np.nan
    stretch = stretch_of(image)
    assert stretch[0] == pytest.approx((0.0198, 0.9802), abs=2e-3)
    assert stretch[1] == pytest.approx((0.175, 0.225))
    np.testing.assert_allclose(grey(image, stretch, 1), 0.5)
    shown = grey(image, np.array([[0.25, 0.75]]), 0)[0, :, 0]
    assert (shown[0], shown[100], shown[50]) == (0, 1, pytest.approx(0.86))
    assert shown[35] == pytest.approx(0.2)


def test_the_ndvi_of_every_pixel_is_counted_once(refined):
    entries = read_ledger(refined.ledger)
    counts = count_ndvi(entries, TileFiles(truth=refined.truth))
    before, after = [], []
    for entry in entries:
        with np.load(entry.source) as source, np.load(entry.output) as output:
            before.append(ndvi(source["opt_v1"]).ravel())
            after.append(ndvi(output["opt_v2"]).ravel())
    one, other = np.concatenate(before), np.concatenate(after)
    pair = counts["before", "after"]
    assert pair.pixels == pair.joint.sum() == pair.differences.sum() == one.size
    assert math.sqrt(pair.squares / pair.pixels) == pytest.approx(
        float(np.sqrt(np.mean((one - other) ** 2)))
    )
    wanted = np.histogram2d(one, other, 200, [[-1, 1], [-1, 1]])[0]
    np.testing.assert_array_equal(pair.joint, wanted)
    # the last tile has no truth
    assert counts["truth", "after"].pixels == one.size - before[-1].size


def test_of_many_tiles_some_are_counted_and_the_ends_are_among_them(refined):
    entries = read_ledger(refined.ledger)
    chosen = evenly_spaced(entries, 3)
    assert [entry.name for entry in chosen] == ["tile_0000", "tile_0002", "tile_0005"]
    assert evenly_spaced(entries, 6) == entries


def test_without_truth_and_without_positions_the_figures_say_so(tmp_path):
    folder = measured(tmp_path, truth=False, placed=False, count=3)
    text, _ = render(folder, truth=False)
    assert "No tile has a known position" in text
    assert "against the truth" not in text
    assert "NDVI RMSE against the input, worst first" in text
    assert "PSNR" not in text.partition('id="figures"')[0]


def test_radar_inputs_are_shown_as_what_they_are(tmp_path):
    folder = measured(tmp_path, count=2, truthless=0)
    for name in folder.names:
        with np.load(folder.source_file(name)) as stored:
            shape = stored["opt_v1"].shape[1:]
        radar = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
        folder.write_source(name, {"sar": radar})
    radar = {**REFINED, "bands": ("VV", "VH")}
    text, _ = render(remeasured(folder, radar), radar)
    assert "dB more" not in text
    assert "against the truth" in text


def test_positions_are_drawn_in_their_true_size_from_the_upper_left_corner(tmp_path):
    folder = write_folder(tmp_path, count=4)
    entries = read_ledger(folder.ledger)
    errors = pd.Series([0.1, 0.2, math.nan, 0.4], index=[entry.name for entry in entries])
    with styled():
        figure = map_figure({"EPSG:32633": entries}, errors, label="NDVI RMSE")
    axes = figure.axes[0]
    (patches,) = axes.collections[1:]
    corners = {tuple(path.get_extents().extents) for path in patches.get_paths()}
    assert corners == {
        (p.x, p.y - e.height * 10, p.x + e.width * 10, p.y)
        for e in entries
        if (p := e.position) is not None
    }
    # the undefined one is an empty frame, drawn first; the worst is drawn last and brightest
    faces = patches.get_facecolor()
    assert faces[0][3] == 0
    assert faces[-1][:3].sum() == max(face[:3].sum() for face in faces[1:])
    assert not [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_segmented_tiles_have_a_confusion_instead_of_ndvi(tmp_path):
    folder = measured(tmp_path, how=SEGMENTED)
    text, figures = render(folder, SEGMENTED)
    names = ["confusion.png", "map.png", "tiles.png"]
    assert sorted(path.name for path in figures.iterdir()) == names
    assert "6 of 7 tiles segmented, 1 quarantined; mean IoU 0." in text
    assert "pixels with a known class" in text
    assert text.count('class="swatch"') == len(CLASSES)


def test_class_names_and_reasons_are_escaped(tmp_path):
    bad = "<script>alert(1)</script>"
    how = {**SEGMENTED, "classes": (*CLASSES[:3], bad)}
    folder = measured(tmp_path, how=how, count=2, truthless=0)
    text = folder.quarantine.read_text().replace("the file is cut off", bad)
    folder.quarantine.write_text(text)
    page, _ = render(folder, how)
    assert page.count("<script") == page.count("<script>") == 1
    assert page.count("&lt;script&gt;alert(1)") >= 2


def test_no_finished_tile_is_a_page_with_the_quarantine(tmp_path):
    folder = write_folder(tmp_path)
    folder.ledger.write_text(folder.ledger.read_text().splitlines()[0] + "\n")
    text, _ = render(remeasured(folder))
    assert "0 of 1 tile refined, 1 quarantined." in text
    assert "No finished tiles." in text


def test_names_that_look_like_numbers_stay_names(tmp_path):
    folder = measured(tmp_path, count=2, truthless=0)
    path = folder.root / "results" / "tile_quality.tsv"
    path.write_text(path.read_text().replace("tile_0000", "NA").replace("tile_0001", "0070"))
    assert read_tile_quality(path).index.tolist() == ["NA", "0070"]


def test_a_damaged_table_or_a_missing_tile_stops_it_before_anything_is_written(tmp_path):
    folder = measured(tmp_path, count=2)
    table = folder.root / "results" / "tile_quality.tsv"
    whole = table.read_text()
    table.write_text(whole.replace("\t0.", "\tmany", 1))
    with pytest.raises(StoreError, match=r"tile_quality\.tsv cannot be read.*measure_tiles"):
        render(folder)
    table.write_text(whole)
    folder.result_file("tile_0000").unlink()
    with pytest.raises(StoreError, match=r"tile_0000\.npz.*run predict_tiles again"):
        render(folder)
    assert not (folder.root / "results" / "report.html").exists()
    assert not (folder.root / "results" / "figures").exists()


def test_what_made_the_tiles_is_on_the_page_and_degraded_results_say_so(tmp_path):
    folder = measured(tmp_path, count=2)
    first = folder.result_file("tile_0000")
    made = {"checkpoint": "models/refine", "degraded": True, "processing_time_ms": 12.5}
    earlier = {"stage": "stage1", "timestamp": "2026-01-01T00:00:00", "processing": {**made}}
    made["earlier"] = earlier
    with np.load(first) as stored:
        write_tile(first.parent, "tile_0000", dict(stored), {"processing": made})
    results = SampleResults(folder.root / "results")
    view = view_tiles(*tables(results), [], report=RefinedReport, sample="iowa")
    assert view.degraded
    assert ("checkpoint", "models/refine") in view.provenance["Tiles"]
    said = dict(view.provenance["Tiles"])
    assert said["earlier.stage"] == "stage1"
    # a page is the same whenever its tiles were predicted
    assert not [name for name in said if "time" in name]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("how", [REFINED, SEGMENTED], ids=["refined", "segmented"])
def test_the_page_is_readable_in_the_light_and_in_the_dark_scheme(tmp_path, how):
    folder = measured(tmp_path, how=how)
    render(folder, how)
    page = SampleResults(folder.root / "results").page
    assert_readable_in_both_schemes(page, tmp_path / "profile")
