"""The web page in a browser: uploads, progress, results, errors, keys, with mouse and keyboard."""

from __future__ import annotations

import asyncio
import gzip
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
import yaml
from browser import CHROMIUM, Page, opened
from chest_scan import Nodule, chest
from dicom_slices import write_series
from live_server import LiveServer, make_project
from page_schemes import FAINT
from PIL import Image
from scipy.spatial.transform import Rotation
from tiny_detector import SHAPE, SPACING
from tiny_sample import tiny_model, tiny_refinement

from parafovea.formats.tiles.npz import write_tile
from parafovea.geometry.grid import Grid
from parafovea.service.web_page import FILES, NIIVUE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

KEY = "a-key-of-a-client-0123456789"

VIEWER = "document.querySelector('.viewer')"
NIIVUE_OBJECT = f"{VIEWER}.niivue"
PLACE = (
    f"Array.from({NIIVUE_OBJECT}.frac2mm({NIIVUE_OBJECT}.scene.crosshairPos, 0, true)).slice(0, 3)"
)
VALUES = (
    f"{NIIVUE_OBJECT}.volumes.map((each) => "
    f"each.getValue(...{NIIVUE_OBJECT}.frac2vox({NIIVUE_OBJECT}.scene.crosshairPos)))"
)
READY = f"{VIEWER}?.dataset.state === 'ready'"
STATES = "[...document.querySelectorAll('#job-list .chip')].map((each) => each.textContent)"
NEWEST = "document.querySelector('#job-list li').dataset.job"


def write_turned_scan(path: Path) -> None:
    """Write an oblique chest far from 0, whose voxels run upwards first, then back and right."""
    origin = tuple(-s * (n - 1) / 2 for n, s in zip(SHAPE, SPACING, strict=True))
    grid = Grid(SHAPE, SPACING, origin, "millimeter")
    voxels = chest(grid, [Nodule((0, 0, 55), 8.0)]).astype(np.int16)  # z, y, x
    z, y, x = SPACING
    affine = np.array([[0, 0, -x, 91], [0, -y, 0, 40], [z, 0, 0, -700], [0, 0, 0, 1]], float)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix() @ affine[:3, :3]
    )
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@asynccontextmanager
async def page_of(server: LiveServer, profile: Path) -> AsyncIterator[Page]:
    """Yield the page, and look at its end whether anything was wrong on the way."""
    async with opened(f"{server.url}/", profile) as page:
        await page.resize(1100, 900)
        await page.until("document.querySelector('#task option, #access:not([hidden])')")
        yield page
        await page.ask("1")
        assert page.problems == []
        foreign = [each for each in page.requests if not each.startswith((server.url, "data:"))]
        foreign = [each for each in foreign if not each.startswith(f"blob:{server.url}/")]
        assert foreign == []


async def click(page: Page, selector: str) -> None:
    """Click the middle of an element with the mouse."""
    found = f"document.querySelector({selector!r})"
    await page.ask(f"{found}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = await page.ask(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        f"({found}.getBoundingClientRect())"
    )
    await page.mouse("mousePressed", *box, held=True)
    await page.mouse("mouseReleased", *box)


async def tab_to(page: Page, condition: str) -> None:
    """Press Tab until the focused element fulfils a condition, in which it is called `it`."""
    for _ in range(80):
        if await page.ask(f"((it) => {condition})(document.activeElement)"):
            return
        await page.press("Tab")
    raise AssertionError(f"no element with {condition} can be reached by Tab")


def run(body) -> None:
    asyncio.run(body())


