"""The server of results: what viewers need, and nothing else of the machine."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from zarr.storage import FsspecStore

from parafovea.errors import ConfigError
from parafovea.geometry.grid import Grid
from parafovea.service.results_server import ResultsServer
from parafovea.storage.linked_images import link_image
from parafovea.storage.store import create

VIEWER = "https://neuroglancer-demo.appspot.com"
GRID = Grid((33, 90, 150), (2.0, 1.0, 1.0), (3.0, 0.0, 0.0))
RNG = np.random.default_rng(0)
VOXELS = RNG.random(GRID.shape).astype(np.float16)
CHANNELS = RNG.random((3, *GRID.shape)).astype(np.float16)
OBJECTS = RNG.integers(0, 70_000, GRID.shape).astype(np.uint32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a sample, and secrets around and beside them."""
    root = tmp_path_factory.mktemp("disk")
    folder = root / "results" / "cell 1"
    with create(folder / "volume.ome.zarr", GRID, dtype="f2", levels="mean") as array:
        array[...] = VOXELS
    with create(
        folder / "prediction.ome.zarr", GRID, dtype="f2", channels="abc", levels="mean"
    ) as array:
        array[...] = CHANNELS
    for name in ("classes", "objects"):
        with create(
            folder / f"{name}.ome.zarr", GRID, dtype="u4", labels=True, levels="mode"
        ) as array:
            array[...] = OBJECTS
    labels = {name: folder / f"{name}.ome.zarr" for name in ("classes", "objects")}
    link_image(folder / "image.ome.zarr", folder / "volume.ome.zarr", labels)
    (folder / "quality.tsv").write_text("metric\tvalue\n")
    (folder / "report.html").write_text("<p>café</p>", encoding="utf-8")
    (folder / "empty").write_bytes(b"")
    (folder / ".made.json").write_text("hidden")
    (root / "secret").write_text("secret")
    (root / "results" / "cell 12").mkdir()
    (root / "results" / "cell 12" / "secret").write_text("secret")
    (folder / "out").symlink_to(root / "secret")
    (folder / "above").symlink_to("../..")
    (folder / "beside").symlink_to("../cell 12")
    (folder / "to hidden").symlink_to(".made.json")
    (folder / "circle").symlink_to("circle")
    (folder / "nowhere").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ResultsServer]:
    with ResultsServer(folder, origins=[VIEWER]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Asked:
    """An answer."""

    def __init__(self, server: ResultsServer, path: str, method: str = "GET", **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        self.status, self.headers, self.content = answer.status, answer.headers, answer.read()
        connection.close()


FILE = "/results/cell%201/quality.tsv"
TEXT = b"metric\tvalue\n"


def test_a_file_comes_whole_with_what_it_is(server) -> None:
    asked = Asked(server, FILE)
    assert (asked.status, asked.content) == (200, TEXT)
    assert asked.headers["Content-Type"] == "text/tab-separated-values; charset=utf-8"
    assert asked.headers["Content-Length"] == str(len(TEXT))
    assert asked.headers["Accept-Ranges"] == "bytes"
    assert asked.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("volume.ome.zarr/zarr.json", "application/json"),
        ("volume.ome.zarr/0/c/0/0/0", "application/octet-stream"),
        ("report.html", "text/html; charset=utf-8"),
        ("volume.ome.zarr", "text/html; charset=utf-8"),
    ],
)
def test_content_has_its_type(server, name, expected) -> None:
    asked = Asked(server, f"/results/cell%201/{name}")
    assert (asked.status, asked.headers["Content-Type"]) == (200, expected)


def test_head_says_the_same_without_content(server) -> None:
    for path in (FILE, "/results/cell%201/", "/float32/cell%201/volume.ome.zarr/0/c/0/0/0"):
        whole, head = Asked(server, path), Asked(server, path, "HEAD")
        assert head.content == b""
        assert head.status == whole.status == 200
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert int(head.headers["Content-Length"]) == len(whole.content)
    assert Asked(server, "/nothing", "HEAD").content == b""


@pytest.mark.parametrize(
    ("span", "expected", "stated"),
    [
        ("bytes=0-5", TEXT[:6], "bytes 0-5/13"),
        ("bytes=7-", TEXT[7:], "bytes 7-12/13"),
        ("bytes=-3", TEXT[-3:], "bytes 10-12/13"),
        ("bytes=-300", TEXT, "bytes 0-12/13"),
        ("bytes=12-999", TEXT[12:], "bytes 12-12/13"),
        ("bytes=3-3", TEXT[3:4], "bytes 3-3/13"),
    ],
)
def test_a_part_of_a_file(server, span, expected, stated) -> None:
    asked = Asked(server, FILE, Range=span)
    assert (asked.status, asked.content) == (206, expected)
    assert asked.headers["Content-Range"] == stated
    assert asked.headers["Content-Length"] == str(len(expected))


