"""Every metric has a readable name, a range and an explanation, in one place."""

import os
from pathlib import Path

import pytest

from parafovea.kinds.kind import kinds
from parafovea.quality.descriptions.registry import (
    DESCRIPTIONS,
    describe,
    is_described,
    registry_table,
)
from parafovea.quality.detections.detection_metrics import DETECTION_PATHS
from parafovea.quality.metrics import metric_names
from parafovea.quality.segmentation.segmentation_metrics import segmentation_paths
from parafovea.quality.tiles.measures import tile_measures

#: A name with a dot, which separates the parts of a metric, is a name nevertheless.
CLASSES = ("background", "mito.chondrion", "{}")
BANDS = ("B02", "B03", "B04", "B08")

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
BEGIN, END = "<!-- metrics: written by `make tables` -->", "<!-- end of metrics -->"


def written():
    """Return the names of all metrics that a stage writes for these classes and bands."""
    paths = [*segmentation_paths(CLASSES, CLASSES[1:]), *DETECTION_PATHS]
    for kind in kinds().values():
        if kind.tile_measures is not None:
            classes = BANDS if kind.banded else CLASSES
            measures = tile_measures(kind.tile_measures, classes=classes, bands=BANDS)
            paths += [*measures.tile_paths, *measures.folder_paths]
    return dict.fromkeys((*metric_names(paths), "cpm"))


def test_every_metric_of_every_stage_has_an_entry():
    assert [name for name in written() if not is_described(name)] == []


def test_every_entry_is_the_metric_of_some_stage():
    names = set(written())
    used = {name.replace("{}", part) for name in DESCRIPTIONS for part in (*CLASSES, *BANDS)}
    plain = {name for name in DESCRIPTIONS if "{}" not in name}
    assert plain - names == set()
    assert names <= used | plain


@pytest.mark.parametrize("name", list(DESCRIPTIONS))
def test_an_entry_is_a_name_a_sentence_and_a_range(name):
    entry = DESCRIPTIONS[name]
    assert entry.label[0].isupper()
    assert "_" not in entry.label
    assert entry.meaning.endswith(".")
    assert entry.low is None or entry.high is None or entry.low < entry.high
    assert not entry.is_count or (entry.low == 0 and entry.unit)


def test_no_two_metrics_have_the_same_name():
    labels = [entry.label for entry in DESCRIPTIONS.values()]
    assert sorted({label for label in labels if labels.count(label) > 1}) == []


def test_classes_and_bands_stand_in_the_words():
    assert describe("iou.mito.chondrion").label == "IoU of mito.chondrion"
    assert describe("panoptic.{}.pq").label == "Panoptic quality, {}"
    assert describe("accuracy.bias.B08").label == "Bias of B08, result to truth"
    assert describe("centre_distance_mm").heading == "Distance between centres (mm)"


def test_a_metric_of_another_kind_is_shown_by_its_own_name():
    assert describe("voxels.bright").label == "voxels.bright"
    assert describe("voxels.bright").low is None


def test_the_page_lists_them_all():
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n\n{registry_table()}\n{END}{after}"
    if os.environ.get("PARAFOVEA_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, "run make tables"
