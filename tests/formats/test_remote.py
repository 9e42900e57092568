"""Arrays at addresses: equal to their local twins, and never a hole read as zeros."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from format_samples import WRITERS
from remote_server import FolderServer, serving

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.location import read_headers, source_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.remote import objects
from parafovea.formats.remote.address import RemoteFolder, is_address
from parafovea.formats.remote.documents import DOCUMENTS
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box

SAID = "spacing=4,1,1 unit=millimeter"
VOXELS = np.random.default_rng(0).integers(1, 255, (16, 32, 32), np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Retry twice, and begin with a process that has read nothing."""
    monkeypatch.setenv(objects.RETRIES, "2")
    monkeypatch.setenv(objects.TIMEOUT, "20")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(objects, "_FIRST", 0.01)
    monkeypatch.chdir(tmp_path)
    objects.store_of.cache_clear()
    DOCUMENTS.forget()


@pytest.fixture
def server(tmp_path) -> Iterator[FolderServer]:
    """Serve a folder with `a.zarr`, of chunks (8, 16, 16), and `shards.zarr`."""
    folder = tmp_path / "served"
    folder.mkdir()
    _write(folder / "a.zarr")
    array = zarr.create_array(
        folder / "shards.zarr", shape=VOXELS.shape, chunks=(4, 8, 8), shards=(8, 16, 16), dtype="u1"
    )
    array[:] = VOXELS
    with serving(folder) as server:
        yield server


def _write(path: Path, voxels=VOXELS, **words) -> None:
    array = zarr.create_array(path, shape=voxels.shape, chunks=(8, 16, 16), dtype="u1", **words)
    array[:] = voxels


def _read(address, said=SAID, **words):
    source = open_source(address, metadata=said, **words)
    values = source.read(source.grid.box)
    if source.check is not None:
        source.check()
    return values


def _chunks(path, before, fault):
    """Return a fault of all chunks."""
    return fault if "/c/" in path else None


@pytest.mark.parametrize("name", ["ome_zarr", "zarr", "n5", "precomputed"])
def test_each_format_at_an_address_equals_its_local_twin(tmp_path, name):
    sample = WRITERS[name](tmp_path)
    local = open_source(sample.path, metadata=sample.metadata)
    with serving(tmp_path) as server:
        address = f"{server.url}/{Path(sample.path).name}"
        far = open_source(address, metadata=sample.metadata)
        assert far.grid == local.grid
        said = parse_metadata(sample.metadata, folder=tmp_path)
        assert source_grid(address, metadata=said) == local.grid
        np.testing.assert_array_equal(far.read(far.grid.box), local.read(local.grid.box))
        assert far.series == local.series


@pytest.mark.parametrize("name", ["a.zarr", "shards.zarr"])
def test_format_version_3_with_and_without_shards(server, name):
    np.testing.assert_array_equal(_read(f"{server.url}/{name}"), VOXELS)


def test_format_version_2(server):
    _write(server.folder / "two.zarr", zarr_format=2, attributes={"resolution": [4, 1, 1]})
    np.testing.assert_array_equal(_read(f"{server.url}/two.zarr"), VOXELS)


def test_characters_of_an_address_may_be_encoded(server):
    shutil.copytree(server.folder / "a.zarr", server.folder / "an image+%.zarr")
    np.testing.assert_array_equal(_read(f"{server.url}/an%20image+%25.zarr"), VOXELS)