def test_a_scan_is_uploaded_watched_and_seen_at_its_detections(server, tmp_path):
    scan = tmp_path / "turned.nii.gz"
    write_turned_scan(scan)
    voxels = np.asarray(nibabel.load(scan).dataobj)
    shares: list[float] = []

    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            await page.choose("#file", scan)
            await page.until("!send.disabled")
            assert "turned.nii.gz" in await page.ask("chosen.textContent")
            # by keyboard alone from here on
            await page.until("document.activeElement === send")
            before = await page.ask("document.querySelectorAll('#job-list li').length")
            await page.press("Enter")
            await page.until(f"document.querySelectorAll('#job-list li').length > {before}")
            job = await page.ask(NEWEST)
            while not (await page.ask(STATES))[0].startswith(("completed", "failed")):
                shares.append(await page.ask("document.querySelector('#job-list progress').value"))
                await asyncio.sleep(0.05)
            assert (await page.ask(STATES))[0] == "completed"
            assert "turned.nii.gz: completed" in await page.ask("announcer.textContent")
            await tab_to(
                page, f"it.textContent === 'Open' && it.closest('li').dataset.job === '{job}'"
            )
            await page.press("Enter")
            await page.until(READY)
            found = httpx.get(f"{server.url}/api/v1/inference/{job}/results").json()
            await page.until("document.querySelectorAll('tr.finding').length > 0")
            assert len(found["detections"]) == await page.ask(
                "document.querySelectorAll('tr.finding').length"
            )
            first, last = found["detections"][0], found["detections"][-1]
            assert first["coordinates"] != last["coordinates"]
            # it begins at the most confident one
            await compare(page, first, voxels)
            await tab_to(page, f"it.closest('tr')?.dataset.detection === '{last['id']}'")
            await page.press("Enter")
            await compare(page, last, voxels)
            await click(page, "tr.finding[data-detection='0'] td:nth-child(3)")
            await compare(page, first, voxels)
            assert (
                await page.ask("document.querySelector('tr[aria-current]').dataset.detection")
                == "0"
            )
            # a slider moves by one voxel
            before = np.array(await page.ask(PLACE))
            await page.ask("document.querySelectorAll('.slide input')[0].focus()")
            await page.press("ArrowRight")
            moved = np.linalg.norm(np.array(await page.ask(PLACE)) - before)
            assert 0.4 * SPACING[2] < moved < 2 * SPACING[2]
            # windows and the heatmap follow their controls
            await click(page, ".controls fieldset:nth-of-type(3) button:nth-child(2)")
            shown = f"[{NIIVUE_OBJECT}.volumes[0].cal_min, {NIIVUE_OBJECT}.volumes[0].cal_max]"
            assert await page.ask(shown) == [-125, 225]
            await page.ask("document.querySelector('fieldset:last-of-type input').focus()")
            await page.press("ArrowRight")
            opacity = await page.ask(f"{NIIVUE_OBJECT}.volumes[1].opacity")
            assert opacity == pytest.approx(0.51)
            assert await page.ask("location.hash") == f"#job={job}"
            links = await page.ask(
                "[...document.querySelectorAll('.files a')].map((each) => each.title)"
            )
            assert sorted(links) == sorted(each["name"] for each in found["files"])
            assert {"report.html", "detections.json", "detections.csv", "heatmap.nii.gz"} < {*links}
            assert "report.pdf" in links
            # where the browser draws no scans, the page says so and still has the files
            await page.ask("HTMLCanvasElement.prototype.getContext = () => null; 0")
            await click(page, f"[data-job='{job}'] button.main")
            await page.until(f"{VIEWER}?.dataset.state === 'failed'")
            words = await page.ask(f"{VIEWER}.textContent")
            assert "The scan cannot be shown here (Unable to initialize WebGL2." in words
            assert await page.ask("document.querySelectorAll('.files a').length") == len(links)

    run(drive)
    assert shares == sorted(shares)
    assert len(set(shares)) > 2


async def compare(page: Page, detection, voxels) -> None:
    """Compare the crosshair with a detection: its place, and the values there with the files."""
    x, y, z = detection["coordinates"]
    wanted = np.array([-x, -y, z])
    near = f"{PLACE}.every((each, axis) => Math.abs(each - {wanted.tolist()}[axis]) < 0.01)"
    await page.until(near, 20)
    scan, heat = await page.ask(VALUES)
    assert scan == voxels[tuple(detection["coordinates_voxel"])]
    # its centre lies in the region of the heatmap that was found
    assert heat > 0.5
    words = await page.ask("document.querySelector('.place').textContent")
    assert f"x {x:.1f}, y {y:.1f}, z {z:.1f} mm".replace("-", "\N{MINUS SIGN}") in words


