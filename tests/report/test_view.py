"""What a page shows of a sample."""

from __future__ import annotations

import pandas as pd

from parafovea.report.segmentation.sample_view import _counts


def test_classes_that_are_not_divided_have_no_number_of_objects() -> None:
    objects = pd.DataFrame({"class": ["mitochondrion", "mitochondrion"]})
    choices = {"mitochondrion": {"instances": True}, "membrane": {"instances": False}}
    classes = ("background", "mitochondrion", "membrane", "vesicle")
    rows = _counts(objects, classes, {"postprocess": {"classes": choices}})
    assert [(row.name, row.objects) for row in rows] == [
        ("mitochondrion", 2),
        ("membrane", None),
        ("vesicle", 0),
    ]
