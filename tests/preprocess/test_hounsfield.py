"""What counts as a CT."""

import numpy as np
import pytest

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Grid
from parafovea.preprocess.hounsfield import check_hounsfield
from parafovea.preprocess.source_statistics import scan

GRID = Grid((20, 30, 30), (1, 1, 1), unit="millimeter")


def _statistics(values):
    return scan(lambda box: values[box.slices], GRID, values.dtype)


@pytest.fixture
def ct():
    """Return air around a body of water with a lung and a bone, with noise."""
    _, y, x = np.indices(GRID.shape)
    values = np.full(GRID.shape, -1000.0)
    values[(y - 15) ** 2 + (x - 15) ** 2 < 150] = 30
    values[(y - 15) ** 2 + (x - 10) ** 2 < 20] = -850
    values[10:12, 14:16, 20:22] = 900
    noise = np.random.default_rng(1).normal(0, 25, GRID.shape)
    return (values + noise).astype(np.int16)


def test_a_scan_is_a_ct_also_as_floats_with_padding_and_metal(ct):
    check_hounsfield("a", _statistics(ct))
    check_hounsfield("a", _statistics(ct.astype(np.float32)))
    padded = ct.copy()
    padded[:, :8] = -3024
    padded[10, 15, 15] = 30000
    check_hounsfield("a", _statistics(padded))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: ((v + 1024.0) / 4096).astype(np.float32), "air and lungs"),
        (lambda v: np.clip((v + 1024) // 16, 0, 255).astype(np.uint8), "air and lungs"),
        (lambda v: (v + 1100).astype(np.uint16), "air and lungs"),
        (lambda v: np.clip(v, -160, 240), "air and lungs"),
        (lambda v: (10 * v).astype(np.int16), "everything except metal"),
        (lambda v: np.full_like(v, -1000), "soft tissue"),
        (lambda v: np.full_like(v, 0), "air and lungs"),
    ],
    ids=["0 to 1", "8 bit", "not rescaled", "windowed", "ten times", "air alone", "constant"],
)
def test_other_values_are_refused_with_their_range(ct, change, message):
    values = change(ct)
    with pytest.raises(VoxelError, match=message) as error:
        check_hounsfield("scan.nii.gz", _statistics(values))
    text = str(error.value)
    assert "scan.nii.gz is not a CT in Hounsfield units" in text
    assert f"from {float(values.min()):g} to" in text