@pytest.mark.parametrize("span", ["bytes=13-", "bytes=99-200", "bytes=-0"])
def test_a_part_beyond_the_end_is_refused_with_the_size(server, span) -> None:
    asked = Asked(server, FILE, Range=span)
    assert (asked.status, asked.headers["Content-Range"]) == (416, "bytes */13")


@pytest.mark.parametrize(
    "span", ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=", "bytes=-", "x", "bytes=a-b"]
)
def test_what_is_no_single_part_is_answered_whole(server, span) -> None:
    assert Asked(server, FILE, Range=span).content == TEXT


def test_an_empty_file_is_empty(server) -> None:
    assert Asked(server, "/results/cell%201/empty").content == b""
    assert Asked(server, "/results/cell%201/empty", Range="bytes=0-").status == 416


def test_what_did_not_change_is_not_sent_again(server) -> None:
    tag = Asked(server, FILE).headers["ETag"]
    asked = Asked(server, FILE, If_None_Match=tag)
    assert (asked.status, asked.content) == (304, b"")
    assert Asked(server, FILE, If_None_Match='"other"').status == 200


def test_pages_of_the_viewer_may_read_and_others_may_not(server) -> None:
    for path in (FILE, "/nothing"):
        allowed = Asked(server, path, Origin=VIEWER).headers
        assert allowed["Access-Control-Allow-Origin"] == VIEWER
        assert "Content-Range" in allowed["Access-Control-Expose-Headers"]
        for origin in ("https://evil.example", "null", f"{VIEWER}.evil.example"):
            refused = Asked(server, path, Origin=origin).headers
            assert "Access-Control-Allow-Origin" not in refused
            assert refused["Vary"] == "Origin"


