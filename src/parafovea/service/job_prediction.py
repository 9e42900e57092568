"""The prediction of one job: the stages and the results of `parafovea predict`.

Whatever goes wrong is told to the client without names: those of its files and folders, which may
be those of patients, are replaced.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path, PurePosixPath

from parafovea.config import Project, Settings
from parafovea.config.dicom_output import output_problem, writes_dicom
from parafovea.config.sources import is_tile_folder
from parafovea.drivers.predict_scans import (
    predict_scan,
    project_of,
    without_sheet,
    write_summary,
)
from parafovea.drivers.predict_tile_folder import MosaicSummary, predict_folder
from parafovea.errors import ParafoveaError, SourceError, StoreError, describe
from parafovea.formats.location import stem
from parafovea.inference.automatic_windows import chosen_stride, chosen_window
from parafovea.kinds import kind_named
from parafovea.runtime.optional_packages import is_installed
from parafovea.runtime.progress import Observer
from parafovea.service.job_queue import Job
from parafovea.service.offered_models import job_settings, require_modest
from parafovea.service.refusal import Refusal
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool
from parafovea.service.upload_files import Archive
from parafovea.service.uploads import DISK_FULL, is_full
from parafovea.service.viewer_files import STAGE, write_viewer_files

LOGGER = logging.getLogger("parafovea.service")

#: Shorter names of scans are left in messages: they say nothing, and may be words of them.
SHORTEST_NAME = 4

#: How the system says that a disk is full, which is in messages of stages.
_NO_SPACE = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT)))

#: Stands for names in messages.
_FILE = "the uploaded file"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    found : int or None
        Number of detections or objects.
    error : str or None
        Why it failed, without names.
    """

    found: int | None = None
    error: str | None = None


def _check_windows(project: Project, name: str) -> None:
    """Refuse what the config of a client asks for, now that scan and model are known."""
    recipe, grid = project.recipe(name), project.grid(name)
    inference = project.settings.tasks[project.samples[name].task].inference
    shape = grid.resampled(recipe.spacing).shape
    whole = inference.mode == "whole_volume"
    window = shape if whole else chosen_window(shape, recipe, inference)
    stride = chosen_stride(window, recipe, inference)
    require_modest(window, stride, inference.batch_size)


def failed_at_file(kind: str) -> str:
    """Return what a client gets to know of an error that nobody foresaw.

    Parameters
    ----------
    kind : str
        Type of the error.
    """
    return f"the service failed at this file ({kind}): tell its operator"


#: Predicts a job, and calls the observer as it goes on.
Predict = Callable[[Job, Observer], Outcome]


