import asyncio
import base64
import io
import json
import re

import numpy as np
import pytest
from browser import CHROMIUM, opened
from detection_view import SCAN, body_masks, scan_view
from PIL import Image
from scipy import ndimage

from parafovea.geometry.scan_space import ScanSpace
from parafovea.preprocess.coarse_view import CoarseArray
from parafovea.report.detections import surfaces
from parafovea.report.detections.scene import write_scene
from parafovea.report.detections.surfaces import heatmap_surface, mask_surface, spheres

#: The camera's place as it is drawn from now.
EYE = "JSON.stringify(document.getElementById('view')._fullLayout.scene._scene.getCamera().eye)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.html"
    write_scene(scan_view(), body_masks(), path, threshold=0.5)
    return path


def figure_of(page):
    text = page.read_text(encoding="utf-8")
    found = re.search(r'id="figure-data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def test_the_page_needs_nothing_else_is_small_and_is_the_same_every_time(page, tmp_path):
    assert page.stat().st_size < 15e6
    text = page.read_text(encoding="utf-8")
    without_library = re.sub(r"<script>.*?</script>", "", text, count=2, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=|https?://", without_library)
    assert "patient &lt;1&gt;" in text
    assert "<1>" not in without_library
    write_scene(scan_view(), body_masks(), tmp_path / "again.html", threshold=0.5)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_body_lungs_heatmap_and_detections_are_in_the_scene(page):
    figure = figure_of(page)
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["body", "lungs", "heatmap", "detections"]
    assert figure["layout"]["scene"]["aspectmode"] == "data"


def test_a_scan_without_detections_has_a_page_that_says_so(tmp_path):
    path = tmp_path / "scene.html"
    write_scene(scan_view(()), body_masks(()), path, threshold=0.5)
    assert [t["name"] for t in figure_of(path)["data"]] == ["body", "lungs"]
    assert "No detections." in path.read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_scene_is_turned_and_a_sphere_is_clicked_in_a_browser(page, tmp_path):
    first = scan_view().detections.detections[0]

    async def drive(attempt):
        async with opened(page, tmp_path / f"profile_{attempt}") as browser:
            await browser.until("document.body?.dataset.state === 'ready'")
            before = await browser.ask(EYE)
            box = await browser.ask(
                "(({x, y, width, height}) => [x, y, width, height])"
                "(document.getElementById('view').getBoundingClientRect())"
            )
            middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
            await browser.mouse("mouseMoved", *middle)
            await browser.mouse("mousePressed", *middle, held=True)
            for step in range(1, 5):
                await browser.mouse("mouseMoved", middle[0] + 8 * step, middle[1], held=True)
                await asyncio.sleep(0.15)
            await browser.mouse("mouseReleased", middle[0] + 32, middle[1])
            await browser.until(f"{EYE} !== {json.dumps(before)}")
            spots = await _spheres(browser)
            # the first nodule is at the patient's left, which is right in a view from the front
            for place, number in zip(spots, (1, 0), strict=True):
                await browser.mouse("mouseMoved", *place)
                await browser.mouse("mousePressed", *place, held=True)
                await browser.mouse("mouseReleased", *place)
                await browser.until(f"document.body.dataset.chosen === '{number}'", 10)
            words = await browser.ask("document.getElementById('side').innerText")
            assert "Detection 0" in words
            assert ", ".join(str(v) for v in first.coordinates_voxel) in words
            await browser.ask("document.querySelector('#list tr[data-id=\"1\"]').click()")
            assert await browser.ask("document.body.dataset.chosen") == "1"
            assert browser.problems == []

    # a browser that draws on a busy processor may be too slow for its own animation: a fresh one
    for attempt in range(3):
        try:
            asyncio.run(drive(attempt))
        except (AssertionError, TimeoutError):
            if attempt == 2:
                raise
        else:
            break


#: Where the corners of the scene's box are drawn, in [-1, 1] if seen, and the size of a millimetre.
CORNERS = """(() => {
  const scene = document.getElementById('view')._fullLayout.scene._scene;
  const camera = scene.glplot.cameraParams;
  const ranges = ['xaxis', 'yaxis', 'zaxis'].map((name) => scene.fullSceneLayout[name].range);
  return [0, 1, 2, 3, 4, 5, 6, 7].map((corner) => {
    const place = ranges.map((range, axis) => range[(corner >> axis) & 1] * scene.dataScale[axis]);
    let at = [...place, 1];
    for (const matrix of [camera.model, camera.view, camera.projection]) {
      at = [0, 1, 2, 3].map((row) => at.reduce((sum, v, i) => sum + v * matrix[4 * i + row], 0));
    }
    return [at[0] / at[3], at[1] / at[3]];
  });
})()"""
SPAN = f"""(() => {{
  const corners = {CORNERS};
  const along = (axis) => corners.map((each) => each[axis]);
  return Math.max(...[0, 1].map((axis) => Math.max(...along(axis)) - Math.min(...along(axis))));
}})()"""
FILLED = """(() => {
  const view = document.getElementById('view');
  const drawn = document.querySelector('#scene canvas').getBoundingClientRect();
  return Math.abs(drawn.width - view.clientWidth) < 2
    && Math.abs(drawn.height - view.clientHeight) < 2;
})()"""
SCALES = """(() => {
  const scene = document.getElementById('view')._fullLayout.scene._scene;
  const model = scene.glplot.cameraParams.model;
  return [...scene.dataScale].map((scale, axis) => scale * model[5 * axis]);
})()"""
INK = "document.getElementById('view')._fullLayout.scene.xaxis.title.font.color"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_all_of_the_scene_is_seen_in_its_proportions_in_any_window_and_scheme(page, tmp_path):
    async def drive():
        async with opened(page, tmp_path / "profile") as browser:
            await browser.until("document.body?.dataset.state === 'ready'")
            for size in ((400, 900), (1600, 500), (320, 500), (1100, 750)):
                await browser.resize(*size)
                seen = f"{CORNERS}.flat().every((value) => Math.abs(value) < 1)"
                # not lost in the distance either
                near = f"{SPAN} > 0.8"
                fits = f"{FILLED} && {seen} && {near}"
                await browser.until(f"innerWidth === {size[0]} && {fits}", 20)
                page_width = await browser.ask("document.documentElement.scrollWidth")
                assert page_width <= size[0]
                scales = await browser.ask(SCALES)
                assert scales == pytest.approx([scales[0]] * 3)
            for scheme, ink in (("dark", "rgb(228, 232, 237)"), ("light", "rgb(31, 41, 51)")):
                await browser.prefer(scheme)
                await browser.until(f"{INK} === '{ink}'", 20)
            assert browser.problems == []

    asyncio.run(drive())


async def _spheres(browser):
    """Return where the spheres are seen in the window, once the scene, which turns on, is still."""
    last, found = [], []
    for _ in range(40):
        last, found = found, await _seen(browser)
        if len(found) == len(last) == 2 and np.abs(np.subtract(found, last)).max() < 0.5:
            return found
        await asyncio.sleep(0.3)
    raise AssertionError(f"spheres are seen at {last}, then at {found}: two are expected, at rest")


async def _seen(browser):
    """Return the middles of the red parts of the window, from left to right."""
    shot = await browser.call("Page.captureScreenshot", format="png")
    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = pixels[..., 0] - pixels[..., 2] > 100
    # the legend and the scale of colours lie outside
    red[:, :200], red[:, 700:], red[:150], red[480:] = False, False, False, False
    labels, count = ndimage.label(ndimage.binary_opening(red, iterations=2))
    middles = ndimage.center_of_mass(red, labels, range(1, count + 1))
    return sorted((float(x), float(y)) for y, x in middles)


def test_a_masks_surface_lies_where_the_mask_ends_in_the_patient():
    values = np.zeros(SCAN.shape, bool)
    values[10:20, 15:35, 20:50] = True
    affine = np.array([[0, -4.0, 0, 9], [4.0, 0, 0, -7], [0, 0, -4.0, 5], [0, 0, 0, 1]])
    found = mask_surface(CoarseArray(values, SCAN), ScanSpace(SCAN, affine))
    low, high = found.vertices.min(axis=0), found.vertices.max(axis=0)
    # LPS x is 4 y - 9, y is 7 - 4 x, z is 5 - 4 z, over half a voxel more on each side
    assert low == pytest.approx([4 * 14.5 - 9, 7 - 4 * 49.5, 5 - 4 * 19.5], abs=0.5)
    assert high == pytest.approx([4 * 34.5 - 9, 7 - 4 * 19.5, 5 - 4 * 9.5], abs=0.5)


def test_a_surface_of_too_many_triangles_is_made_coarser(monkeypatch):
    values = np.zeros(SCAN.shape, bool)
    values[5:25, 10:40, 10:60] = True
    space = ScanSpace(SCAN)
    fine = mask_surface(CoarseArray(values, SCAN), space)
    monkeypatch.setattr(surfaces, "MOST_TRIANGLES", len(fine) // 2)
    coarse = mask_surface(CoarseArray(values, SCAN), space)
    assert 0 < len(coarse) <= len(fine) // 2
    assert coarse.vertices.mean(axis=0) == pytest.approx(fine.vertices.mean(axis=0), abs=4)


def test_the_heatmaps_surface_surrounds_each_nodule_at_its_radius():
    view = scan_view(affine=None)
    found = heatmap_surface(view.heatmap, 0.5, ScanSpace(SCAN))
    for nodule, radius in (((60, 5, 10), 9.0), ((-50, 20, -20), 8.0)):
        gaps = np.linalg.norm(found.vertices - np.array(nodule), axis=1)
        own = gaps[gaps < 20]
        assert len(own) > 50
        assert own == pytest.approx(radius, abs=1)


def test_spheres_have_equally_many_vertices_at_their_radius():
    centres = np.array([[0.0, 0, 0], [10, 20, 30]])
    found = spheres(centres, np.array([2.0, 6.0]), around=12, along=7)
    assert found.vertices.shape == (2 * 84, 3)
    for row, (centre, width) in enumerate(zip(centres, (2, 6), strict=True)):
        own = found.vertices[row * 84 : row * 84 + 84]
        assert np.linalg.norm(own - centre, axis=1) == pytest.approx(width / 2, rel=1e-5)
    assert set(np.unique(found.faces // 84).tolist()) == {0, 1}
