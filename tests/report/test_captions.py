from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined, Undefined

from parafovea.config import read_project
from parafovea.kinds.stages import stages
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.quality import Limit
from parafovea.settings.report import ReportSettings, TileReportSettings

FOLDER = Path(__file__).parents[2] / "workflow" / "report"
LIMITS = {"iou.nucleus": {"min": 0.7, "max": None}, "seam_energy": {"min": None, "max": 1.25}}


def rendered(name, undefined=Undefined, **params):
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(sample="cell_7"),
        params=SimpleNamespace(arguments=params),
        config={"tasks": {"em": {"quality": {"limits": LIMITS}}, "free": {}}},
    )
    # As Snakemake does it: the result is reStructuredText, not HTML.
    environment = Environment(autoescape=False, undefined=undefined)  # noqa: S701
    template = environment.from_string((FOLDER / name).read_text())
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
    figures = {"context_study.rst", "feature_study.rst", "measured_figure.rst"}
    of_all = {*figures, "result_figures.rst", "froc.rst", "workflow.rst"}
    assert ("cell_7" in text) != (path.name in of_all or path.name.startswith("cohort"))


def test_captions_find_the_arguments_that_their_stages_have(monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    project = read_project(Path("config/config.yaml"))
    found = set()
    for sample in project.predicted:
        for stage in project.stages(sample):
            for caption in filter(None, (output.caption for output in stage.outputs.values())):
                arguments = stage.arguments(project, project.jobs(stage, sample)[0])
                found.add(caption.name)
                rendered(f"{caption.name}.rst", undefined=StrictUndefined, **arguments)
    assert {"overlays", "quality", "detections", "tiles", "quarantine"} <= found


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


#: Results that are pictures, tables or pages, but no results of their own: parts of a page, and the
#: truth of phantoms.
PARTS = {"thumbnail", "truth"}


@pytest.mark.parametrize("name", sorted(stages()))
def test_each_result_that_a_report_can_show_has_a_caption_that_exists(name):
    shown = (".csv", ".html", ".pdf", ".png", ".svg", ".tsv")
    stage = stages()[name]
    for key, output in stage.outputs.items():
        if output.caption is not None:
            assert (FOLDER / f"{output.caption.name}.rst").is_file()
        elif output.path.endswith(shown) and output.kept and "{shard}" not in output.path:
            own = output.path.startswith(("{sample}/", "cohort/", "figures/", "report"))
            assert not own or key in PARTS, f"{key} of {name} has no caption"
