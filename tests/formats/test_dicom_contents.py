"""What of a folder or an archive is looked at, and how much an archive may hold."""

import gzip
import zipfile

import numpy as np
import pytest
from dicom_slices import write_series, write_structures

from parafovea.errors import SourceError
from parafovea.formats.dicom import contents, selection
from parafovea.formats.dicom.contents import FolderContents, ZipContents, holds
from parafovea.formats.location import locate, source_files
from parafovea.formats.opening import open_source


def test_hidden_files_and_what_systems_add_are_left_out(tmp_path):
    for name in ("a/1.dcm", "2", ".hidden/3.dcm", "a/.4.dcm", "__MACOSX/._1.dcm"):
        (tmp_path / "scan" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scan" / name).write_bytes(name.encode())
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in (tmp_path / "scan").rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    archive = ZipContents(str(tmp_path / "scan.zip"))
    assert sorted(archive.sizes) == ["scan/2", "scan/a/1.dcm"]
    with archive.opened() as open_file, open_file("scan/a/1.dcm") as file:
        assert file.read() == b"a/1.dcm"
    names = FolderContents(str(tmp_path / "scan")).sizes
    assert str(tmp_path / "scan/a/1.dcm") in names
    assert not any(".hidden" in name or ".4" in name for name in names)


def test_linked_folders_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.dcm").write_bytes(b"x")
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan/link").symlink_to(tmp_path / "elsewhere")
    contents = FolderContents(str(tmp_path / "scan"))
    assert contents.sizes == {}
    assert contents.left_out == ["linked folder"]


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [("IM1", bytes(128) + b"DICM", True), ("a.DCM", b"", True), ("IM2", b"x" * 200, False)],
)
def test_dicom_is_known_by_name_or_content(tmp_path, name, data, found):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).write_bytes(data)
    assert holds(str(tmp_path)) is found


def test_a_series_depends_on_its_folder_and_is_watched_file_by_file(tmp_path):
    (tmp_path / "b.dcm").write_bytes(b"")
    (tmp_path / "a.dcm").write_bytes(b"")
    location = locate(str(tmp_path))
    assert source_files(str(tmp_path)) == [str(tmp_path)]
    assert location.slices == (str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"))


def test_pictures_beside_slices_are_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match="holds 1 PNG and 1 DICOM files: move those of one"):
        locate(str(tmp_path))


def test_one_slice_alone_points_to_its_folder(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(SourceError, match=f"one DICOM file: give the folder.*{tmp_path}"):
        locate(str(tmp_path / "a.dcm"))


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_FILES", 2, "holds 3 files, more than 2"),
        ("LARGEST_SCAN", 999, "'b.dcm' of 1000 bytes, more than the 999"),
        ("MAX_BYTES", 1500, "unpacks to 1520 bytes, more than 1500"),
    ],
)
def test_an_archive_that_unpacks_to_too_much_is_refused_unread(
    tmp_path, monkeypatch, limit, value, message
):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in (("a.dcm", 260), ("b.dcm", 1000), ("c.dcm", 260)):
            archive.writestr(name, bytes(size))
    monkeypatch.setattr(contents, limit, value)
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path / "a.zip"))


@pytest.mark.parametrize("data", [b"", b"PK nothing", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_archive_is_one_error(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.zip cannot be read as a zip archive"):
        open_source(str(tmp_path / "a.zip"))


def test_an_encrypted_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", b"x")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(SourceError, match="is encrypted: unpack it"):
        open_source(str(tmp_path / "a.zip"))


def _bare(folder):
    """Write a series of files without endings; return their paths by slice."""
    files = write_series(folder, np.zeros((6, 4, 5), np.int16), prefix="IM")
    return [file.rename(file.with_suffix("")) for file in files]


@pytest.mark.parametrize("last", [5, 2], ids=["at the end", "within"])
@pytest.mark.parametrize("left", [0, 100, 400])
def test_a_damaged_slice_without_ending_is_an_error(tmp_path, last, left):
    file = _bare(tmp_path)[last]
    file.write_bytes(file.read_bytes()[:left].replace(b"DICM", b"DIC?"))
    with pytest.raises(
        SourceError, match=rf"{file.name} is not a DICOM file, although it is named"
    ):
        open_source(str(tmp_path))


def test_a_damaged_slice_in_an_archive_is_an_error(tmp_path):
    files = _bare(tmp_path / "scan")
    files[5].write_bytes(b"x" * 300)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    with pytest.raises(SourceError, match=f"{files[5].name} is not a DICOM file"):
        open_source(str(tmp_path / "scan.zip"))


@pytest.mark.parametrize("packed", [1, 6])
def test_slices_that_are_compressed_with_gzip_are_an_error(tmp_path, packed):
    for file in write_series(tmp_path, np.zeros((6, 4, 5), np.int16))[:packed]:
        file.with_suffix(".dcm.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    with pytest.raises(SourceError, match=r"slice00\d\.dcm\.gz is a DICOM file .* with gunzip"):
        open_source(str(tmp_path))


def test_a_link_to_a_slice_that_is_not_there_is_an_error(tmp_path):
    files = write_series(tmp_path / "scan", np.zeros((6, 4, 5), np.int16))
    files[5].rename(tmp_path / "moved.dcm")
    files[5].symlink_to(tmp_path / "archive/slice.dcm")
    with pytest.raises(SourceError, match=r"is a link to .*archive/slice\.dcm, which is not there"):
        open_source(str(tmp_path / "scan"))
    files[5].unlink()
    files[5].symlink_to(tmp_path / "moved.dcm")
    assert open_source(str(tmp_path / "scan")).grid.shape == (6, 4, 5)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    write_series(tmp_path, np.zeros((6, 4, 5), np.int16))
    walk = contents.os.walk

    def denied(path, onerror=None):
        onerror(PermissionError(13, "Permission denied", f"{path}/more"))
        return walk(path)

    monkeypatch.setattr(contents.os, "walk", denied)
    with pytest.raises(SourceError, match=r"more cannot be read \(Permission denied\)"):
        FolderContents(str(tmp_path))


def test_what_is_left_out_is_counted_and_logged_once(tmp_path, caplog):
    write_series(tmp_path / "scan", np.zeros((6, 4, 5), np.int16))
    write_structures(tmp_path / "scan/RS.dcm")
    (tmp_path / "scan/README.txt").write_text("slices 1 to 6")
    (tmp_path / "scan/LICENSE").write_text("free")
    (tmp_path / "scan/more").symlink_to(tmp_path)
    selection.log_once.cache_clear()
    for _ in range(2):
        assert open_source(str(tmp_path / "scan")).grid.shape == (6, 4, 5)
    said = "4 left out: 1 x RT Structure Set, 2 x file that is not DICOM, 1 x linked folder"
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [said]