def test_what_is_broken_is_refused_in_the_words_of_the_service(server, tmp_path):
    unlike, broken = tmp_path / "unlike.nii", tmp_path / "broken.nii.gz"
    unlike.write_bytes(b"no scan" * 100)
    broken.write_bytes(gzip.compress(b"no scan" * 100))
    shown = "document.getElementById('upload-error').textContent"

    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            await page.choose("#file", unlike)
            await page.until("!send.disabled")
            await click(page, "#send")
            await page.until(f"{shown} !== ''")
            assert "is not what its name says" in await page.ask(shown)
            # the browser itself logs the refusal
            assert [each for each in page.problems if "422" not in each] == []
            page.problems.clear()
            # another one can be chosen; what is said of it is read as well
            await page.choose("#file", broken)
            await page.until(f"!send.disabled && {shown} === ''")
            await page.ask("document.getElementById('metadata').value = 'spacing=wide'")
            await click(page, "#send")
            await page.until(f"{shown}.startsWith('metadata: ')")
            await page.until("!send.disabled")
            page.problems.clear()
            await page.ask("document.getElementById('metadata').value = ''")
            await click(page, "#send")
            await page.until(f"{STATES}[0] === 'failed'")
            why = await page.ask("document.querySelector('#job-list .why').textContent")
            job = await page.ask(NEWEST)
            assert why == server.state(job)["error"]
            assert "the uploaded file" in why
            assert why in await page.ask("announcer.textContent")
            await click(page, "#job-list li:first-child .job-actions button:last-child")
            await page.until(f"!document.querySelector('[data-job=\"{job}\"]')")
            assert httpx.get(f"{server.url}/api/v1/inference/{job}").status_code == 404

    run(drive)


def test_a_dropped_folder_of_dicom_is_zipped_in_the_browser_and_predicted(server, tmp_path):
    series = tmp_path / "study" / "series"
    origin = tuple(-s * (n - 1) / 2 for n, s in zip(SHAPE, SPACING, strict=True))
    voxels = chest(Grid(SHAPE, SPACING, origin, "millimeter"), [Nodule((0, 0, 55), 8.0)])
    paths = write_series(series, voxels.astype(np.int16), spacing=SPACING)
    (tmp_path / "study/.DS_Store").write_text("not uploaded")

    async def drive() -> str:
        async with page_of(server, tmp_path / "profile") as page:
            x, y = await page.ask(
                "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
                "(document.getElementById('drop').getBoundingClientRect())"
            )
            data = {"items": [], "files": [str(tmp_path / "study")], "dragOperationsMask": 1}
            for kind in ("dragEnter", "dragOver", "drop"):
                await page.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
            await page.until("!send.disabled")
            words = f"study.zip: {len(paths)} files"
            assert words in await page.ask("chosen.textContent")
            before = await page.ask("document.querySelectorAll('#job-list li').length")
            await click(page, "#send")
            await page.until(f"document.querySelectorAll('#job-list li').length > {before}")
            # its address, opened while it runs, shows the result when there is one
            await page.ask(f"location.hash = '#job=' + {NEWEST}")
            await page.until(f"{STATES}[0] === 'completed'", 120)
            await page.until(READY)
            return await page.ask(NEWEST)

    job = asyncio.run(drive())
    with zipfile.ZipFile(server.folder / "spool/jobs" / job / "upload/study.zip") as archive:
        assert archive.testzip() is None
        sent = {name: archive.read(name) for name in archive.namelist()}
    assert sent == {f"series/{path.name}": path.read_bytes() for path in paths}
    results = httpx.get(f"{server.url}/api/v1/inference/{job}/results").json()
    assert results["metadata"]["shape"] == list(reversed(SHAPE))


def test_files_chosen_while_others_are_sent_are_sent_after_them(server, tmp_path):
    scans = [tmp_path / f"{name}.nii.gz" for name in ("first", "second", "third")]
    for scan in scans:
        scan.write_bytes(gzip.compress(b"no scan", mtime=0))

    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            await page.choose("#file", *scans[:2])
            await page.until("!send.disabled")
            # the first upload stays on its way for as long as this wants
            await page.ask(
                "window.sent = XMLHttpRequest.prototype.send, "
                "XMLHttpRequest.prototype.send = function (form) {"
                " window.release = () => sent.call(this, form);"
                " XMLHttpRequest.prototype.send = sent; }, 0"
            )
            await click(page, "#send")
            await page.until("window.release")
            await page.choose("#file", scans[2])
            await page.until("chosen.textContent.includes('third.nii.gz')")
            assert "first.nii.gz" in await page.ask("chosen.textContent")
            assert await page.ask("send.disabled")
            await page.ask("release(), 0")
            await page.until("sending.hidden && chosen.textContent === ''")
            # jobs of other tests may be listed, too
            names = "[...document.querySelectorAll('.job-name')].map((each) => each.textContent)"
            wanted = json.dumps([scan.name for scan in scans])
            await page.until(
                f"(() => {{ const shown = {names};"
                f" return {wanted}.every((name) => shown.includes(name)); }})()"
            )
            assert await page.ask("document.querySelector('#upload-error').textContent") == ""

    run(drive)