@pytest.mark.parametrize("fault", [500, 503, 429, "cut"])
def test_a_fault_that_ends_is_tried_again(server, fault):
    server.fault = lambda path, before: fault if before < 2 else None
    np.testing.assert_array_equal(_read(f"{server.url}/a.zarr"), VOXELS)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (500, r"/c/\d/\d/\d failed with status 500 after all retries"),
        (503, "failed with status 503"),
        (429, "failed with status 429 after all retries.*limits requests"),
        (403, r"/c/\d/\d/\d is refused \(status 403\)"),
        (401, r"is refused \(status 401\).*netrc"),
        (410, "failed with status 410"),
        ("cut", "ended before it was complete, after all retries"),
        ("loop", "leads from one redirect to the next"),
    ],
)
@pytest.mark.parametrize("name", ["a.zarr", "shards.zarr"])
def test_a_chunk_that_cannot_be_read_is_an_error_and_no_hole(server, name, fault, words):
    server.fault = lambda path, before: _chunks(path, before, fault)
    with pytest.raises(SourceError, match=words):
        _read(f"{server.url}/{name}")


def test_a_server_without_ranges_is_an_error_for_shards(server):
    server.fault = lambda path, before: _chunks(path, before, "whole")
    np.testing.assert_array_equal(_read(f"{server.url}/a.zarr"), VOXELS)
    source = open_source(f"{server.url}/shards.zarr", metadata=SAID)
    with pytest.raises(SourceError, match="knows no ranges"):
        source.read(Box((0, 0, 0), (4, 8, 8)))


def test_of_a_region_only_its_chunks_are_read(server):
    values = _read(f"{server.url}/a.zarr", f"{SAID} region=9:12,:8,20:")
    np.testing.assert_array_equal(values, VOXELS[9:12, :8, 20:])
    assert {path for path in server.paths() if "/c/" in path} == {"/a.zarr/c/1/0/1"}


def test_a_redirect_is_followed(server):
    server.fault = lambda path, before: None if path.startswith("/moved") else "away"
    np.testing.assert_array_equal(_read(f"{server.url}/a.zarr"), VOXELS)


@pytest.mark.parametrize("fault", [500, 403, "cut", "loop"])
def test_a_header_that_cannot_be_read_is_an_error_and_not_missing(server, fault):
    server.fault = lambda path, before: fault
    with pytest.raises(SourceError) as caught:
        open_source(f"{server.url}/a.zarr", metadata=SAID)
    assert not isinstance(caught.value, MissingSourceError)


def test_no_server_is_an_error(server):
    server.stop()
    with pytest.raises(SourceError, match=r"cannot be reached.*check the address and the network"):
        open_source(f"{server.url}/a.zarr", metadata=SAID)


def test_a_missing_chunk_is_the_fill_value_and_is_said(server, caplog):
    (server.folder / "a.zarr/c/1/0/1").unlink()
    values = _read(f"{server.url}/a.zarr")
    expected = VOXELS.copy()
    expected[8:, :16, 16:] = 0
    np.testing.assert_array_equal(values, expected)
    assert "holds 7 of the 8 chunks that were read; the others read as 0" in caplog.text


def test_an_array_of_which_no_chunk_is_there_is_an_error(server):
    shutil.rmtree(server.folder / "a.zarr/c")
    with pytest.raises(SourceError, match="holds none of the 8 chunks that were read"):
        _read(f"{server.url}/a.zarr")


def test_a_truth_misses_no_chunk_unless_it_is_stated_as_complete(server):
    (server.folder / "a.zarr/c/1/0/1").unlink()
    with pytest.raises(SourceError, match=r"c/1/0/1 does not exist.*truth_complete=yes"):
        _read(f"{server.url}/a.zarr", labels=True)
    values = _read(f"{server.url}/a.zarr", f"{SAID} truth_complete=yes", labels=True)
    assert not values[8:, :16, 16:].any()


def test_a_damaged_chunk_is_named_by_its_address(server):
    file = server.folder / "a.zarr/c/1/0/1"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SourceError, match=rf"{server.url}/a.zarr/c/1/0/1 is damaged"):
        _read(f"{server.url}/a.zarr")


