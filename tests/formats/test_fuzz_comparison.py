"""Which mutated files the fuzz run compares with the whole one, and that it finds a difference."""

import numpy as np
import pytest
from formats.fuzzing import Fuzzer, has_to_read_the_same
from fuzz_samples import COVERED, FUZZED

DATA = bytes(range(100))


@pytest.mark.parametrize(
    ("changed", "covered", "expected"),
    [
        (DATA[:40], [], True),
        (DATA, [], True),
        (DATA[:10] + b"x" + DATA[11:], [(10, 20)], True),
        (DATA[:9] + b"xy" + DATA[11:], [(10, 20)], False),
        (DATA[:10] + DATA[15:], [(10, 20)], True),
        (DATA[:10] + DATA[20:], [(10, 20)], True),
        (DATA[:10] + DATA[21:], [(10, 20)], False),
        (DATA[:15] + b"more" + DATA[15:], [(10, 20)], True),
        (DATA[:15] + b"more" + DATA[15:], [(30, 40)], False),
        (DATA[:12] + b"x" + DATA[13:50] + b"y" + DATA[51:], [(10, 20), (50, 60)], True),
        (DATA[:12] + b"x" + DATA[13:49] + b"y" + DATA[50:], [(10, 20), (50, 60)], False),
        (DATA + b"more", [(90, 100)], True),
        (DATA + b"more", [], False),
    ],
)
def test_a_file_has_to_read_the_same_if_it_is_cut_or_a_checksum_covers_the_change(
    changed, covered, expected
):
    assert has_to_read_the_same(DATA, changed, covered) is expected


@pytest.mark.parametrize("name", COVERED)
def test_checksums_cover_most_of_a_file_and_not_what_is_beside_the_voxels(name, tmp_path):
    fuzzer = Fuzzer(name, tmp_path / "files", 0)
    ranges = {path: COVERED[name](path, data) for path, data in fuzzer._files.items()}
    held = [(path, start, stop) for path, found in ranges.items() for start, stop in found]
    assert held
    assert all(0 <= start < stop <= len(fuzzer._files[path]) for path, start, stop in held)
    assert sum(stop - start for _, start, stop in held) > 200


def test_other_voxels_are_found(tmp_path, monkeypatch):
    # the voxels of a plain TIFF stand for themselves
    monkeypatch.setitem(COVERED, "tiff", COVERED["tiff_deflate"])
    fuzzer = Fuzzer("tiff", tmp_path / "files", 0)
    (path,) = fuzzer._files
    fuzzer._values = {"box": np.zeros(3)}
    fuzzer._compare(path, {"box": np.zeros(3)})
    with pytest.raises(AssertionError, match="other values of box"):
        fuzzer._compare(path, {"box": np.ones(3)})
    (start, _), *_ = COVERED["tiff"](path, fuzzer._files[path])
    changed = bytearray(fuzzer._files[path])
    changed[start] ^= 1
    path.write_bytes(changed)
    with pytest.raises(AssertionError, match="other values of box"):
        fuzzer._compare(path, {"box": np.ones(3)})
    changed[0] ^= 1
    path.write_bytes(changed)
    fuzzer._compare(path, {"box": np.ones(3)})
    assert "tiff" in FUZZED