def test_a_tab_that_nobody_looks_at_holds_no_connection(server, tmp_path):
    scan = tmp_path / "watched.nii.gz"
    write_turned_scan(scan)
    seen = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}}), "
    seen += "document.dispatchEvent(new Event('visibilitychange')), 0"

    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            await page.ask(
                "window.signals = [], window.called = window.fetch, "
                "window.fetch = (address, options) => {"
                " if (address.endsWith('/events')) signals.push(options.signal);"
                " return called(address, options); }, 0"
            )
            await page.choose("#file", scan)
            await page.until("!send.disabled")
            await click(page, "#send")
            await page.until("signals.length > 0")
            await page.ask(seen.format("true"))
            # one that ended by itself had its job's end to tell
            running = "document.querySelector('#job-list li .chip').textContent !== 'completed'"
            assert await page.ask(f"!({running}) || signals.every((each) => each.aborted)")
            await page.ask(seen.format("false"))
            await page.until(f"!({running})")

    run(drive)


def test_a_service_that_cannot_be_reached_at_first_is_tried_again(server, tmp_path):
    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            missing = "const called = window.fetch; window.fetch = (...asked) => called(...asked)"
            missing += (
                ".then((answer) => window.isThere ? answer : Promise.reject(new TypeError()))"
            )
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=missing)
            await page.call("Page.reload")
            await page.until("document.getElementById('upload-error')?.textContent")
            assert "cannot be reached" in await page.ask(
                "document.getElementById('upload-error').textContent"
            )
            assert await page.ask("document.querySelectorAll('#task option').length") == 0
            await page.ask("window.isThere = true")
            await page.until("document.querySelector('#task option')")
            assert await page.ask("document.getElementById('upload-error').textContent") == ""

    run(drive)


@pytest.fixture(scope="module")
def tile_server(tmp_path_factory) -> Iterator[LiveServer]:
    """Yield a service that refines tiles and wants a key."""
    folder = make_project(tmp_path_factory.mktemp("page") / "project")
    tiny_model(folder / "models/optical", tiny_refinement(context=False))
    config = folder / "config/config.yaml"
    content = yaml.safe_load(config.read_text())
    content["tasks"]["optical"] = {"kind": "refinement", "model": "models/optical"}
    config.write_text(yaml.safe_dump(content))
    server = LiveServer(folder, keys=KEY, task="optical").start()
    yield server
    server.stop()