def test_a_chunk_that_changes_between_two_reads_is_an_error(server):
    source = open_source(f"{server.url}/a.zarr", metadata=SAID)
    source.read(source.grid.box)
    _write(server.folder / "b.zarr", VOXELS // 2)
    shutil.copy(server.folder / "b.zarr/c/0/0/0", server.folder / "a.zarr/c/0/0/0")
    with pytest.raises(SourceError, match="c/0/0/0 changed while it was read"):
        source.read(source.grid.box)


def test_a_source_whose_header_changes_while_it_is_read_is_an_error(server):
    address = f"{server.url}/a.zarr"
    with unchanged(address) as check:
        check()
        file = server.folder / "a.zarr/zarr.json"
        file.write_text(file.read_text() + " ")
        with pytest.raises(SourceError, match="changed or disappeared while it was read"):
            check()


def test_servers_that_refuse_files_that_are_not_there_are_read(server):
    """As S3 does without the permission to list."""
    _write(server.folder / "two.zarr", zarr_format=2, attributes={"resolution": [4, 1, 1]})

    def refused(path, before):
        return None if (server.folder / path.lstrip("/")).is_file() else 403

    server.fault = refused
    np.testing.assert_array_equal(_read(f"{server.url}/two.zarr"), VOXELS)
    np.testing.assert_array_equal(_read(f"{server.url}/a.zarr"), VOXELS)
    # but it may be a chunk that is there
    (server.folder / "two.zarr/1.0.1").unlink()
    DOCUMENTS.forget()
    with pytest.raises(SourceError, match=r"1\.0\.1 is refused"):
        _read(f"{server.url}/two.zarr")


def test_headers_are_few_requests_once_and_then_ask_for_changes(server, tmp_path):
    sample = WRITERS["ome_zarr"](server.folder)
    address = f"{server.url}/{Path(sample.path).name}"
    (tmp_path / ".snakemake").mkdir()
    files = source_files(address)
    assert len(server.asked) <= 4
    assert all(Path(file).is_file() for file in files)
    before = [Path(file).read_bytes() for file in files]
    server.asked.clear()
    source_grid(address)
    source_files(address)
    assert not server.asked
    # as in another process
    DOCUMENTS.forget()
    source_files(address)
    source_grid(address)
    assert {status for _, _, status in server.asked} == {304}
    assert len(server.asked) <= 4
    assert [Path(file).read_bytes() for file in files] == before
    # as when a job is planned
    server.asked.clear()
    DOCUMENTS.forget()
    trusting = type(DOCUMENTS)(Path(files[0]).parent)
    trusting.trust()
    assert trusting.read(RemoteFolder.of(f"{address}/zarr.json"))
    assert not server.asked


def test_what_cannot_be_read_is_asked_for_once_and_not_by_the_planning_of_jobs(server, tmp_path):
    (tmp_path / ".snakemake/parafovea/remote").mkdir(parents=True)
    server.fault = lambda path, before: 500
    place = RemoteFolder.of(f"{server.url}/a.zarr/zarr.json")
    for _ in range(2):
        with pytest.raises(SourceError, match="status 500"):
            DOCUMENTS.read(place)
    assert len(server.asked) == 3
    planned = type(DOCUMENTS)(DOCUMENTS.file(place).parent)
    planned.trust()
    with pytest.raises(SourceError, match="status 500"):
        planned.read(place)
    assert len(server.asked) == 3
    # until the next run can read it
    server.fault = lambda path, before: None
    DOCUMENTS.forget()
    assert DOCUMENTS.read(place)
    planned.forget()
    assert planned.read(place)


def test_headers_of_several_sources_are_asked_for_side_by_side(server, tmp_path):
    for name in "bcde":
        shutil.copytree(server.folder / "a.zarr", server.folder / f"{name}.zarr")
    addresses = [f"{server.url}/{name}.zarr" for name in "abcde"] + [f"{server.url}/none.zarr"]
    server.fault = lambda path, before: "slow" if "zarr.json" in path else None
    read_headers([*addresses, "a.tif"])
    assert server.most_at_once > 2
    server.asked.clear()
    for address in addresses[:-1]:
        assert source_files(address)
    with pytest.raises(MissingSourceError):
        source_files(addresses[-1])
    assert not server.asked


def test_what_a_source_was_made_from_changes_with_its_header(server, tmp_path):
    address = f"{server.url}/a.zarr"
    before = [Path(file).read_bytes() for file in source_files(address)]
    file = server.folder / "a.zarr/zarr.json"
    file.write_text(file.read_text() + " ")
    DOCUMENTS.forget()
    assert [Path(file).read_bytes() for file in source_files(address)] != before


def test_a_password_is_that_of_its_host(server, tmp_path):
    host = server.url.removeprefix("http://").partition(":")[0]
    (tmp_path / "netrc").write_text(f"machine {host} login me password word\n")
    _read(f"{server.url}/a.zarr")
    assert set(server.authorized) == {"Basic bWU6d29yZA=="}
    objects.store_of.cache_clear()
    (tmp_path / "netrc").write_text("machine example.org login me password word\n")
    server.authorized.clear()
    DOCUMENTS.forget()
    _read(f"{server.url}/a.zarr")
    assert set(server.authorized) == {""}


def test_chunks_that_the_server_compresses_are_unpacked(tmp_path):
    sample = WRITERS["precomputed"](tmp_path)
    local = open_source(sample.path)
    values = local.read(local.grid.box)
    for file in (tmp_path / "image/4_1_1").iterdir():
        file.write_bytes(gzip.compress(file.read_bytes()))
    with serving(tmp_path) as server:
        server.encoding = lambda path: "gzip" if "4_1_1" in path else ""
        np.testing.assert_array_equal(_read(f"{server.url}/image", ""), values)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:99999/a.zarr", "is not an address"),
        ("http://127.0.0.1/../a.zarr", r"holds \. or \.\."),
    ],
)
def test_what_is_no_address_is_an_error(address, words):
    with pytest.raises(SourceError, match=words):
        open_source(address, metadata=SAID)


