"""What an archive answers over DICOMweb is counted, checked, and its redirects are not followed."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dicom_slices import PATIENT
from pacs_nodes import STUDY, pacs_settings, planes

from parafovea.errors import ConfigError, ParafoveaError
from parafovea.pacs.archive import ArchiveError
from parafovea.pacs.dicomweb_peer import DicomwebPeer
from parafovea.pacs.pulling import chosen_series, retrieve_series
from parafovea.pacs.retrieved_series import SeriesEntry
from parafovea.settings.pacs import PacsPeer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

SERIES = f"{STUDY}.1"
ENTRY = SeriesEntry(SERIES, "CT", None)


class Web(ThreadingHTTPServer):
    """A server that gives one answer, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.headers, self.content = 200, {}, b""
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dicom-web"


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in self.server.headers:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.content)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web():
    found = Web()
    thread = threading.Thread(target=found.serve_forever, args=(0.05,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@contextlib.contextmanager
def peer_at(root, *, environment=None, limits=None, **changes):
    settings = pacs_settings(**(limits or {}))
    peer = PacsPeer(dicomweb=root, **changes)
    with contextlib.closing(
        DicomwebPeer("archive", peer, settings, environment=environment or {})
    ) as found:
        found.settings = settings
        yield found


def encoded(dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def give(web, *parts, end=b"--B--\r\n", boundary="B") -> None:
    head = b"--B\r\nContent-Type: application/dicom\r\n\r\n"
    web.headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'
    }
    web.content = b"".join(head + part + b"\r\n" for part in parts) + end


def pulled(peer, folder):
    return retrieve_series(peer, STUDY, ENTRY, folder, settings=peer.settings, min_free=0)


def test_a_series_is_written_part_by_part(web, tmp_path):
    slices = planes(4)
    give(web, *map(encoded, slices), encoded(slices[0]))
    with peer_at(web.root) as peer:
        folder = pulled(peer, tmp_path / "series")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{dataset.SOPInstanceUID}.dcm": encoded(dataset) for dataset in slices
    }
    (_, path, headers, _) = web.asked[0]
    assert path == f"/dicom-web/studies/{STUDY}/series/{SERIES}"
    assert "transfer-syntax=*" in headers["Accept"]


def test_redirects_are_not_followed(web, tmp_path):
    web.status, web.headers = 302, {"Location": f"{web.root}/elsewhere"}
    with peer_at(web.root) as peer:
        for ask in (lambda: peer.series(STUDY), lambda: pulled(peer, tmp_path / "s"), peer.echo):
            with pytest.raises(ArchiveError, match="redirects, which is not followed"):
                ask()
    assert not any("elsewhere" in path for _, path, _, _ in web.asked)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_instance_bytes": 500}, "an object has more than 500 bytes"),
        ({"max_series_bytes": 2000}, "the series has more than 2000 bytes"),
        ({"max_series_instances": 3}, "the series has more than 3 objects"),
    ],
)
def test_more_than_the_limits_is_refused_as_it_comes(web, tmp_path, limits, reason):
    give(web, *map(encoded, planes(6)))
    with peer_at(web.root, limits=limits) as peer, pytest.raises(ParafoveaError, match=reason):
        pulled(peer, tmp_path / "series")
    assert not any(path.name.startswith(".") for path in (tmp_path / "series").iterdir())


def test_a_full_disk_is_said_before_it_is_filled(web, tmp_path):
    give(web, *map(encoded, planes(2)))
    with peer_at(web.root) as peer, pytest.raises(ParafoveaError, match="disk is almost full"):
        retrieve_series(
            peer, STUDY, ENTRY, tmp_path / "series", settings=peer.settings, min_free=2**60
        )


def hostile(**elements):
    (dataset,) = planes(1)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    return encoded(dataset)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (hostile(SOPInstanceUID="../../../evil"), "missing or no UID"),
        (hostile(SeriesInstanceUID="1.2.3"), "another series than asked for"),
        (b"<html>Secretname</html>", "no readable DICOM|missing or no UID"),
        (hostile(Modality="MR"), "has no slices of CT"),
    ],
)
def test_objects_that_were_not_asked_for_are_refused(web, tmp_path, part, reason):
    give(web, part)
    with peer_at(web.root) as peer, pytest.raises(ParafoveaError, match=reason) as error:
        pulled(peer, tmp_path / "a/series")
    assert not any(secret in str(error.value) for secret in (*PATIENT.values(), "evil"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "change",
    [
        {"end": b""},
        {"end": b"--B\r\nContent-Type: application/dicom\r\n\r\nhalf"},
        {"boundary": '""'},
        {"boundary": "other"},
    ],
    ids=["without its end", "within a part", "without a boundary", "of another boundary"],
)
def test_an_answer_that_is_cut_short_or_malformed_is_no_series(web, tmp_path, change):
    give(web, *map(encoded, planes(2)), **change)
    with peer_at(web.root) as peer, pytest.raises(ArchiveError, match="peer archive"):
        pulled(peer, tmp_path / "series")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "status 401 .*check its credentials"), (404, "no such study"), (500, "status 500")],
)
def test_a_refusal_is_told_with_its_status(web, tmp_path, status, reason):
    web.status = status
    web.content = b"patient Secretname"
    with peer_at(web.root) as peer, pytest.raises(ArchiveError, match=reason) as error:
        pulled(peer, tmp_path / "series")
    assert "Secretname" not in str(error.value)


