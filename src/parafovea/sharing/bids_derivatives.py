"""Results of CT scans under the names of BIDS derivatives.

https://bids-specification.readthedocs.io/en/stable/derivatives/introduction.html. BIDS has no CT
yet: the folder `ct` is that of its extension proposal 24. The names of the derivatives, `dseg` and
`probseg`, and their sidecars are of BIDS itself.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea import __version__
from parafovea.config import Project
from parafovea.errors import ConfigError
from parafovea.formats.nifti import write_nifti
from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.scan_space import ScanSpace
from parafovea.planning.staleness import Staleness
from parafovea.runtime.file_hash import file_sha256
from parafovea.sharing.finished_run import chosen_samples, finished_jobs
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import open_stored, replacing

#: Version of the specification.
BIDS = "1.10.0"

DESCRIPTION = "dataset_description.json"

#: Folder of CT in BIDS extension proposal 24.
CT = "ct"

#: A sample that is named like a subject and a session.
_ENTITIES = re.compile(r"sub-([A-Za-z0-9]+)(?:_ses-([A-Za-z0-9]+))?")

README = f"""\
# Results of Parafovea

Written by `parafovea export-bids` {__version__}. `participants.tsv` has the sample of each subject.
The folder `ct` follows BIDS extension proposal 24, since BIDS itself has no computed tomography
yet; `.bidsignore` names it, and the tables of detections, which BIDS does not have either.
"""

IGNORED = f"""\
**/{CT}/
*_detections.tsv
*_detections.json
"""


@dataclass(frozen=True)
class Subject:
    """The labels of a sample.

    Parameters
    ----------
    label : str
        Of its subject, letters and digits.
    session : str
        Of its session; "" without one.
    """

    label: str
    session: str = ""

    @classmethod
    def of(cls, sample: str) -> Subject:
        """Return the labels of a sample: its own, as in sub-01_ses-2, else its letters and digits.

        Raises
        ------
        ConfigError
            If it has neither letters nor digits.
        """
        named = _ENTITIES.fullmatch(sample)
        if named is not None:
            return cls(named[1], named[2] or "")
        label = re.sub("[^A-Za-z0-9]", "", sample)
        if not label:
            raise ConfigError(f"sample {sample!r} has no letter or digit for a label: rename it")
        return cls(label)

    @property
    def entities(self) -> str:
        """Such as "sub-01_ses-2"."""
        return f"sub-{self.label}" + (f"_ses-{self.session}" if self.session else "")

    def file(self, root: Path, name: str) -> Path:
        """Return the path of a file with a name after its labels, such as "desc-x_dseg.nii.gz"."""
        folder = root / f"sub-{self.label}" / (f"ses-{self.session}" if self.session else "") / CT
        return folder / f"{self.entities}_{name}"


def write_derivatives(
    project: Project, staleness: Staleness, output: Path, *, samples: Sequence[str] = ()
) -> int:
    """Write the results of scans as a data set of BIDS derivatives.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of its results with what a run would make.
    output : Path
        Folder to write, replaced if it holds such a data set.
    samples : sequence of str
        Names in the sheet; by default all scans.

    Returns
    -------
    int
        Number of scans.

    Raises
    ------
    ConfigError
        If a sample is no scan, two have the same labels, or the output holds anything else.
    StoreError
        If a result is missing or stale.
    """
    if output.is_file():
        raise ConfigError(f"{output} is a file: name a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / DESCRIPTION).is_file():
        raise ConfigError(
            f"{output} holds other files than a data set of BIDS, which would be removed: name a "
            f"new folder, or one with {DESCRIPTION}"
        )
    subjects = _subjects(_scans(project, samples))
    finished_jobs(project, staleness, tuple(subjects))
    with replacing(output) as partial:
        partial.mkdir()
        for sample, subject in subjects.items():
            _Scan(project, sample, subject).write(partial)
        _write_json(partial / DESCRIPTION, _description())
        (partial / "README.md").write_text(README, encoding="utf-8")
        (partial / ".bidsignore").write_text(IGNORED, encoding="utf-8")
        _write_participants(partial, project, subjects)
    return len(subjects)


def _scans(project: Project, samples: Sequence[str]) -> tuple[str, ...]:
    return chosen_samples(
        project,
        samples,
        lambda recipe: recipe.unit == "millimeter",
        what="scan",
        why="since its model does not count in millimetres",
    )


def _subjects(samples: Sequence[str]) -> dict[str, Subject]:
    found: dict[Subject, str] = {}
    for sample in samples:
        # disks that know no upper and lower case would join them
        subject = Subject.of(sample)
        for other, name in found.items():
            if other.entities.lower() == subject.entities.lower():
                raise ConfigError(
                    f"samples {name!r} and {sample!r} would both be {subject.entities}, since "
                    "labels of BIDS are letters and digits alone: rename one, such as "
                    "sub-LABEL_ses-LABEL"
                )
        found[subject] = sample
    return {sample: subject for subject, sample in found.items()}


class _Scan:
    """The files of a scan."""

    def __init__(self, project: Project, sample: str, subject: Subject) -> None:
        self._project, self._sample, self._subject = project, sample, subject
        self._results = SampleResults(Path(project.folder(sample)))

    def write(self, root: Path) -> None:
        """Write its images and tables with their sidecars."""
        self._subject.file(root, "").parent.mkdir(parents=True)
        results = self._results
        if results.heatmap.is_file():
            self._copy(root, results.heatmap, "desc-heatmap_probseg.nii.gz", self._probability())
        if results.classes.is_dir():
            self._write_classes(root)
        if results.detection_table.is_file():
            self._write_detections(root)

    def _facts(self, source: Path) -> dict[str, Any]:
        """Return the fields of every sidecar."""
        facts: dict[str, Any] = {
            # the scan is not in a data set of BIDS, so that it has no address of one
            "Sources": [self._project.source(self._sample)],
            "SpatialReference": "orig",
            "Space": "the voxels and the affine of the scan",
            "GeneratedBy": _generated(self._project.task(self._sample).model),
        }
        if source.is_file():
            facts["SHA256"] = file_sha256(source)
        return facts

    def _probability(self) -> dict[str, Any]:
        return {"Description": "Heatmap of findings, 0 to 1.", "Manual": False}

    def _copy(self, root: Path, source: Path, name: str, facts: Mapping[str, Any]) -> None:
        target = self._subject.file(root, name)
        shutil.copyfile(source, target)
        sidecar = target.with_name(target.name.removesuffix(".gz").rpartition(".")[0] + ".json")
        _write_json(sidecar, {**facts, **self._facts(source)})

    def _write_classes(self, root: Path) -> None:
        """Write the classes on the scan's voxels, each of which takes that of the nearest one."""
        stored = open_stored(self._results.classes)
        volume = open_stored(self._results.volume)
        space = ScanSpace.from_record(volume.attributes["source"])
        target = space.grid.converted(stored.grid.unit)
        path = self._subject.file(root, "dseg.nii.gz")

        def nearest(box: Box) -> NDArray[Any]:
            return _nearest(stored.read, stored.grid, target, box)

        write_nifti(path, nearest, space=space, dtype=np.uint8)
        facts = {"Description": "Class of each voxel.", "Manual": False}
        sidecar = path.with_name(f"{self._subject.entities}_dseg.json")
        _write_json(sidecar, {**facts, **self._facts(Path())})
        lines = ["index\tname", *(f"{n}\t{c}" for n, c in enumerate(self._names()))]
        table = path.with_name(f"{self._subject.entities}_dseg.tsv")
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _names(self) -> Sequence[str]:
        return self._project.recipe(self._sample).classes

    def _write_detections(self, root: Path) -> None:
        source = self._results.detection_table
        target = self._subject.file(root, "desc-nodules_detections.tsv")
        text = source.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text)))
        with target.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(
                # how BIDS writes a value that is not known
                [[cell or "n/a" for cell in row] for row in rows]
            )
        facts = {"Description": "A line for each detection."}
        _write_json(target.with_suffix(".json"), {**facts, **self._facts(source)})


