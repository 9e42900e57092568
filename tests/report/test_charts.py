"""Charts show no value that a metric cannot have, and comparable samples together."""

import re

import pytest
from matplotlib.text import Text
from PIL import Image

from parafovea.quality.descriptions.registry import describe
from parafovea.report import charts
from parafovea.report.canvas import SMALL, styled
from parafovea.report.charts import PanelGroup, Point, draw_metrics, span_of
from parafovea.report.sample_results import Metric


def point(sample, name, value, minimum=None, maximum=None, task="t"):
    passed = None
    if value is not None and (minimum, maximum) != (None, None):
        passed = (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
    return Point(sample, task, Metric(name, value, minimum, maximum, passed))


def drawn(monkeypatch, groups, path):
    """Return the figure of `draw_metrics`."""
    figures = []

    def keep(figure, drawing):
        figures.append(figure)
        return drawing

    monkeypatch.setattr(charts, "save", keep)
    with styled():
        drawing = draw_metrics(groups, path)
    figures[0].canvas.draw()
    return figures[0], drawing


@pytest.mark.parametrize(
    ("name", "values", "low", "high"),
    [
        ("coverage.uncovered_voxels", [0, 0], 0, 1),
        ("tiles.quarantined", [0, 8], 0, 9),
        ("preservation.edge_correlation", [0.9584], None, 1),
        ("preservation.edge_correlation", [-0.99, 1.0], -1, 1),
        ("iou.nucleus", [0.01, 0.99], 0, 1),
        ("entropy", [0.0], 0, 0.1),
        ("accuracy.psnr", [34.0], None, None),
    ],
)
def test_an_axis_holds_all_values_and_none_that_cannot_be(name, values, low, high):
    ends = span_of(values, describe(name))
    assert ends[0] <= min(values) <= max(values) <= ends[1]
    assert ends[0] < ends[1]
    assert low is None or ends[0] == pytest.approx(low)
    assert high is None or ends[1] == pytest.approx(high)


def test_a_value_that_cannot_be_is_drawn_nevertheless():
    low, high = span_of([1.2, 0.5], describe("iou"))
    assert low <= 0.5
    assert high >= 1.2


def test_samples_of_a_kind_have_panels_of_their_own_in_the_order_of_the_sheet(
    monkeypatch, tmp_path
):
    cells = [point("a", "iou", 0.9, 0.5), point("b", "iou", 0.3, 0.5), point("c", "iou", None)]
    scans = [
        point("x", "sensitivity", None, 0.5),
        point("x", "false_positives", 2.0),
        point("y", "sensitivity", 0.7, 0.5),
    ]
    groups = [
        PanelGroup("Segmentation · 3 samples", tuple(cells), ("iou", "entropy")),
        PanelGroup("Detection · 2 samples", tuple(scans), ("sensitivity", "false_positives")),
    ]
    figure, drawing = drawn(monkeypatch, groups, tmp_path / "a.png")
    parts = figure.subfigs
    assert [part.get_suptitle() for part in parts] == [group.title for group in groups]
    titles = [[a.get_title(loc="left") for a in part.axes if a.axison] for part in parts]
    assert titles == [["Mean IoU"], ["Sensitivity", "False positives"]]
    rows = [[t.get_text() for t in part.axes[0].get_yticklabels()] for part in parts]
    assert rows == [["a", "b"], ["x", "y"]]
    assert "as set in the config" in drawing.caption


def test_ticks_are_whole_numbers_of_a_count_and_no_text_is_small(monkeypatch, tmp_path):
    points = [point("a", "coverage.uncovered_voxels", 0.0, maximum=0.0), point("a", "iou", 1.0)]
    group = PanelGroup("", tuple(points), ("coverage.uncovered_voxels", "iou"))
    figure, _ = drawn(monkeypatch, [group], tmp_path / "a.png")
    ticks = [t.get_text() for t in figure.subfigs[0].axes[0].get_xticklabels()]
    assert ticks == ["0", "1"]
    texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= SMALL
    plain = [t.get_text().replace("\N{MINUS SIGN}", "-") for t in texts]
    assert not [t for t in plain if re.search(r"-0(\.0+)?$", t)]


def test_many_samples_are_an_image_within_a_small_element(tmp_path):
    points = tuple(point(f"s{i}", "iou", i / 500, 0.2) for i in range(500))
    with styled():
        drawing = draw_metrics([PanelGroup("all", points, ("iou",))], tmp_path / "a.png")
    assert "in the row of its task" in drawing.caption
    assert "data:image/png" in drawing.svg
    assert len(drawing.svg) < 150_000
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1600