def test_an_archive_that_is_not_there_is_named():
    with (
        peer_at("http://127.0.0.1:9/dicom-web") as peer,
        pytest.raises(
            ArchiveError, match=r"peer archive cannot be reached, or .*: check its dicomweb"
        ),
    ):
        peer.echo()


def element(*values, vr="UI"):
    return {"vr": vr, "Value": list(values)}


def listed(web, *entries):
    web.content = json.dumps(entries).encode()


def test_the_series_of_a_study_are_those_that_are_predicted(web):
    listed(
        web,
        {
            "0020000E": element(SERIES),
            "00080060": element("CT", vr="CS"),
            "00201209": element(40, vr="IS"),
        },
        {"0020000E": element(f"{STUDY}.2"), "00080060": element("SEG", vr="CS")},
        {"0020000E": element("../../hostile"), "00080060": element("CT", vr="CS")},
        {"0020000E": "no element"},
        "no entry",
    )
    with peer_at(web.root) as peer:
        (entry,) = chosen_series(peer, STUDY, only=None, settings=peer.settings)
        assert entry == SeriesEntry(SERIES, "CT", 40)
        with pytest.raises(ParafoveaError, match=r"has no series 1\.2: its series are"):
            chosen_series(peer, STUDY, only="1.2", settings=peer.settings)


@pytest.mark.parametrize("count", ["²", "٣" * 5000, "9" * 5000, "-1", "1.5", ""])
def test_a_number_that_is_none_is_not_stated(web, count):
    stated = {"vr": "IS", "Value": [count]}
    listed = {"0020000E": {"vr": "UI", "Value": [SERIES]}, "00201209": stated}
    web.content = json.dumps([listed]).encode()
    with peer_at(web.root) as peer:
        (entry,) = peer.series(STUDY)
    assert entry == SeriesEntry(SERIES, "", None)


@pytest.mark.parametrize("content", [b"no JSON", b"[" * 100_000, b"null", b"[]", b""])
def test_a_list_that_is_none_lists_nothing_or_is_named(web, content):
    web.content = content
    with peer_at(web.root) as peer, pytest.raises(ParafoveaError, match=r"no valid JSON|not there"):
        chosen_series(peer, STUDY, only=None, settings=peer.settings)


def test_what_is_stored_is_the_file_and_failures_are_told(web, tmp_path):
    file = tmp_path / "segmentation.dcm"
    file.write_bytes(encoded(planes(1)[0]))
    with peer_at(web.root) as peer:
        for status, content in ((200, b""), (200, b"{}"), (202, b"{}")):
            web.status, web.content = status, content
            peer.store(file)
        method, path, headers, body = web.asked[-1]
        assert (method, path) == ("POST", "/dicom-web/studies")
        assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
        assert body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0] == file.read_bytes()
        failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": element(0xA700, vr="US")}]}}
        web.content = json.dumps(failed).encode()
        with pytest.raises(ArchiveError, match=r"did not store the result \(reason 0xA700\)"):
            peer.store(file)
        web.status = 409
        with pytest.raises(ArchiveError, match="status 409 to STOW-RS"):
            peer.store(file)


def test_credentials_come_from_the_environment(web):
    variables = {"user_variable": "PACS_USER", "password_variable": "PACS_PASSWORD"}
    with pytest.raises(ConfigError, match="environment variable PACS_USER is not set"):
        DicomwebPeer(
            "archive", PacsPeer(dicomweb=web.root, **variables), pacs_settings(), environment={}
        )
    with peer_at(
        web.root, environment={"PACS_USER": "a", "PACS_PASSWORD": "b"}, **variables
    ) as peer:
        peer.echo()
    with peer_at(web.root, environment={"TOKEN": "t"}, token_variable="TOKEN") as peer:  # noqa: S106
        peer.echo()
    assert [headers["Authorization"] for _, _, headers, _ in web.asked] == [
        "Basic YTpi", "Bearer t",
    ]  # fmt: skip