def test_the_addresses_of_neuroglancer_are_understood(server):
    assert is_address("precomputed://gs://bucket/volume")
    assert not is_address("C://a.zarr")
    assert str(RemoteFolder.of("precomputed://gs://bucket/a/b/")) == "gs://bucket/a/b"
    np.testing.assert_array_equal(_read(f"zarr://{server.url}/a.zarr"), VOXELS)


def test_google_cloud_storage(server, monkeypatch, tmp_path):
    """Anonymous, by the interface of its emulators; files may be stored compressed."""
    monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
    for name in objects.GS_CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    server.folder.rename(server.folder.with_name("bucket"))
    server.folder = tmp_path
    np.testing.assert_array_equal(_read("gs://bucket/a.zarr"), VOXELS)
    assert set(server.authorized) == {""}
    sample = WRITERS["precomputed"](tmp_path / "bucket")
    values = open_source(sample.path).array[:, :, :]
    for file in Path(sample.path, "4_1_1").iterdir():
        file.write_bytes(gzip.compress(file.read_bytes()))
    server.encoding = lambda path: "gzip" if "4_1_1" in path else ""
    np.testing.assert_array_equal(_read("precomputed://gs://bucket/image", ""), values)
    (tmp_path / "bucket/a.zarr/c/0/0/0").unlink()
    assert not _read("gs://bucket/a.zarr")[:8, :16, :16].any()
    server.fault = lambda path, before: 403 if "c%2F0%2F0%2F0" in path else None
    with pytest.raises(SourceError, match=r"gs://bucket/a\.zarr/c/0/0/0 is refused"):
        _read("gs://bucket/a.zarr")
    # whether it may be listed or not
    for status in (403, 404):
        server.fault = lambda path, before, status=status: status if "?list" in path else None
        DOCUMENTS.forget()
        assert len(source_files("gs://bucket/a.zarr")) == 1
