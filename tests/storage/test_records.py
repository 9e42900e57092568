import json

import pytest

from parafovea.errors import SourceError, StoreError
from parafovea.storage.contents import Contents
from parafovea.storage.layout import record_place
from parafovea.storage.records import Order, arguments_digest, read_record, recorded


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"voxels")
    return path


def order(place, *, files=(), inputs=None, **arguments):
    return Order(
        place=str(place),
        stage="resample_volume",
        arguments=arguments_digest(arguments),
        code="c0de",
        files=tuple(map(str, files)),
        inputs=inputs or {},
    )


def made(*given, **more):
    """Record a job that does nothing, and return its record."""
    with recorded(order(*given, **more), Contents()):
        pass
    return read_record(given[0])


def test_a_folder_carries_its_record_and_that_of_a_file_lies_beside():
    assert record_place("results/a/volume.ome.zarr", folder=True) == (
        "results/a/volume.ome.zarr/.made.json"
    )
    assert record_place("results/a/quality.json", folder=False) == (
        "results/a/.made/quality.json.json"
    )
    assert record_place("report.html", folder=False) == ".made/report.html.json"


def test_the_same_is_made_of_the_same(tmp_path, source):
    one = made(tmp_path / "1", files=[source], spacing=[8, 8, 8])
    two = made(tmp_path / "2", files=[source], spacing=[8, 8, 8])
    assert one.identity == two.identity
    assert made(tmp_path / "3", files=[source], spacing=[8, 8, 9]).identity != one.identity
    source.write_bytes(b"others")
    assert made(tmp_path / "4", files=[source], spacing=[8, 8, 8]).identity != one.identity


def test_a_result_is_made_of_all_that_its_inputs_were_made_of(tmp_path, source):
    volume = made(tmp_path / "v", files=[source])
    read = {"volume.ome.zarr": str(tmp_path / "v")}
    prediction = made(tmp_path / "p", inputs=read)
    assert prediction.inputs == {"volume.ome.zarr": volume.identity}
    assert prediction.sources == {str(source): Contents().digest(source)}
    made(tmp_path / "v", files=[source], spacing=[8, 8, 8])
    assert made(tmp_path / "p", inputs=read).identity != prediction.identity


def test_a_job_that_fails_leaves_no_record_of_an_earlier_one(tmp_path):
    place = tmp_path / "record"
    made(place)
    with pytest.raises(RuntimeError), recorded(order(place), Contents()):
        assert not place.exists()
        raise RuntimeError("killed")
    assert read_record(place) is None


def test_a_source_that_is_replaced_between_two_stages_is_not_mixed_in(tmp_path, source):
    made(tmp_path / "v", files=[source])
    source.write_bytes(b"another patient")
    later = order(tmp_path / "d", files=[source], inputs={"volume.ome.zarr": str(tmp_path / "v")})
    with (
        pytest.raises(SourceError, match=r"a\.tif is not the one that volume\.ome\.zarr was made"),
        recorded(later, Contents()),
    ):
        pytest.fail("the job ran")


def test_inputs_of_two_sources_are_not_mixed(tmp_path, source):
    made(tmp_path / "v", files=[source])
    source.write_bytes(b"another patient")
    made(tmp_path / "f", files=[source])
    both = {"volume.ome.zarr": str(tmp_path / "v"), "features.zarr": str(tmp_path / "f")}
    with (
        pytest.raises(SourceError, match="it was replaced while"),
        recorded(order(tmp_path / "s", inputs=both), Contents()),
    ):
        pytest.fail("the job ran")


def test_a_source_that_changes_while_it_is_read_is_an_error(tmp_path, source):
    place = tmp_path / "record"
    with (
        pytest.raises(SourceError, match=r"a\.tif changed while resample_volume read it"),
        recorded(order(place, files=[source]), Contents()),
    ):
        source.write_bytes(b"others")
    assert not place.exists()


@pytest.mark.parametrize("content", [None, "", "[]", '{"stage": "x"}'])
def test_an_input_of_unknown_making_is_an_error(tmp_path, content):
    place = tmp_path / "record"
    if content is not None:
        place.write_text(content)
    assert read_record(place) is None
    with (
        pytest.raises(StoreError, match="not known what volume was made from"),
        recorded(order(tmp_path / "p", inputs={"volume": str(place)}), Contents()),
    ):
        pytest.fail("the job ran")


def test_a_record_in_a_linked_folder_is_left_to_its_owner(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    made(shared / ".made.json")
    (tmp_path / "features.zarr").symlink_to(shared)
    with (
        pytest.raises(RuntimeError),
        recorded(order(tmp_path / "features.zarr" / ".made.json"), Contents()),
    ):
        raise RuntimeError
    assert read_record(shared / ".made.json") is not None


def test_a_record_says_nothing_about_the_machine(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made("record", files=["a.tif"], spacing=[8, 8, 8])
    said = (tmp_path / "record").read_text()
    assert str(tmp_path) not in said
    assert said.endswith("}\n")
    assert set(json.loads(said)) == {"stage", "arguments", "code", "files", "inputs", "sources"}


@pytest.mark.parametrize("part", ["files", "inputs", "sources"])
def test_a_damaged_record_is_none(tmp_path, part):
    made(tmp_path / "r")
    values = json.loads((tmp_path / "r").read_text())
    for damage in (None, 3, "text", ["a"]):
        (tmp_path / "r").write_text(json.dumps({**values, part: damage}))
        assert read_record(tmp_path / "r") is None
