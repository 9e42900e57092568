"""Files that carry code, or unpack to much more than they are: nothing runs, and memory is flat."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from served_job import done, write_tasks
from tiny_detector import SHAPE, SPACING

#: Predicts an upload, and prints the memory in KiB that it took.
CODE = """
import resource, sys
from pathlib import Path
from served_job import done
from parafovea.drivers.predict_scans import predict_scan

begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(done(Path(sys.argv[1])).state)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Go to a folder with a config of two tasks and their models."""
    monkeypatch.chdir(tmp_path)
    write_tasks()
    return tmp_path


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_no_pickle_of_an_upload_is_executed(here):
    with zipfile.ZipFile("tiles.zip", "w") as archive:
        for number, values in enumerate(
            (np.array([Trap()], dtype=object), np.full((4, 32, 32), 0.1, np.float32))
        ):
            file = io.BytesIO()
            np.savez(file, opt_v1=values)
            archive.writestr(f"tile_{number}.npz", file.getvalue())
            archive.writestr(f"tile_{number}.json", '{"month": 6}')
        archive.writestr("tile_2.npz", pickle.dumps(Trap()))
    torch.save({"weights": Trap()}, "model.zip")
    assert done(Path("tiles.zip"), task="optical").state == "completed"
    for task in ("nodules", "optical"):
        assert done(Path("model.zip"), task=task).state == "failed"
    assert not list(here.rglob("executed"))


def test_a_stream_that_goes_on_behind_the_voxels_is_no_memory(here):
    voxels = np.zeros(SHAPE[::-1], np.int16)
    z, y, x = SPACING
    whole = nibabel.Nifti1Image(voxels, np.diag([-x, -y, z, 1])).to_bytes()
    with gzip.open("bomb.nii.gz", "wb", compresslevel=1) as file:
        file.write(whole)
        for _ in range(1024):
            file.write(bytes(2**20))
    assert Path("bomb.nii.gz").stat().st_size < 8 * 2**20
    ran = subprocess.run(
        [sys.executable, "-c", CODE, "bomb.nii.gz"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    state, memory = ran.stdout.split()
    assert state in ("completed", "failed")
    assert int(memory) < 2**19
