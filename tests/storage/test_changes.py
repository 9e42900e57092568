import os

from parafovea.storage.changes import ChangeMark


def test_the_mark_is_newer_than_all_outputs_and_than_nothing_that_is_made_later(tmp_path):
    mark = ChangeMark(tmp_path / "notes" / "changed")
    mark.write()
    old, new, folder = (tmp_path / name for name in ("old", "new", "folder"))
    old.touch()
    assert mark.path.stat().st_mtime_ns < old.stat().st_mtime_ns
    folder.mkdir()
    (folder / ".snakemake_timestamp").touch()
    # a clock that is ahead, as that of a file server
    ahead = old.stat().st_mtime_ns + 60 * 10**9
    os.utime(folder / ".snakemake_timestamp", ns=(ahead, ahead))
    mark.follow([str(old), str(tmp_path / "gone")])
    assert mark.path.stat().st_mtime_ns > old.stat().st_mtime_ns
    new.touch()
    assert mark.path.stat().st_mtime_ns < new.stat().st_mtime_ns + 10**7
    mark.follow([str(folder)])
    assert mark.path.stat().st_mtime_ns > ahead
    mark.follow([str(old)])
    assert mark.path.stat().st_mtime_ns > ahead


def test_the_mark_has_another_content_in_each_run(tmp_path):
    said = set()
    for _ in range(2):
        mark = ChangeMark(tmp_path / "changed")
        mark.write()
        said.add(mark.path.read_text())
    assert len(said) == 2
