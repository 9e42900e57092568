import hashlib
import os
import shutil

import pytest

from parafovea.storage import contents as module
from parafovea.storage.contents import ABSENT, Contents


@pytest.fixture
def folder(tmp_path):
    store = tmp_path / "a.zarr"
    (store / "0" / "c").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    (store / "0" / "c" / "0").write_bytes(b"voxels")
    (store / "0" / "c" / "1").write_bytes(b"more voxels")
    return store


def rewritten(path, content):
    """Write a file whose size and modification time are as before."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_is_known_by_what_is_in_it(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"voxels")
    two.write_bytes(b"voxels")
    assert Contents().digest(one) == Contents().digest(two)
    two.write_bytes(b"voxel5")
    assert Contents().digest(one) != Contents().digest(two)


def test_a_copy_and_a_touch_leave_the_content_of_a_folder(folder, tmp_path):
    before = Contents().digest(folder)
    copy = shutil.copytree(folder, tmp_path / "copy.zarr")
    os.utime(folder / "0" / "c" / "0")
    assert Contents().digest(folder) == Contents().digest(copy) == before


@pytest.mark.parametrize("change", ["chunk", "name", "new", "gone", "metadata"])
def test_every_change_in_a_folder_changes_it(folder, change):
    contents = Contents()
    before = contents.digest(folder)
    chunks = folder / "0" / "c"
    if change == "chunk":
        rewritten(chunks / "0", b"voxelS")
    elif change == "name":
        (chunks / "0").rename(chunks / "2")
    elif change == "new":
        (chunks / "2").write_bytes(b"")
    elif change == "gone":
        (chunks / "0").unlink()
    else:
        (folder / "zarr.json").write_text('{"attributes": {}}')
    assert contents.digest(folder) != before


def test_stamps_of_the_workflow_are_not_content(folder):
    before = Contents().digest(folder)
    (folder / ".snakemake_timestamp").touch()
    (folder / ".made.json").write_text("{}")
    assert Contents().digest(folder) == before


def test_nothing_and_an_empty_folder_are_told_apart(tmp_path):
    assert Contents().digest(tmp_path / "gone") == ABSENT
    (tmp_path / "empty").mkdir()
    assert Contents().digest(tmp_path / "empty") != ABSENT


def test_a_file_is_read_again_only_after_a_change(folder, tmp_path, monkeypatch):
    read = []
    plain = hashlib.file_digest
    monkeypatch.setattr(
        module.hashlib,
        "file_digest",
        lambda file, name: read.append(file.name) or plain(file, name),
    )
    memo = tmp_path / "notes" / "contents.jsonl"
    first = Contents(memo).digest(folder)
    assert len(read) == 3
    assert Contents(memo).digest(folder) == first
    assert len(read) == 3
    rewritten(folder / "0" / "c" / "0", b"voxelS")
    changed = Contents(memo).digest(folder)
    assert changed != first
    assert Contents(memo).digest(folder) == changed
    assert len(read) == 6


def test_a_memo_that_was_cut_off_or_cannot_be_written_only_costs_time(folder, tmp_path):
    memo = tmp_path / "contents.jsonl"
    digest = Contents(memo).digest(folder)
    memo.write_text(memo.read_text()[:-9] + "\n[1, 2]\nnull\n")
    assert Contents(memo).digest(folder) == digest
    (tmp_path / "file").touch()
    assert Contents(tmp_path / "file" / "contents.jsonl").digest(folder) == digest


def test_what_is_too_large_is_compared_by_size_and_time(folder, monkeypatch):
    monkeypatch.setattr(module, "COMPARED", 10)
    before = Contents().digest(folder)
    rewritten(folder / "0" / "c" / "0", b"voxelS")
    assert Contents().digest(folder) == before
    os.utime(folder / "0" / "c" / "0")
    assert Contents().digest(folder) != before


def test_much_content_is_announced_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 10)
    said = []
    contents = Contents(tmp_path / "memo", announce=said.append)
    contents.digest(folder)
    contents.digest(folder)
    assert said == [f"Reading {folder} (19 B) to see whether it has changed"]


@pytest.mark.parametrize(
    ("inside", "target"), [("", "."), ("", ".."), ("0/c", "."), ("0/c", ".."), ("0/c", "../..")]
)
def test_a_link_to_a_folder_above_is_not_followed(folder, inside, target):
    before = Contents().digest(folder)
    (folder / inside / "loop").symlink_to(target)
    if not (folder / inside / target).resolve().is_relative_to(folder):
        # what lies beside it is content, but each folder is entered once
        assert Contents().digest(folder) != before
    else:
        assert Contents().digest(folder) == before


def test_a_pipe_is_neither_content_nor_waited_for(folder, tmp_path):
    before = Contents().digest(folder)
    os.mkfifo(folder / "pipe")
    os.mkfifo(tmp_path / "alone")
    assert Contents().digest(folder) == before
    assert Contents().digest(tmp_path / "alone") == ABSENT


def test_a_link_to_a_folder_elsewhere_is_content(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2").write_bytes(b"voxels")
    (folder / "0" / "link").symlink_to(elsewhere)
    before = Contents().digest(folder)
    (elsewhere / "2").write_bytes(b"others")
    assert Contents().digest(folder) != before
