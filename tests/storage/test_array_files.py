import numpy as np
import pytest

from parafovea.errors import StoreError
from parafovea.storage.array_files import block_file, loaded_arrays, save_arrays


def test_arrays_come_back_by_name(tmp_path):
    path = block_file(tmp_path, 3)
    save_arrays(path, {"ids": np.arange(3), "none": np.zeros(0, np.uint8)})
    with loaded_arrays(path) as arrays:
        assert arrays["ids"].tolist() == [0, 1, 2]
        assert arrays["none"].dtype == np.uint8
    assert [each.name for each in tmp_path.iterdir()] == ["3.npz"]


def test_equal_arrays_are_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, {"ids": np.arange(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("damage", ["gone", "cut", "text", "pickled", "lacking"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "1.npz"
    save_arrays(path, {"ids": np.arange(300)})
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "pickled":
        np.savez(path, ids=np.array([{}], object))
    else:
        save_arrays(path, {"other": np.arange(3)})
    with pytest.raises(StoreError, match=r"1\.npz is missing or damaged"), loaded_arrays(path) as a:
        a["ids"]