def test_with_a_key_a_folder_of_tiles_is_zipped_and_seen_before_and_after(tile_server, tmp_path):
    fields, downloads = tmp_path / "fields", tmp_path / "downloads"
    downloads.mkdir()
    for number in range(3):
        values = np.random.default_rng(number).uniform(0, 0.5, (4, 32, 48)).astype(np.float32)
        write_tile(fields, f"tile_{number}", {"opt_v1": values}, {"month": 6, "biome_code": 3})
    (fields / ".hidden").write_text("not uploaded")

    async def drive() -> str:
        async with page_of(tile_server, tmp_path / "profile") as page:
            assert await page.ask("upload.hidden && jobs.hidden")
            reason = "document.getElementById('access-reason').textContent"
            ends = (f"{reason} === 'The service does not know this key.'", "access.hidden")
            for key, end in zip(("wrong" * 5, KEY), ends, strict=True):
                await page.until("document.activeElement?.id === 'key'")
                await page.call("Input.insertText", text=key)
                await page.press("Enter")
                await page.until(end)
            await page.until("access.hidden && !upload.hidden")
            # the browser itself logs the refusals
            assert [each for each in page.problems if "401" not in each] == []
            page.problems.clear()
            assert await page.ask("document.getElementById('config-field').hidden")
            await page.choose("#folder", fields)
            await page.until("!send.disabled")
            await click(page, "#send")
            await page.until(f"{STATES}[0] === 'completed'", 120)
            job = await page.ask(NEWEST)
            await click(page, "#job-list li:first-child button.main")
            await page.until("document.querySelectorAll('.pair img').length === 6")
            whole = (
                "[...document.querySelectorAll('.pair img')].every((i) => i.naturalWidth === 48)"
            )
            await page.until(whole)
            slider = "document.querySelector('.pairs input')"
            await page.ask(f"{slider}.focus()")
            for _ in range(10):
                await page.press("ArrowRight")
            clip = await page.ask("document.querySelector('.pair .over').style.clipPath")
            assert clip == "inset(0px 40% 0px 0px)"
            await page.call(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads)
            )
            await click(page, ".files a[title='summary.json']")
            for _ in range(100):
                if (downloads / "summary.json").is_file():
                    break
                await asyncio.sleep(0.1)
            assert json.loads((downloads / "summary.json").read_text())["num_out"] == 3
            await page.ask("1")
            assert [each for each in page.requests if KEY in each] == []
            return job

    job = asyncio.run(drive())
    with zipfile.ZipFile(tile_server.folder / "spool/jobs" / job / "upload/fields.zip") as archive:
        assert archive.testzip() is None
        sent = {name: archive.read(name) for name in archive.namelist()}
    own = {path.name: path.read_bytes() for path in fields.iterdir() if path.name[0] != "."}
    assert sent == own
    # pictures are for the client with the key alone
    address = f"{tile_server.url}/api/v1/inference/{job}/viewer"
    assert httpx.get(address).status_code == 401
    known = {"Authorization": f"Bearer {KEY}"}
    (tmp_path / "after.png").write_bytes(httpx.get(f"{address}/after_1.png", headers=known).content)
    with Image.open(tmp_path / "after.png") as picture:
        assert picture.size == (48, 32)
    for name in ("viewer.json", "after_1.jpg", "..%2fviewer.json", "scan.nii.gz"):
        assert httpx.get(f"{address}/{name}", headers=known).status_code == 404


def test_the_page_follows_the_scheme_and_fits_a_narrow_window(server, tmp_path):
    async def drive() -> None:
        async with page_of(server, tmp_path / "profile") as page:
            back = "getComputedStyle(document.body).backgroundColor"
            colours = {}
            for scheme in ("light", "dark"):
                await page.prefer(scheme)
                colours[scheme] = await page.ask(back)
                assert await page.ask(FAINT) == []
            assert colours == {"light": "rgb(245, 246, 248)", "dark": "rgb(20, 24, 29)"}
            await page.resize(360, 700)
            assert await page.ask("document.documentElement.scrollWidth") <= 360
            # whatever takes input has a name
            nameless = (
                "[...document.querySelectorAll('button, input, select')].filter((each) => "
                "!(each.textContent.trim() || each.ariaLabel || each.labels?.length)).length"
            )
            assert await page.ask(nameless) == 0
            await page.press("Tab")
            assert await page.ask("document.activeElement.className") == "skip"
            assert "Not a medical device" in await page.ask(
                "document.querySelector('footer').textContent"
            )

    run(drive)


def test_files_of_the_page_are_packed_known_again_and_bound_to_their_own_scripts(tile_server):
    for name in FILES:
        address = f"{tile_server.url}/" + ("" if name == "index.html" else f"page/{name}")
        answer = httpx.get(address)
        assert answer.status_code == 200, name
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; " in policy
        assert "unsafe" not in policy
        plain = httpx.get(address, headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content
        known = httpx.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        kept = "immutable" if name == NIIVUE else "no-cache"
        assert kept in answer.headers["cache-control"]
    for name in ("index.html", "README.md", "..%2fweb_page.py", "vendor"):
        assert httpx.get(f"{tile_server.url}/page/{name}").status_code == 404
    assert httpx.head(f"{tile_server.url}/").status_code == 200
    assert httpx.post(f"{tile_server.url}/").status_code == 405