def _nearest(
    read: Callable[[Box], NDArray[Any]], grid: Grid, target: Grid, box: Box
) -> NDArray[Any]:
    """Return labels (z, y, x) of a box of a target grid, each of the nearest voxel of a grid."""
    places = []
    for axis in range(3):
        index = np.arange(box.start[axis], box.stop[axis])
        world = target.origin[axis] + index * target.spacing[axis]
        nearest = np.rint((world - grid.origin[axis]) / grid.spacing[axis]).astype(np.int64)
        places.append(np.clip(nearest, 0, grid.shape[axis] - 1))
    first = shape3([int(each.min()) for each in places])
    last = shape3([int(each.max()) + 1 for each in places])
    values = read(Box(first, last))
    return values[np.ix_(*(each - start for each, start in zip(places, first, strict=True)))]


def _generated(model: str) -> list[dict[str, Any]]:
    return [{"Name": "Parafovea", "Version": __version__, "Description": f"model {model}"}]


def _description() -> dict[str, Any]:
    return {
        "Name": "Results of Parafovea",
        "BIDSVersion": BIDS,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Parafovea", "Version": __version__}],
    }


def _write_participants(root: Path, project: Project, subjects: Mapping[str, Subject]) -> None:
    """Write which samples each subject has, and what the columns are."""
    samples: dict[str, list[str]] = {}
    for sample, subject in subjects.items():
        samples.setdefault(f"sub-{subject.label}", []).append(sample)
    lines = ["participant_id\tsamples\ttasks"]
    for subject_id, names in samples.items():
        tasks = dict.fromkeys(project.samples[name].task for name in names)
        lines.append(f"{subject_id}\t{', '.join(names)}\t{', '.join(tasks)}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {
        "samples": {"Description": "Names in the sample sheet of Parafovea."},
        "tasks": {"Description": "Tasks of these samples."},
    }
    _write_json(root / "participants.json", columns)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
