import numpy as np
import pytest
from matplotlib.colors import to_rgb

from parafovea.report.palette import edges, error_codes, overlay
from parafovea.storage.class_colours import OKABE_ITO, class_colours


def test_class_colours_differ_for_many_classes_and_begin_with_okabe_ito():
    colours = class_colours(20)
    assert colours[1:8] == OKABE_ITO
    assert len(set(colours)) == 20
    assert len(class_colours(1)) == 1


def test_overlay_leaves_the_background_grey_and_blends_areas_by_alpha():
    grey = np.full((5, 5), 0.5, np.float32)
    labels = np.ones((5, 5), int)
    labels[:, :2] = 0
    picture = overlay(grey, labels, ("#000000", "#FF0000"), 0.4)
    assert np.allclose(picture[:, :2], 0.5)
    assert np.allclose(picture[:, 3:], [0.7, 0.3, 0.3])
    assert picture[0, 2, 0] > 0.7
    assert np.allclose(overlay(grey, labels, ("#000000", "#FF0000"), 0), 0.5)


def test_class_without_a_name_is_still_painted():
    picture = overlay(np.zeros((1, 1), np.float32), np.array([[9]]), class_colours(3), 1)
    assert picture[0, 0] == pytest.approx(to_rgb(OKABE_ITO[1]))


def test_edges_are_both_sides_of_a_border():
    labels = np.array([[0, 0, 1, 1]] * 3)
    assert np.array_equal(edges(labels), np.array([[False, True, True, False]] * 3))
    assert not edges(np.ones((4, 4))).any()


def test_error_codes_tell_missed_extra_and_confused_apart():
    classes, truth = np.array([[0, 1, 0, 2, 1]]), np.array([[0, 1, 2, 0, 2]])
    assert error_codes(classes, truth).tolist() == [[0, 0, 1, 2, 3]]
