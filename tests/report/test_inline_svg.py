"""Figures on a page have the page's ink, light or dark, and stay what they are otherwise."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from parafovea.report.canvas import PAGE_WIDTH, Drawing, new_figure, save, styled
from parafovea.report.inline_svg import inline_svg
from parafovea.report.palette import INK, MUTED, PAPER_WHITE, PASSED, RULE


def draw(path, title="One", name="<b>&"):
    with styled():
        figure = new_figure(PAGE_WIDTH / 2, 2.0)
        axes = figure.subplots()
        axes.imshow(np.arange(6).reshape(2, 3))
        axes.plot([0, 2], [0, 1], color=PASSED, marker="o", markeredgecolor=PAPER_WHITE)
        axes.text(0, 0, "bar", color="white")
        axes.set_title(name, color=MUTED)
        axes.set_xlabel("place")
        return save(figure, Drawing(path, title, f"Caption of {name}."))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("svg") / "a.png")


def colours(element):
    return set(re.findall(r"(?:fill|stroke): (\S+?);", "; ".join([*styles(element), ""])))


def styles(element):
    return [each.get("style", "") for each in parsed(element).iter()]


def parsed(element):
    return ElementTree.fromstring(element)  # noqa: S314


def test_text_and_axes_are_in_the_colours_of_the_page(drawing):
    used = colours(drawing.svg)
    assert {"var(--ink)", "var(--muted)", "var(--rule)", "var(--card)"} <= used
    assert not {c.lower() for c in (INK, MUTED, RULE, PAPER_WHITE)} & used


def test_data_and_what_lies_on_images_keep_their_colours(drawing):
    used = colours(drawing.svg)
    assert to_hex(PASSED) in used
    assert "#ffffff" in used


def test_there_is_no_background_and_nothing_that_acts_on_the_rest_of_the_page(drawing):
    root = parsed(drawing.svg)
    assert root.tag == "svg"
    tags = {each.tag for each in root.iter()}
    assert tags <= {"svg", "g", "path", "defs", "use", "clipPath", "rect", "image"}
    assert "fill: none" in root.find(".//path").get("style", "fill: none")
    assert not re.search(r"<!--|matplotlib|\d{4}-\d\d-\d\d", drawing.svg)


def test_names_stand_in_the_label_escaped_and_nowhere_else(drawing):
    root = parsed(drawing.svg)
    assert root.get("aria-label") == "One: Caption of <b>&."
    assert "<b>" not in drawing.svg
    assert drawing.svg.count("&lt;b&gt;&amp;") == 1


def test_ids_of_two_figures_on_a_page_differ_and_all_references_are_kept(drawing, tmp_path):
    other = draw(tmp_path / "b.png", title="Two")
    ids = [set(re.findall(r' id="(.*?)"', each.svg)) for each in (drawing, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for each, own in zip((drawing, other), ids, strict=True):
        targets = set(re.findall(r'href="#(.*?)"|url\(#(.*?)\)', each.svg))
        assert {first or second for first, second in targets} == own


def test_the_width_is_that_of_the_text_beside_other_figures(drawing):
    assert "width: 50%; min-width: 320px" in styles(drawing.svg)[0]


def test_the_same_figure_is_the_same_bytes_and_the_file_is_on_white(drawing, tmp_path):
    again = draw(tmp_path / "a.png")
    assert again.svg == drawing.svg
    assert (tmp_path / "a.png").read_bytes() == drawing.path.read_bytes()
    with Image.open(drawing.path) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_ids_are_numbered_so_that_a_figure_that_is_drawn_again_is_the_same_text():
    """Matplotlib hashes the place of an axis to its last digit, which a layout solver rounds."""
    texts = set()
    for name in ("p1ce0c5c8ff", "pa8e6877624"):
        figure = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 72 72"><path id="unused" clip-path="url(#{name})" d="M 0 0"/>'
            f'<use xlink:href="#m"/><path id="m" d="M 1 1"/><clipPath id="{name}"/></svg>'
        )
        texts.add(inline_svg(figure, label="One", prefix="f1", full_width=1.0))
    (text,) = texts
    assert 'clip-path="url(#f1-1)"' in text
    assert 'id="f1-1"' in text
    assert 'href="#f1-2"' in text
    assert 'id="f1-2"' in text
    assert "unused" not in text
