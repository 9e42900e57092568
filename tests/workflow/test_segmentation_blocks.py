"""A segmentation in one block and in several: the same bytes, and only the jobs that it needs."""

import hashlib

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from parafovea.storage.layout import CLASSES, OBJECT_TABLE, OBJECTS, RECORD, RECORDS

pytestmark = pytest.mark.workflow

#: More than one file of labels along y and x.
SHAPE = (16, 260, 260)

CLEANED = {
    "mitochondrion": {"min_voxels": 30, "fill_holes": True, "split_distance": 120},
    "nucleus": {"min_voxels": 10},
}


def write_project(folder, blocks):
    """Write samples of one source, each with a task of its own number of blocks."""
    rng = np.random.default_rng(5)
    smooth = ndimage.gaussian_filter(rng.random(SHAPE, dtype=np.float32), 2)
    image = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    tifffile.imwrite(folder.path / "data/large.tif", image, photometric="minisblack")
    cell = folder.config["tasks"]["cell"]
    folder.rows = []
    for name, (number, classes) in blocks.items():
        folder.config["tasks"][name] = {
            **cell,
            "blocks": number,
            "inference": {"overlap": 0},
            "postprocess": {"classes": classes},
        }
        metadata = "spacing=16,16,16 unit=nanometer"
        folder.rows.append([name, name, "data/large.tif", "", metadata])
    folder.write()


def contents(folder):
    """Return the hashes of classes, objects and their table, by relative path."""
    files = [
        path
        for name in (CLASSES, OBJECTS, OBJECT_TABLE)
        for path in ([folder / name] if name == OBJECT_TABLE else (folder / name).rglob("*"))
        if path.is_file() and path.name != RECORD
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_one_block_and_several_give_the_same_bytes_by_snakemake(
    make_runnable, snakemake, planned, tmp_path
):
    folder = make_runnable(tmp_path)
    write_project(folder, {"one": (1, CLEANED), "three": (3, CLEANED)})
    status, text = snakemake(folder.path)
    assert status == 0, text
    results = folder.path / "results"
    assert (results / "one" / OBJECT_TABLE).read_text().count("\n") > 20
    assert contents(results / "three") == contents(results / "one")
    # of what was passed on between the jobs, the records and the counts alone are left
    passed = [path for path in (results / "three" / "blocks").rglob("*") if path.is_file()]
    assert {path.parent.name for path in passed} <= {RECORDS, "quality"}
    assert planned(folder.path) == {}


def test_steps_that_the_settings_do_not_need_have_no_jobs(make_runnable, planned, tmp_path):
    folder = make_runnable(tmp_path)
    write_project(folder, {"plain": (3, {})})
    jobs = planned(folder.path)
    own = {"classify_block": 3, "number_objects": 1, "number_block": 3, "join_objects": 1}
    steps = ("decide_small", "remove_small_block", "decide_holes", "fill_holes_block")
    optional = (*steps, "unite_objects", "split_block", "segment_objects")
    assert {name: jobs.get(name, 0) for name in own} == own
    assert not set(optional) & set(jobs)


def test_steps_that_the_settings_need_are_one_job_a_block(make_runnable, planned, tmp_path):
    folder = make_runnable(tmp_path)
    write_project(folder, {"cleaned": (3, CLEANED)})
    jobs = planned(folder.path)
    per_block = ("classify_block", "remove_small_block", "fill_holes_block", "split_block")
    assert {jobs[name] for name in (*per_block, "number_block")} == {3}
    once = ("decide_small", "decide_holes", "unite_objects", "number_objects", "join_objects")
    assert {jobs[name] for name in once} == {1}
