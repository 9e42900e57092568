import shutil

import numpy as np
import pytest
from browser import CHROMIUM
from chest_scan import heat
from page_figures import assert_readable
from page_schemes import assert_readable_in_both_schemes
from test_detect_nodules import LOCAL, NODULES, run, write_inputs

from parafovea.errors import StoreError
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.report import VisualizationSettings
from parafovea.stages.render_detections import render_detections

NAMES = ("e.html", "a.png", "b.png", "t.jpg", "c.pdf", "d.html")


def render(folder, name):
    render_detections(
        folder / "volume.ome.zarr",
        folder / "out" / "detections.json",
        folder / "prediction.ome.zarr",
        folder / "quality.json",
        folder / "quality.tsv",
        *(folder / name / file for file in NAMES),
        sample="patient_001",
        source=str(folder / "scan.nii.gz"),
        settings={"num_slices": 2},
        detection=DetectionSettings(),
        triage={"calibration": None},
    )
    return {path.name: path.read_bytes() for path in (folder / name).iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("render")
    write_inputs(path, heat(LOCAL, NODULES).astype(np.float32))
    run(path)
    (path / "quality.json").write_text('{"metrics": {}}')
    (path / "quality.tsv").write_text("metric\tvalue\tminimum\tmaximum\tpassed\n")
    return path


def test_all_pictures_are_written_and_are_the_same_again(folder):
    first, second = render(folder, "first"), render(folder, "second")
    assert sorted(first) == sorted(NAMES)
    assert first == second
    page = first["e.html"].decode()
    assert "3 detections" in page
    assert 'href="c.pdf"' in page
    assert "not stated" not in page
    assert_readable(page)


def test_a_damaged_file_of_detections_stops_it_before_anything_is_written(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "out" / "detections.json").write_text("{}")
    with pytest.raises(StoreError, match=r"detections\.json is not a valid detections file"):
        render(broken, "none")
    assert not (broken / "none").exists()


def test_an_unknown_colormap_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"unknown colormap 'rainbow': use one of hot, "):
        VisualizationSettings(colormap="rainbow")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_page_is_readable_in_the_light_and_in_the_dark_scheme(folder, tmp_path):
    render(folder, "shown")
    assert_readable_in_both_schemes(folder / "shown" / "e.html", tmp_path / "profile")