def test_a_browser_is_told_what_a_page_may_ask(server) -> None:
    asked = Asked(
        server,
        FILE,
        "OPTIONS",
        Origin=VIEWER,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="range",
        Access_Control_Request_Private_Network="true",
    )
    assert (asked.status, asked.content) == (204, b"")
    assert asked.headers["Access-Control-Allow-Origin"] == VIEWER
    assert "Range" in asked.headers["Access-Control-Allow-Headers"]
    assert asked.headers["Access-Control-Allow-Private-Network"] == "true"
    other = Asked(server, FILE, "OPTIONS", Origin="https://evil.example").headers
    assert not [name for name in other if name.startswith("Access-Control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_nothing_can_be_written(server, folder, method) -> None:
    asked = Asked(server, FILE, method)
    assert (asked.status, asked.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (folder / "quality.tsv").read_bytes() == TEXT


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"]
)
def test_a_foreign_name_of_this_machine_is_refused(server, host, method) -> None:
    assert Asked(server, FILE, method, Host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost", "LocalHost:99", "[::1]:5"])
def test_a_tunnel_may_have_another_port(server, host) -> None:
    assert Asked(server, FILE, Host=host).status == 200


def test_two_hosts_or_none_are_refused(server) -> None:
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
            client.sendall(b"GET /results/ HTTP/1.1\r\n" + hosts + b"\r\n")
            assert b" 421 " in client.recv(1000)


OUTSIDE = [
    "/results/cell%201/../../secret",
    "/results/cell%201/%2e%2e/%2e%2e/secret",
    "/results/cell%201/..%2f..%2fsecret",
    "/results/cell%201/..%5c..%5csecret",
    "/results/../secret",
    "/../../../../../../etc/passwd",
    "//etc/passwd",
    "/results//etc/passwd",
    "/results/cell%2012/secret",
    "/results/cell%201/out",
    "/results/cell%201/above/secret",
    "/results/cell%201/beside/secret",
    "/results/cell%201/.made.json",
    "/results/cell%201/to%20hidden",
    "/results/cell%201/circle",
    "/results/cell%201/nowhere",
    "/results/cell%201/pipe",
    "/results/cell%201/quality.tsv%00.json",
    "/results/cell%201/%ff",
    "/results/cell%201/" + "a" * 3000,
    "/results/cell%201/" + "a/" * 3000,
    "http://evil.example/results/cell%201/quality.tsv/../../../secret",
    "/cell%201/quality.tsv",
    "/float32/cell%201/../../secret",
    "/float32/cell%201/above/zarr.json",
    "/float32/cell%201/out/c/0",
    "/float32/c/0/0",
    "/float32/cell%201/volume.ome.zarr/0/c/0/0",
    "/float32/cell%201/volume.ome.zarr/0/c/0/0/0/0",
    "/float32/cell%201/volume.ome.zarr/0/c/99/0/0",
    "/float32/cell%201/volume.ome.zarr/0/c/" + "9" * 300 + "/0/0",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_folder_and_nothing_hidden_is_shown(server, path) -> None:
    asked = Asked(server, path)
    assert asked.status in (400, 403, 404, 421)
    assert b"secret" not in asked.content
    assert b"root:" not in asked.content


def test_a_folder_lists_what_can_be_asked_for(server) -> None:
    text = Asked(server, "/results/cell%201").content.decode()
    assert 'href="/results/cell%201/volume.ome.zarr/"' in text
    assert 'href="/results/cell%201/quality.tsv"' in text
    assert ".made.json" not in text
    assert 'href="/results/cell%201/"' in Asked(server, "/results/").content.decode()
    assert Asked(server, "/").status == 200


def address(server: ResultsServer, *parts: str, wide: bool = False) -> str:
    return server.address(*parts, wide=wide)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("volume.ome.zarr/0", VOXELS),
        ("image.ome.zarr/0", VOXELS),
        ("image.ome.zarr/labels/objects/0", OBJECTS),
        ("prediction.ome.zarr/0", CHANNELS),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_tensorstore_reads_the_same_voxels(server, name, expected, wide) -> None:
    spec = {"driver": "zarr3", "kvstore": address(server, *name.split("/"), wide=wide) + "/"}
    found = tensorstore.open(spec, read=True).result()
    half = expected.dtype == np.float16
    assert found.dtype.numpy_dtype == (np.float32 if wide and half else expected.dtype)
    np.testing.assert_array_equal(found.read().result(), expected)
    # some voxels, by parts of a file
    part = (..., slice(3, 5), slice(80, 90), slice(149, 150))
    np.testing.assert_array_equal(found[part].read().result(), expected[part])


@pytest.mark.parametrize("wide", [False, True])
def test_zarr_reads_the_image_its_levels_and_labels_over_http(server, folder, wide) -> None:
    store = FsspecStore.from_url(address(server, "image.ome.zarr", wide=wide), read_only=True)
    here = zarr.open_group(folder / "image.ome.zarr", mode="r")
    # that of zarr itself: zarrs lets no other thread of the process work while it waits
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        group = zarr.open_group(store, mode="r")
        assert dict(group.attrs) == dict(here.attrs)
        datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
        assert len(datasets) == 3
        for path in (*(each["path"] for each in datasets), "labels/classes/1"):
            np.testing.assert_array_equal(group[path][...], here[path][...])


def test_wide_metadata_are_those_of_a_plain_array_of_float32(server) -> None:
    path = "/float32/cell%201/prediction.ome.zarr/1/zarr.json"
    facts = json.loads(Asked(server, path).content)
    assert facts["data_type"] == "float32"
    assert [codec["name"] for codec in facts["codecs"]] == ["bytes"]
    assert facts["dimension_names"] == ["c", "z", "y", "x"]


def test_an_array_that_is_replaced_meanwhile_is_read_anew(server, folder) -> None:
    spec = {"driver": "zarr3", "kvstore": address(server, "new.ome.zarr", "0", wide=True) + "/"}
    for value in (1, 2):
        with create(folder / "new.ome.zarr", Grid((2, 3, 4 + value), (1, 1, 1)), dtype="f2") as new:
            new[...] = value
        found = tensorstore.open(spec, read=True).result().read().result()
        assert found.shape == (2, 3, 4 + value)
        assert (found == value).all()


def test_a_damaged_chunk_is_no_zeros(server, folder) -> None:
    with create(folder / "bad.ome.zarr", Grid((2, 3, 4), (1, 1, 1)), dtype="f2") as array:
        array[...] = 1
    file = folder / "bad.ome.zarr/0/c/0/0/0"
    content = bytearray(file.read_bytes())
    content[5] ^= 255
    file.write_bytes(content)
    assert Asked(server, "/float32/cell%201/bad.ome.zarr/0/c/0/0/0").status == 500


def test_many_viewers_at_once_get_their_own_parts(server) -> None:
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        found[number] = Asked(server, FILE, Range=f"bytes={number % 13}-{number % 13}").content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == TEXT[number % 13 : number % 13 + 1] for number in range(40))


def test_a_viewer_that_leaves_stops_nobody_else_and_is_no_news(server, caplog) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(b"GET /results/cell%201/volume.ome.zarr/0/c/0/0/0 HTTP/1.1\r\n")
            # closes with a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert Asked(server, FILE).status == 200
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_one_connection_serves_several_requests(server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    for path, status in ((FILE, 200), ("/nothing", 404), (FILE, 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_it_listens_on_this_machine_alone(server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named_with_the_way_out(server, folder) -> None:
    with pytest.raises(ConfigError, match=rf"port {server.server_port} .* is in use: .*--port 0"):
        ResultsServer(folder, port=server.server_port)
