from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.quality import Limit
from parafovea.settings.report import ReportSettings, TileReportSettings

FOLDER = Path(__file__).parents[2] / "workflow" / "report"
LIMITS = {"iou.nucleus": {"min": 0.7, "max": None}, "seam_energy": {"min": None, "max": 1.25}}


def rendered(name, **params):
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(sample="cell_7"),
        params=SimpleNamespace(arguments=params),
        config={"tasks": {"em": {"quality": {"limits": LIMITS}}, "free": {}}},
    )
    # As Snakemake does it: the result is reStructuredText, not HTML.
    template = Environment(autoescape=False).from_string((FOLDER / name).read_text())  # noqa: S701
    text = template.render(snakemake=snakemake)
    # Any mistake in the markup, a warning included, stops here.
    return publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.rst")), ids=lambda p: p.name)
def test_every_caption_renders_and_names_its_subject(path):
    params = {
        "settings": ReportSettings().model_dump(),
        "limits": LIMITS,
        "detection": DetectionSettings().model_dump(),
    }
    text = rendered(path.name, **params)
    assert ("cell_7" in text) != (path.name in {"cohort.rst", "context_study.rst", "workflow.rst"})


def test_tiles_caption_prints_the_settings():
    text = rendered("tiles.rst", settings=TileReportSettings(tiles=4, sampled=70).model_dump())
    assert "images of the worst 4" in text
    assert "the NDVI of at\nmost 70 before and after" in text


def test_overlay_caption_prints_the_settings():
    text = rendered("overlays.rst", settings=ReportSettings(overlay_alpha=0.3).model_dump())
    assert "30 %" in text
    assert "at most 3" in text
    assert "900 pixels" in text


@pytest.mark.parametrize("as_model", [False, True])
def test_quality_caption_prints_the_limits(as_model):
    limits = {k: Limit(**v) if as_model else v for k, v in LIMITS.items()}
    text = rendered("quality.rst", limits=limits)
    assert text.count("<li>") == 2
    assert "at least 0.7" in text
    assert "at most 1.25" in text
    assert "None" not in text
    assert "No limits are set" in rendered("quality.rst", limits={})


def test_cohort_caption_prints_the_limits_of_every_task():
    text = rendered("cohort.rst")
    assert "iou.nucleus" in text
    assert "at most 1.25" in text
    assert "no limits" in text
    assert "None" not in text
