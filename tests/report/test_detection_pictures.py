import numpy as np
import pytest
from detection_view import AFFINE, SCAN, scan_view
from matplotlib.patches import Circle
from PIL import Image

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.detection_files import Triage
from parafovea.report.canvas import styled
from parafovea.report.detections.confidence_plot import confidences_figure, draw_confidences
from parafovea.report.detections.pdf import table_pages, write_detection_pdf
from parafovea.report.detections.scan_view import summary_of
from parafovea.report.detections.slice_orientation import AxialSlices, choose_slices
from parafovea.report.detections.slices import detections_figure, draw_detections


@pytest.fixture(scope="module")
def view():
    return scan_view()


def texts(figure):
    own = [t.get_text() for t in figure.texts]
    return own + [t.get_text() for axes in figure.axes for t in axes.texts]


@pytest.mark.parametrize(
    ("columns", "signs"),
    [("xyz", (-1, -1, 1)), ("xyz", (1, 1, 1)), ("zxy", (1, -1, -1)), ("yzx", (-1, 1, 1))],
)
def test_the_patients_right_is_left_and_the_front_is_above_in_any_orientation(columns, signs):
    # one bright voxel at the patient's right, front and head
    grid = Grid((5, 6, 7), (1.0, 2.0, 3.0), unit="millimeter")
    affine = np.eye(4)
    affine[:3, :3] = 0
    values, place = np.zeros(grid.shape), [0, 0, 0]
    for column, (name, sign) in enumerate(zip(columns, signs, strict=True)):
        affine["xyz".index(name), column] = sign * grid.spacing[2 - column]
        # R, A and S are where the world's x, y and z are large
        place[2 - column] = grid.shape[2 - column] - 2 if sign > 0 else 1
    values[tuple(place)] = 1
    axial = AxialSlices.of(grid, affine)
    picture = axial.read(lambda box: values[box.slices], place[axial.axial])
    # right is at the left, front above: the second row and column
    assert np.argwhere(picture).tolist() == [[1, 1]]
    across, down = axial.place(np.array(place))
    assert across == pytest.approx(1.5 * grid.spacing[axial.right])
    assert down == pytest.approx(1.5 * grid.spacing[axial.down])
    assert axial.letters == "RLAP"


def test_the_first_line_of_a_page_says_what_was_left_out_and_not_what_was_not(view):
    document = view.detections
    assert summary_of(document, {}) == "2 detections"
    left_out = document.summary.model_copy(update={"outside_body_count": 3})
    text = summary_of(document.model_copy(update={"summary": left_out}), {})
    assert text == "2 detections; 3 outside the body removed"


def test_without_an_affine_slices_are_drawn_as_they_lie():
    axial = AxialSlices.of(SCAN, None)
    values = np.arange(SCAN.size).reshape(SCAN.shape)
    np.testing.assert_array_equal(axial.read(lambda box: values[box.slices], 3), values[3])
    assert axial.letters == ""


def test_slices_go_through_the_best_detections_each_once_or_are_evenly_spaced():
    axial = AxialSlices.of(SCAN, AFFINE)
    indices = np.array([[7.4, 1, 1], [20.6, 1, 1], [6.9, 5, 5], [-0.4, 1, 1], [29.4, 1, 1]])
    assert choose_slices(axial, indices, 9) == [7, 21, 0, 29]
    assert choose_slices(axial, indices, 2) == [7, 21]
    assert choose_slices(axial, np.zeros((0, 3)), 3) == [5, 15, 25]


def test_circles_lie_on_the_detections_with_their_diameters(view):
    with styled():
        figure = detections_figure(view, num_slices=5, colormap="hot", overlay_alpha=0.5)
    axial = view.axial
    for detection, index in zip(view.detections.detections, view.indices(), strict=True):
        rings = [
            ring
            for axes in figure.axes
            for ring in axes.patches
            if isinstance(ring, Circle)
            and ring.center == pytest.approx(axial.place(index), abs=0.1)
        ]
        assert rings
        radius = detection.diameter_mm / 2
        assert max(r.radius for r in rings) == pytest.approx(radius, rel=0.05)
    words = " ".join(texts(figure))
    assert all(f"{d.id}: {d.confidence:.2f}" in words for d in view.detections.detections)
    assert [t for t in texts(figure) if t in "RLAP"][:4] == ["R", "L", "A", "P"]
    assert "50 mm" in words


def test_the_heatmap_is_laid_over_at_the_chosen_opacity(view):
    def shown(alpha):
        with styled():
            figure = detections_figure(view, num_slices=1, colormap="hot", overlay_alpha=alpha)
        return figure.axes[0].images[1].get_array()

    assert shown(0.0)[..., 3].max() == 0
    assert 0.4 < shown(0.5)[..., 3].max() <= 0.5


@pytest.mark.parametrize("nodules", [True, False])
def test_pictures_are_written_the_same_every_time(tmp_path, view, nodules):
    chosen = view if nodules else scan_view(())
    written = []
    for name in ("a", "b"):
        with styled():
            slices = draw_detections(chosen, tmp_path / f"{name}.png", num_slices=2)
            bars = draw_confidences(chosen.detections, tmp_path / f"{name}c.png")
            write_detection_pdf(chosen, tmp_path / f"{name}.pdf", num_slices=2)
        written.append(
            [(tmp_path / f"{name}{end}").read_bytes() for end in (".png", "c.png", ".pdf")]
        )
        for drawing in (slices, bars):
            with Image.open(drawing.path) as image:
                assert image.text["Description"] == drawing.caption
                assert min(image.size) > 300
    assert written[0] == written[1]


def test_confidences_are_counted(view):
    with styled():
        figure = confidences_figure(view.detections, min_confidence=0.3)
    bars = figure.axes[0].patches
    assert sum(bar.get_height() for bar in bars) == len(view.detections.detections) == 2
    top = [bar for bar in bars if bar.get_height()]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in top]
    for detection in view.detections.detections:
        assert any(low <= detection.confidence <= high for low, high in edges)


def test_the_table_has_a_line_for_each_detection_over_as_many_pages_as_it_takes(view):
    triage = Triage(malignancy_score=0.75, risk_category="intermediate")
    first = view.detections.detections[0]
    many = tuple(first.model_copy(update={"id": i, "triage": triage}) for i in range(50))
    with styled():
        pages = table_pages(view.detections.model_copy(update={"detections": many}))
    assert len(pages) == 3
    words = [w for page in pages for w in texts(page)]
    assert words.count("intermediate (0.75)") == 50
    numbers = [w for w in words if w.isdigit()]
    assert [n for n in map(str, range(50)) if n not in numbers] == []
