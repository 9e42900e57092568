"""The whole way from two folders of masks to a score, as `parafovea evaluate-lesions` goes it."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import SourceError, TableError
from parafovea.stages.evaluate_lesions import score_lesion_masks

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def _save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T.astype(np.float32), affine), path)


def _ball(centre, radius=3.0, value=1.0, shape=(12, 14, 16)):
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    reach = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return np.where(reach <= radius**2, value, 0.0)


@pytest.fixture
def folders(tmp_path):
    """A found and a missed lesion, a scan without lesions, and one with a false positive."""
    lesion, other = _ball((5, 5, 5)), _ball((5, 6, 12), 2.5)
    _save(tmp_path / "maps/7_detection_map.nii.gz", 0.8 * _ball((5, 5, 6)))
    _save(tmp_path / "masks/007_label.nii.gz", lesion + other)
    _save(tmp_path / "maps/b.nii.gz", 0 * lesion)
    _save(tmp_path / "masks/b.nii.gz", 0 * lesion)
    _save(tmp_path / "maps/c.nii.gz", 0.3 * lesion)
    _save(tmp_path / "masks/c.nii.gz", 0 * lesion)
    (tmp_path / "maps/readme.txt").write_text("three scans")
    return tmp_path / "maps", tmp_path / "masks"


def test_the_command_prints_and_writes_the_score(folders, tmp_path):
    names = [str(folder) for folder in folders]
    done = CliRunner().invoke(app, ["evaluate-lesions", *names, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    words = {" ".join(line.split()) for line in done.output.splitlines()}
    assert {"average precision 0.5000", "auroc 1.0000", "score 0.7500"} <= words
    assert {"scans 3", "lesions 2", "found 1", "missed 1", "false positives 1"} <= words
    assert any(line.startswith("note 1 ids of") and "'7' = '007'" in line for line in words)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["sensitivity_at"]["0.1"] == 0.5
    table = pd.read_csv(tmp_path / "out/lesions.tsv", sep="\t", dtype={"scan": str})
    assert list(table["scan"]) == ["007", "007", "c"]
    assert list(table["is_lesion"]) == [True, True, False]


def test_heatmaps_of_results_become_candidates_by_a_threshold(tmp_path):
    z, y, x = np.ogrid[:12, :14, :16]
    soft = np.exp(-((z - 5) ** 2 + (y - 5) ** 2 + (x - 6) ** 2) / 20)
    _save(tmp_path / "results/a/heatmap.nii.gz", soft)
    _save(tmp_path / "masks/a.nii.gz", _ball((5, 5, 5)))
    with pytest.raises(SourceError, match="as in a heatmap"):
        score_lesion_masks(tmp_path / "results", tmp_path / "masks")
    score, _ = score_lesion_masks(tmp_path / "results", tmp_path / "masks", threshold=0.6)
    assert score.counts["found"] == 1
    assert score.lesions[0].confidence == pytest.approx(1)


def test_scans_of_one_folder_alone_are_refused(folders):
    maps, masks = folders
    (masks / "c.nii.gz").unlink()
    with pytest.raises(TableError, match=r"masks lacks 1 of 3 scans, c: give"):
        score_lesion_masks(maps, masks)


@pytest.mark.parametrize(
    ("shape", "moved", "message"),
    [((12, 14, 17), 0, r"\(12, 14, 17\) voxels"), ((12, 14, 16), 2, "up to 2 mm apart")],
)
def test_volumes_of_other_voxels_or_places_are_refused(folders, shape, moved, message):
    affine = AFFINE.copy()
    affine[0, 3] += moved
    _save(folders[0] / "b.nii.gz", np.zeros(shape), affine)
    with pytest.raises(SourceError, match=message):
        score_lesion_masks(*folders)


def test_the_folder_of_picai_eval_gives_its_results():
    root = os.environ.get("PARAFOVEA_REAL_DATA")
    if not root:
        pytest.skip("PARAFOVEA_REAL_DATA is not set")
    maps = Path(root) / "vectors/picai_eval/test-maps"
    score, _ = score_lesion_masks(maps, maps)
    found = {name: len(case.lesions) for name, case in score.cases.items()}
    stated = {"0": 0, "1": 1, "2": 1, "3": 2, "4": 1, "5": 2, "6": 1, "7": 2, "8": 2, "9": 2}
    assert found == {f"case-{n}": stated[n] for n in stated if f"case-{n}" in found}
    if len(found) == 10:
        assert score.average_precision == pytest.approx(0.2777777777777778)
        assert score.auroc == pytest.approx(0.75)