class JobPrediction:
    """Prediction of jobs with the settings of a service.

    Parameters
    ----------
    settings : Settings
        The config.
    service : ServiceSettings
        Limits.
    spool : Spool
        Where the jobs are.
    """

    def __init__(self, settings: Settings, service: ServiceSettings, spool: Spool) -> None:
        self._settings = settings
        self._service = service
        self._spool = spool

    def __call__(self, job: Job, observer: Observer) -> Outcome:
        """Predict a job; its results go to the folder of its attempt.

        Parameters
        ----------
        job : Job
            As it was claimed.
        observer : callable
            Called with the stage and the share of the work that is done.
        """
        try:
            with self._working_folder(job):
                return Outcome(self._predicted(job, observer))
        except Refusal as refusal:
            return Outcome(error=refusal.detail)
        except ParafoveaError as error:
            return Outcome(error=self._without_names(describe(error), job))
        except OSError as error:
            if not is_full(error):
                raise
            return Outcome(error=DISK_FULL)
        except MemoryError:
            return Outcome(error=f"{_FILE} needs more memory than there is: make it smaller")

    def _predicted(self, job: Job, observer: Observer) -> int | None:
        config = self._spool.config(job.id)
        settings = job_settings(self._settings, job.task, config if config.is_file() else None)
        source = self._source(job, settings.settings)
        place = self._spool.attempt(job.id, job.attempt) / stem(job.source)
        words = self._spool.metadata(job.id)
        metadata = words.read_text(encoding="utf-8") if words.is_file() else ""
        kind = kind_named(settings.settings.tasks[job.task].kind)
        # an archive that sent a series is told why its results are no DICOM objects
        wanted = self._spool.dicom_wanted(job.id).is_file()
        project = project_of(
            settings.settings,
            {place.name: source},
            task=job.task,
            results=place.parent,
            metadata=metadata,
            dicom_output=wanted or (writes_dicom(kind) and _fits_dicom(source, metadata)),
        )
        self._check_voxels(project, place.name, source)
        if config.is_file():
            _check_windows(project, place.name)
        if project.layout(place.name) == "tiles":
            _, summary = predict_folder(project, place.name, observer=observer)
            write_summary(place / "summary.json", asdict(summary))
            self._prepare_viewer(job, project, place.name, observer)
            return None
        result = predict_scan(project, place.name, observer=observer)
        if result.error is not None:
            if any(words in result.error for words in _NO_SPACE):
                raise StoreError(DISK_FULL)
            if not result.foreseen:
                # its text may hold anything
                raise SourceError(failed_at_file(result.error.partition(":")[0]))
            raise ParafoveaError(result.error)
        if not kind.counted:
            write_summary(place / "summary.json", asdict(MosaicSummary.of(result, place)))
        self._prepare_viewer(job, project, place.name, observer)
        return result.found if kind.counted else None

    def _prepare_viewer(self, job: Job, project: Project, name: str, observer: Observer) -> None:
        """Make what the page shows of the results, unless an archive gets them.

        Results are complete without it, so that its failure is logged and no more.
        """
        if self._spool.dicom_wanted(job.id).is_file():
            return
        observer(STAGE, 1.0)
        folder = self._spool.viewer(job.id, job.attempt)
        try:
            write_viewer_files(project, name, folder)
        except (ParafoveaError, OSError) as error:
            # its text may hold names
            kind = type(error).__name__
            LOGGER.warning("job %s has nothing for the page to show (%s)", job.id, kind)
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _working_folder(self, job: Job) -> Iterator[None]:
        """Work in a folder with links to the upload and to what lies in the service's own folder.

        So paths of the config are found, and results state the name of the scan and no path of
        this machine, as if `parafovea predict` had been run beside it.
        """
        here = Path().absolute()
        folder = self._spool.working(job.id, job.attempt)
        folder.mkdir(mode=0o700)
        (folder / job.source).symlink_to(self._spool.upload(job.id) / job.source)
        for place in here.iterdir():
            link = folder / place.name
            if (
                not place.name.startswith(".")
                and place != self._spool.root
                and not link.is_symlink()
            ):
                link.symlink_to(place)
        with contextlib.chdir(folder):
            yield

    def _source(self, job: Job, settings: Settings) -> str:
        """Return the scan of a job, or the folder of its tiles, which are unpacked."""
        upload = Path(job.source)
        if upload.suffix.lower() != ".zip":
            return str(upload)
        kind = kind_named(settings.tasks[job.task].kind)
        archive = Archive.opened(upload, max_unpacked=self._service.max_unpacked)
        if "tiles" not in kind.stages or not archive.holds_tiles(images=kind.images_are_tiles):
            return str(upload)
        needed = sum(archive.members.values()) + self._service.min_free
        if needed > self._spool.free():
            raise StoreError(DISK_FULL)
        folder = Path(stem(job.source))
        while folder.is_symlink():
            # a folder of the service, such as that of its models, has this name
            folder = folder.with_name(f"{folder.name}_tiles")
        archive.unpack(folder)
        if not is_tile_folder(str(folder), images=kind.images_are_tiles, results=settings.results):
            raise SourceError("the archive holds no folder of tiles: zip NPZ or GeoTIFF tiles")
        return str(folder)

    def _check_voxels(self, project: Project, name: str, source: str) -> None:
        """Refuse what the header of a source promises before anything is made of it."""
        most = self._service.max_voxels
        if project.layout(name) == "tiles":
            counts = [n * height * width for (height, width), n in project.tile_sizes(name).items()]
            voxels = sum(counts)
        else:
            unread = project.unread(name)
            if unread is not None:
                raise SourceError(without_sheet(unread))
            grid, recipe = project.grid(name), project.recipe(name)
            extent = zip(grid.shape, grid.spacing, recipe.spacing, strict=True)
            resampled = prod(max(1.0, n * own / wanted) for n, own, wanted in extent)
            voxels = max(prod(grid.shape), int(min(resampled, 2**62)))
        if voxels > most:
            raise SourceError(
                f"{source} has {voxels} voxels at the spacing of the file or of the model, and at "
                f"most {most} are predicted here: crop it"
            )

    def _members(self, job: Job) -> list[tuple[str, str]]:
        """Return the names of the files of an archive, longer ones first, with what they become."""
        if not job.source.lower().endswith(".zip"):
            return []
        try:
            archive = Archive.opened(
                self._spool.upload(job.id) / job.source, max_unpacked=self._service.max_unpacked
            )
        except Refusal:
            return []
        found: dict[str, str] = {}
        for number, member in enumerate(sorted(archive.members), start=1):
            place = PurePosixPath(member)
            label = f"file {number} of {len(archive.members)} (by name)"
            names = [member, place.name]
            # a plain word may be one of the message
            if not (place.stem.isalpha() and place.stem.islower()):
                names.append(place.stem)
            found |= {name: label for name in names if len(name) >= SHORTEST_NAME}
        return sorted(found.items(), key=lambda pair: -len(pair[0]))

    def _without_names(self, text: str, job: Job) -> str:
        """Return a message without the names of the client's files and of folders here."""
        name = stem(job.source)
        # what `parafovea predict` says of its option
        text = text.replace("after --metadata", "in the field metadata")
        for words, label in self._members(job):
            text = text.replace(f"{job.source}:{words}", label).replace(words, label)
        text = re.sub(rf"{re.escape(str(self._spool.root))}\S*", _FILE, text)
        text = text.replace(job.source, _FILE)
        if len(name) >= SHORTEST_NAME:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _FILE, text)
        return text


def _fits_dicom(source: str, metadata: str) -> bool:
    """Return whether results of an upload are written as DICOM objects, too.

    A client who uploads a series does not ask for them, so that one to which they cannot refer is
    predicted without.
    """
    return is_installed("highdicom") and output_problem(source, metadata) is None
