"""Uploads are what they say: names, first bytes, archives without links, ways out and bombs."""

from __future__ import annotations

import stat
import zipfile

import pytest

from parafovea.service.refusal import Refusal
from parafovea.service.upload_files import Archive, check_file, guessed_name, safe_name

LIMIT = 10 * 2**20


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def reason(path, **options):
    with pytest.raises(Refusal) as caught:
        Archive.opened(path, **{"max_unpacked": LIMIT, **options})
    return caught.value.detail


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("C:\\scans\\SCAN.NII.GZ", "SCAN.NII.GZ"),
        ("../../etc/passwd.nii", "passwd.nii"),
        ("..nii", "scan.nii"),
        (".nii.gz", "scan.nii.gz"),
        ("Erika Müller.nrrd", "scan.nrrd"),
        ("a\nb.zip", "scan.zip"),
        ("x" * 300 + ".mha", "scan.mha"),
    ],
)
def test_a_name_is_one_of_a_folder_of_results_or_replaced(given, stored):
    assert safe_name(given) == stored


@pytest.mark.parametrize(
    "given", ["scan", "scan.nhdr", "scan.mhd", "a.h5", "a.vrt", "a.pth", "m.onnx", "a.nii.gz/x", ""]
)
def test_other_formats_and_models_are_refused(given):
    with pytest.raises(Refusal) as caught:
        safe_name(given)
    assert caught.value.status == 415


def test_a_vrt_in_the_clothes_of_a_tiff_is_refused(tmp_path):
    vrt = b"<VRTDataset><SimpleSource><SourceFilename>/etc/passwd</SourceFilename>"
    (tmp_path / "a.tif").write_bytes(vrt)
    with pytest.raises(Refusal, match="not what its name says"):
        check_file(tmp_path / "a.tif", max_unpacked=LIMIT)
    archive = Archive.opened(zipped(tmp_path / "a.zip", {"t.tif": vrt}), max_unpacked=LIMIT)
    with pytest.raises(Refusal, match="not what its name says"):
        archive.unpack(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.nrrd", "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\ndata file: /etc/passwd\n\n"),
        ("a.nrrd", "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\ndatafile: LIST\n\n"),
        ("a.mha", "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementDataFile = x.raw\n"),
    ],
)
def test_a_header_that_names_another_file_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(Refusal, match="same file as the header"):
        check_file(tmp_path / name, max_unpacked=LIMIT)


def test_a_scan_without_a_name_is_known_by_its_first_bytes():
    assert guessed_name(b"\x1f\x8b\x08") == "scan.nii.gz"
    assert guessed_name(b"PK\x03\x04") == "scan.zip"
    assert guessed_name(b"NRRD0004\n") == "scan.nrrd"
    assert guessed_name(b"II*\0") == "scan.tif"
    assert guessed_name(bytes(344) + b"n+1\0") == "scan.nii"
    assert guessed_name(b"ObjectType = Image\n") == "scan.mha"
    with pytest.raises(Refusal):
        guessed_name(b"\x80\x04\x95")


@pytest.mark.parametrize("name", ["../a.npz", "/a.npz", "a/../../b.npz", "a\\b.npz", "C:/a.npz"])
def test_a_member_that_leads_out_of_an_archive_is_refused(tmp_path, name):
    # the library turns some of them into others when it reads
    path = tmp_path / "a.zip"
    zipped(path, {"N" * len(name): b"x"})
    path.write_bytes(path.read_bytes().replace(b"N" * len(name), name.encode()))
    assert "leads out" in reason(path)


def test_a_link_in_an_archive_is_refused(tmp_path):
    info = zipfile.ZipInfo("a.npz")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "link" in reason(tmp_path / "a.zip")


def test_bombs_are_refused_by_their_table_of_contents(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", {"a.npz": bytes(20 * 2**20)})
    with pytest.raises(Refusal) as caught:
        Archive.opened(bomb, max_unpacked=LIMIT)
    assert caught.value.status == 413
    many = zipped(tmp_path / "many.zip", {f"{n}.npz": b"" for n in range(10)})
    content = many.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    lying = content[: end + 12] + (2**31).to_bytes(4, "little") + content[end + 16 :]
    (tmp_path / "lying.zip").write_bytes(lying)
    assert "table of contents" in reason(tmp_path / "lying.zip")


def test_a_member_of_which_less_is_stated_than_comes_is_damaged(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.npz": bytes(100_000)})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    archive = Archive.opened(path, max_unpacked=LIMIT)
    with pytest.raises(Refusal, match="damaged"):
        archive.unpack(tmp_path / "out")
    assert sum(each.stat().st_size for each in (tmp_path / "out").iterdir()) <= 1000


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    assert reason(tmp_path / "a.zip").startswith("the archive")


def test_tiles_are_unpacked_flat_and_hidden_files_left_out(tmp_path):
    members = {"tiles/a.npz": b"1", "tiles/a.json": b"2", "__MACOSX/tiles/._a.npz": b"3"}
    archive = Archive.opened(zipped(tmp_path / "a.zip", members), max_unpacked=LIMIT)
    assert archive.holds_tiles(images=False)
    archive.unpack(tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "a.npz": b"1",
        "a.json": b"2",
    }
    series = Archive.opened(zipped(tmp_path / "b.zip", {"1.dcm": b"x"}), max_unpacked=LIMIT)
    assert not series.holds_tiles(images=True)
    two = Archive.opened(
        zipped(tmp_path / "c.zip", {"x/a.npz": b"", "y/a.npz": b""}), max_unpacked=1
    )
    with pytest.raises(Refusal, match="several folders"):
        two.unpack(tmp_path / "two")
