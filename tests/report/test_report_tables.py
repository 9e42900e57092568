import pytest

from parafovea.errors import StoreError
from parafovea.report.sample_results import Metric, read_metrics, read_objects, verdict
from parafovea.settings.report import ReportSettings

HEADER = "metric\tvalue\tminimum\tmaximum\tpassed\n"


def test_empty_cells_of_a_quality_table_are_undefined_not_zero(tmp_path):
    path = tmp_path / "quality.tsv"
    path.write_text(HEADER + "a\t\t\t\t\nb\tnan\t0\t\t\nc\t0\t0\t1\ttrue\nNA\t2\t\t1\tFalse\n")
    a, b, c, d = read_metrics(path)
    assert a == Metric("a", None, None, None, None)
    assert (b.value, b.status) == (None, "undefined")
    assert (c.value, c.minimum, c.maximum, c.status) == (0, 0, 1, "passed")
    assert (d.name, d.status) == ("NA", "failed")


@pytest.mark.parametrize(
    ("states", "status", "text"),
    [
        ([], "unlimited", "no limits in the config"),
        ([True, True], "passed", "2 of 2 limits of the config met"),
        ([True, None], "undefined", "1 of 2 limits of the config met, 1 not judged"),
        ([False, None], "failed", "0 of 2 limits of the config met, 1 not judged"),
    ],
)
def test_verdict_is_the_worst_of_the_limits(states, status, text):
    metrics = [Metric(str(p), None if p is None else 1.0, 0.0, None, p) for p in states]
    found = verdict([*metrics, Metric("free", 3.0, None, None, None)])
    assert (found.status, str(found)) == (status, text)


def test_object_table_keeps_class_names_that_look_like_missing_values(tmp_path):
    path = tmp_path / "objects.tsv"
    columns = "id\tclass\tvoxels\tvolume\tcentroid_z\tcentroid_y\tcentroid_x"
    path.write_text(f"{columns}\n1\tNA\t3\t4.5\t1\t2\t3\n")
    assert read_objects(path)["class"].tolist() == ["NA"]
    path.write_text(f"{columns}\n1\tNA\tmany\t4.5\t1\t2\t3\n")
    with pytest.raises(StoreError, match=r"objects\.tsv cannot be read as a table"):
        read_objects(path)


@pytest.mark.parametrize(
    "wrong", [{"slices": 0}, {"overlay_alpha": 1.5}, {"max_pixels": 3}, {"dpi": 200}]
)
def test_settings_refuse_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReportSettings(**wrong)
