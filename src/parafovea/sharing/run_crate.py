"""A Workflow Run RO-Crate of a finished run: what was made from what, by what, when, and by whom.

The facts are those of the records (`storage.records`) and of the results themselves; nothing else
is noted for it. https://www.researchobject.org/workflow-run-crate/profiles/workflow_run_crate/
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from parafovea import __version__
from parafovea.config import Project
from parafovea.errors import ConfigError, StoreError
from parafovea.formats.remote.address import is_address
from parafovea.planning.staleness import Staleness
from parafovea.report.crate_link import with_crate
from parafovea.runtime.file_hash import file_sha256
from parafovea.runtime.licences import installed_licences
from parafovea.runtime.optional_packages import import_extra
from parafovea.runtime.shipped_files import shipped
from parafovea.sharing.checksums import LIST, folder_checksums
from parafovea.sharing.finished_run import FinishedJob, finished_jobs
from parafovea.storage.contents import COMPARED, STAMPS
from parafovea.storage.layout import PAGE, disk_use
from parafovea.storage.records import read_record
from parafovea.storage.store import beside, discard, replacing

METADATA = "ro-crate-metadata.json"

#: Version of RO-Crate on which the profile builds.
VERSION = "1.1"

#: Profiles that the crate conforms to, with their names and versions.
PROFILES: Mapping[str, tuple[str, str]] = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}

#: Terms that RO-Crate 1.1 does not define, of the profile's own vocabulary.
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}

#: Parts of the repository that describe the workflow.
WORKFLOW = ("workflow", "scripts")
MAIN = "workflow/Snakefile"

#: Media types of what is copied, by ending. All other results are arrays, which stay where they
#: are.
DOCUMENTS: Mapping[str, str] = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rst": "text/x-rst",
    ".sha256": "text/plain",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

#: How each file of code is described.
CODE: Mapping[str, str] = {".py": "text/x-python", ".smk": "text/x-snakemake"}

#: Profile of a workflow in Bioschemas.
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"

MIT = "https://spdx.org/licenses/MIT"

README = f"""\
# A run of Parafovea

A Workflow Run RO-Crate, written by `parafovea crate` {__version__}: {METADATA} describes the
workflow, its settings, models and inputs, each job, and the results. Results that are documents
are in `results`, of arrays there are the checksums in `checksums`. `config` holds the settings,
`workflow` and `scripts` the code, `records.json` what each result was made from.
"""

PYTHON = "https://www.python.org/"

#: The time of every file in a ZIP archive, the earliest that it can state.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Statement:
    """What nothing on disk states: whose results they are, and what others may do with them.

    Parameters
    ----------
    licence : str
        SPDX identifier or URL of the licence of the results; "" if none is stated.
    author : str
        Name of the person or group that ran the workflow; "" if none is stated.
    orcid : str
        Their ORCID, as an address; "" for none.
    """

    licence: str = ""
    author: str = ""
    orcid: str = ""


def write_crate(
    project: Project,
    staleness: Staleness,
    output: Path,
    *,
    configs: Sequence[Path],
    statement: Statement | None = None,
    copy_arrays: bool = False,
    linked: bool = False,
) -> int:
    """Write the crate of a finished run.

    Equal results give equal bytes: all times are those of the records.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of its results with what a run would make.
    output : Path
        Folder to write, replaced if it holds a crate, or a file that ends in .zip.
    configs : sequence of Path
        The config files that were read.
    statement : Statement, optional
        Licence of the results, and author.
    copy_arrays : bool
        Whether arrays are copied, too, instead of described by their checksums.
    linked : bool
        Whether the report of all samples gets a link to the crate, for one at `layout.CRATE`.

    Returns
    -------
    int
        Number of entities in the crate.

    Raises
    ------
    ConfigError
        If the output is a folder with anything but a crate in it, or a file that is none.
    MissingExtraError
        If the package `rocrate` is not installed.
    StoreError
        If a result is missing, stale, or changes meanwhile.
    """
    import_extra("rocrate")
    archive = output.suffix.lower() == ".zip"
    _require_place(output, archive=archive)
    jobs = finished_jobs(project, staleness)
    report = Path(project.settings.results, PAGE)
    page = with_crate(report.read_text(encoding="utf-8")) if linked and report.is_file() else None
    builder = _Builder(project, jobs, statement or Statement(), copy_arrays=copy_arrays, page=page)
    crate = builder.build(configs)
    with replacing(output) as partial:
        if archive:
            folder = beside(output, "folder")
            try:
                crate.write(folder)
                _zip(folder, partial)
            finally:
                discard(folder)
        else:
            crate.write(partial)
        _require_unchanged(jobs)
    if page is not None:
        with replacing(report) as partial:
            partial.write_text(page, encoding="utf-8", newline="\n")
    return len(list(crate.get_entities()))


def _require_place(output: Path, *, archive: bool) -> None:
    """Raise `ConfigError` if something else than a crate would be replaced."""
    if archive and output.is_dir():
        raise ConfigError(f"{output} is a folder: name a file, or a folder without .zip")
    if archive and output.is_file() and not zipfile.is_zipfile(output):
        raise ConfigError(f"{output} is no ZIP archive and would be replaced: name another file")
    if not archive and output.is_file():
        raise ConfigError(f"{output} is a file: name a folder, or a file that ends in .zip")
    if not archive and output.is_dir() and any(output.iterdir()):
        if not (output / METADATA).is_file():
            raise ConfigError(
                f"{output} holds other files than a crate, which would be removed: name a new "
                "folder, or one with a crate"
            )
        if Path().absolute().is_relative_to(output.absolute()):
            raise ConfigError(f"{output} is the folder that this runs in: name another one")


def _require_unchanged(jobs: Iterable[FinishedJob]) -> None:
    for each in jobs:
        if read_record(each.order.place) != each.record:
            raise StoreError(
                f"the results of {each.words} changed while they were copied: run this again when "
                "nothing writes them"
            )


def _zip(folder: Path, archive: Path) -> None:
    """Write a folder as a ZIP archive whose bytes follow from the content alone."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix(), ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with file.open("rb") as source, stream.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


class _Builder:
    """Describes a run, entity by entity; each path is described once."""

    def __init__(
        self,
        project: Project,
        jobs: Sequence[FinishedJob],
        statement: Statement,
        *,
        copy_arrays: bool,
        page: str | None,
    ) -> None:
        from rocrate.rocrate import ROCrate

        self._project, self._jobs, self._statement = project, jobs, statement
        self._copy_arrays = copy_arrays
        self._page = page
        self._crate = ROCrate(gen_preview=True, version=VERSION)
        self._crate.metadata.extra_terms.update(TERMS)
        self._entities: dict[str, Any] = {}
        self._models = _named_models(project)

    def build(self, configs: Sequence[Path]) -> Any:
        """Return the crate, which is not written yet."""
        self._describe_root()
        workflow = self._describe_workflow()
        self._describe_software(workflow)
        settings = self._describe_settings(configs, workflow)
        models = self._describe_models()
        actions = [self._describe_job(each) for each in self._jobs]
        self._describe_addresses()
        self._describe_records()
        self._describe_itself()
        made = [
            path for each in self._jobs for path, output in each.outputs.values() if output.kept
        ]
        results = [self._entities[path] for path in dict.fromkeys(made)]
        inputs = [e for path, e in self._entities.items() if path not in set(self._made)]
        report = self._entities.get(f"{self._project.settings.results}/{PAGE}")
        if report is not None:
            self._parameter(workflow, "output", "report", "File", report, "The report of the run.")
        action = self._action(
            "#run",
            name="Run of the workflow",
            description=self._run_words(),
            instrument=workflow,
            object=[*settings, *models, *(each for each in inputs if each not in models)],
            result=results,
            times=self._interval(),
        )
        self._crate.root_dataset["mentions"] = [action, *actions]
        return self._crate

    @property
    def _made(self) -> Iterable[str]:
        return (path for each in self._jobs for path, _ in each.outputs.values())

    def _run_words(self) -> str:
        samples = self._project.predicted
        trained = self._project.trained
        words = f"{len(samples)} samples ({', '.join(samples[:10])}{', …' * (len(samples) > 10)})"
        if trained:
            words += f", and the training of {', '.join(trained)}"
        return f"{len(self._jobs)} jobs for {words}."

    def _interval(self) -> tuple[datetime | None, datetime | None]:
        """Return when the first job began, as far as known, and when the last one ended."""
        ends = [each.ended for each in self._jobs if each.ended is not None]
        starts = [each.began for each in self._jobs if each.began is not None]
        return min(starts, default=None), max(ends, default=None)

    def _describe_root(self) -> None:
        root, statement = self._crate.root_dataset, self._statement
        tasks = ", ".join(dict.fromkeys(each.task for each in self._project.samples.values()))
        root["name"] = f"Run of Parafovea: {tasks}"
        root["description"] = (
            f"Results of the Snakemake workflow Parafovea {__version__} for the task(s) {tasks}, "
            "with the workflow, its settings, models and inputs. Arrays that are not in the crate "
            "are described by their checksums."
        )
        end = self._interval()[1]
        if end is not None:
            root["datePublished"] = end.isoformat()
        root["license"] = self._licence(statement.licence)
        for identifier, (name, version) in PROFILES.items():
            profile = self._context(identifier, "CreativeWork", name=name, version=version)
            root.append_to("conformsTo", profile)
        if statement.author:
            identifier = statement.orcid or "#author"
            person = self._context(identifier, "Person", name=statement.author)
            root["author"] = person

    def _licence(self, stated: str) -> Any:
        if not stated:
            return self._context(
                "#licence-of-results",
                "CreativeWork",
                name="No licence stated",
                description="Nobody has stated what others may do with these results: ask their "
                "author. `parafovea crate --licence` states it. The workflow itself is under MIT.",
            )
        if is_address(stated):
            return self._context(stated, "CreativeWork", name=stated)
        address = f"https://spdx.org/licenses/{quote(stated)}"
        return self._context(address, "CreativeWork", name=stated)

    def _describe_workflow(self) -> Any:
        """Add the workflow with its rules, captions and scripts."""
        licence = self._context(MIT, "CreativeWork", name="MIT License")
        main = self._crate.add_workflow(
            shipped(MAIN), MAIN, main=True, lang="snakemake", lang_version=_version("snakemake")
        )
        self._complete(main, shipped(MAIN), "text/x-snakemake")
        main["name"] = "Parafovea"
        main["description"] = "Segmentation, detection and refinement with local and wider context."
        main["version"] = __version__
        main["conformsTo"] = {"@id": BIOSCHEMAS}
        main["license"] = licence
        files = sorted(
            path
            for part in WORKFLOW
            for path in shipped(part).rglob("*")
            if path.suffix in (*CODE, *DOCUMENTS) and "__pycache__" not in path.parts
        )
        root = shipped("workflow").parent
        for path in files:
            name = path.relative_to(root).as_posix()
            code = path.suffix in CODE
            # rules are parts of the workflow; a script is what its job runs
            kind = {"@type": ["File", "SoftwareSourceCode"] if path.suffix == ".py" else "File"}
            entity = self._crate.add_file(path, name, properties=kind)
            self._complete(entity, path, {**CODE, **DOCUMENTS}[path.suffix])
            if code:
                entity["license"] = licence
                entity["version"] = __version__
            entity["name"] = name
            main.append_to("hasPart", entity)
        return main

    def _describe_software(self, workflow: Any) -> None:
        """Add the packages that are installed, of which those of the run are not recorded."""
        packages = [("Python", platform.python_version(), "PSF-2.0"), *installed_licences()]
        for name, version, licence in packages:
            address = f"https://pypi.org/project/{quote(name)}/{quote(version)}/"
            entity = self._context(
                PYTHON if name == "Python" else address,
                "SoftwareApplication",
                name=name,
                softwareVersion=version,
                url=PYTHON if name == "Python" else address,
                description=f"As installed where this crate was written; licence: {licence}.",
            )
            workflow.append_to("softwareRequirements", entity)

    def _describe_settings(self, configs: Sequence[Path], workflow: Any) -> list[Any]:
        """Add the config files and the sheet."""
        found = []
        taken: set[str] = set()
        sheet = Path(self._project.settings.samples)
        for number, path in enumerate((*configs, sheet)):
            name = path.name if path.name not in taken else f"{number + 1}-{path.name}"
            taken.add(name)
            entity = self._crate.add_file(path, f"config/{name}")
            self._complete(entity, path, DOCUMENTS.get(path.suffix, "text/plain"))
            entity["name"] = path.as_posix()
            what, words = (
                ("samples", "The sample sheet.") if path is sheet else ("config", "Config.")
            )
            key = what if what == "samples" or not number else f"{what}-{number + 1}"
            self._parameter(workflow, "input", key, "File", entity, words)
            found.append(entity)
        return found

    def _describe_models(self) -> list[Any]:
        """Add the description of each model; its weights are among the inputs."""
        found = []
        for folder, name in self._models.items():
            path = folder / "model.json"
            if not path.is_file():
                continue
            entity = self._crate.add_file(path, f"{name}/model.json")
            self._complete(entity, path, "application/json")
            entity["name"] = f"model {name.partition('/')[2]}"
            entity["description"] = "Recipe of the model, with the hashes of its files."
            self._entities[path.as_posix()] = entity
            found.append(entity)
        return found

    def _describe_job(self, each: FinishedJob) -> Any:
        """Add the action of a job with what it read and made."""
        read = [self._input(path, each) for path in self._read(each)]
        read += [self._entities[path] for path in each.order.inputs if path in self._entities]
        made = [self._result(path, output.kept) for path, output in each.outputs.values()]
        identity = "" if each.record is None else each.record.identity
        script = self._crate.get(f"scripts/{each.job.stage.script}.py")
        values = "-".join(value for _, value in each.job.wildcards)
        return self._action(
            f"#job-{each.job.stage.name}-{quote(values, safe='')}".rstrip("-"),
            name=each.words,
            description=f"Record {identity} in records.json." if identity else "Removed after use.",
            instrument=script or self._crate.mainEntity,
            object=read,
            result=made,
            times=(each.began, each.ended),
        )

    def _read(self, each: FinishedJob) -> list[str]:
        """Return the files and folders that a job reads and no job makes."""
        found = dict.fromkeys(each.order.files)
        sample = dict(each.job.wildcards).get("sample")
        if sample is not None and each.job.stage.content.__name__ != "no_content":
            for what in ("source", "truth"):
                folder = self._project.tile_folder(sample, what)
                if folder is not None:
                    found[folder] = None
        return list(found)

    def _describe_addresses(self) -> None:
        """Add the sources at addresses, of which a run remembers the metadata."""
        for name in self._project.samples:
            for path in (self._project.source(name), self._project.truth(name)):
                if path and is_address(path) and path not in self._entities:
                    self._entities[path] = self._context(
                        path, "CreativeWork", name=path, description=f"Read by sample {name}."
                    )

    def _describe_records(self) -> None:
        """Add the records, from which the actions were taken."""
        records = {
            each.order.place: dataclasses.asdict(each.record)
            for each in self._jobs
            if each.record is not None
        }
        text = json.dumps(records, indent=1, sort_keys=True) + "\n"
        entity = self._text("records.json", text, "application/json")
        entity["name"] = "Records of what each result was made from"

    def _describe_itself(self) -> None:
        """Add a README."""
        entity = self._text("README.md", README, "text/markdown")
        entity["name"] = "README.md"
        entity["about"] = self._crate.root_dataset

    def _result(self, path: str, kept: bool) -> Any:
        if path not in self._entities:
            place = Path(path)
            if place.is_dir():
                self._entities[path] = self._folder(place, kept=kept)
            elif self._copied(place):
                self._entities[path] = self._copy(place)
            else:
                self._entities[path] = self._reference(place, hashed=kept)
        return self._entities[path]

    def _copied(self, file: Path) -> bool:
        # DICOM objects name the patient, which only their owner may pass on
        return file.suffix != ".dcm" and (self._copy_arrays or file.suffix in DOCUMENTS)

    def _folder(self, folder: Path, *, kept: bool) -> Any:
        """Add a folder of results: with its files if all are documents, else by reference."""
        files = sorted(
            path for path in folder.rglob("*") if path.is_file() and path.name not in STAMPS
        )
        array = ".zarr" in folder.suffixes
        documents = not array and all(file.suffix in DOCUMENTS for file in files)
        if not kept or not (documents or self._copy_arrays):
            return self._reference(folder, hashed=kept)
        name = self._inside(folder)
        entity = self._crate.add_dataset(dest_path=f"{name}/", properties={"name": name})
        if array:
            entity.source = folder
            self._list(entity, folder)
            return entity
        for file in files:
            entity.append_to("hasPart", self._copy(file))
        return entity

    def _copy(self, file: Path) -> Any:
        if self._page is not None and file == Path(self._project.settings.results, PAGE):
            entity = self._text(self._inside(file), self._page, DOCUMENTS[file.suffix])
            entity["name"] = self._inside(file)
            return entity
        entity = self._crate.add_file(file, self._inside(file))
        self._complete(entity, file, DOCUMENTS.get(file.suffix, "application/octet-stream"))
        entity["name"] = self._inside(file)
        return entity

    def _input(self, path: str, each: FinishedJob) -> Any:
        if path not in self._entities:
            place = Path(path)
            if place.exists():
                self._entities[path] = self._reference(place, hashed=True, follow=True)
            else:
                recorded = "" if each.record is None else each.record.files.get(path, "")
                self._entities[path] = self._context(
                    f"#{quote(_placed(path))}",
                    "CreativeWork",
                    name=path,
                    description="Gone since the run; the identifier is its hash in the records.",
                    identifier=recorded,
                )
        return self._entities[path]

    def _reference(self, path: Path, *, hashed: bool, follow: bool = False) -> Any:
        """Add a file or folder outside the crate, with its checksum or those of its files."""
        name = self._inside(path)
        entity = self._context(f"#{quote(name)}", "CreativeWork", name=name)
        size = disk_use(path) if path.is_dir() else path.stat().st_size
        if not hashed:
            entity["description"] = "An intermediate result, not in the crate."
        elif size > COMPARED:
            entity["description"] = "Not in the crate; too large to be hashed for it."
        elif path.is_dir():
            entity["description"] = "A folder that is not in the crate."
            self._list(entity, path, follow=follow)
        else:
            entity["description"] = "A file that is not in the crate."
            entity["sha256"] = file_sha256(path)
            entity["contentSize"] = str(size)
        return entity

    def _list(self, entity: Any, folder: Path, *, follow: bool = False) -> None:
        """Add the checksums of a folder's files, and their own to its entity."""
        sums = folder_checksums(folder, follow=follow)
        listed = self._text(f"checksums/{self._inside(folder)}{LIST}", sums.text, "text/plain")
        listed["name"] = f"SHA-256 of the files of {self._inside(folder)}"
        listed["description"] = f"{sums.files} files; sha256sum --check in that folder reads it."
        entity["subjectOf"] = listed
        entity["sha256"] = listed["sha256"]
        entity["contentSize"] = str(sums.size)
        entity["description"] = (
            f"{entity.get('description', 'A folder.')} Its SHA-256 is that of the list of its "
            f"{sums.files} files with theirs."
        )

    def _inside(self, path: Path) -> str:
        """Return the path of a result, or of an input, in the crate."""
        results = Path(self._project.settings.results)
        if path.is_relative_to(results):
            return f"results/{path.relative_to(results).as_posix()}"
        for folder, name in self._models.items():
            if path.is_relative_to(folder):
                return f"{name}/{path.relative_to(folder).as_posix()}"
        return _placed(path.as_posix())

    def _complete(self, entity: Any, path: Path, form: str) -> None:
        entity["encodingFormat"] = form
        entity["contentSize"] = str(path.stat().st_size)
        entity["sha256"] = file_sha256(path)

    def _text(self, name: str, text: str, form: str) -> Any:
        content = text.encode()
        entity = self._crate.add_file(io.BytesIO(content), quote(name))
        entity["encodingFormat"] = form
        entity["contentSize"] = str(len(content))
        entity["sha256"] = hashlib.sha256(content).hexdigest()
        return entity

    def _context(self, identifier: str, kind: str, /, **properties: Any) -> Any:
        from rocrate.model.contextentity import ContextEntity

        found = self._crate.get(identifier)
        if found is not None:
            return found
        return self._crate.add(
            ContextEntity(self._crate, identifier, properties={"@type": kind, **properties})
        )

    def _parameter(
        self, workflow: Any, way: str, name: str, kind: str, value: Any, words: str
    ) -> None:
        """Add an input or output of the workflow, and the file that it was in this run."""
        parameter = self._crate.add_formal_parameter(
            name, kind, identifier=f"#parameter-{name}", description=words, valueRequired=True
        )
        parameter["workExample"] = value
        value["exampleOfWork"] = parameter
        workflow.append_to(way, parameter, compact=True)

    def _action(
        self,
        identifier: str,
        *,
        times: tuple[datetime | None, datetime | None],
        **properties: Any,
    ) -> Any:
        action = self._context(identifier, "CreateAction")
        for name, value in properties.items():
            if value:
                # one value stands alone, not in a list
                action[name] = value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, time in zip(("startTime", "endTime"), times, strict=True):
            if time is not None:
                action[name] = time.isoformat()
        action["actionStatus"] = "http://schema.org/CompletedActionStatus"
        if self._statement.author:
            action["agent"] = self._crate.root_dataset["author"]
        return action


def _named_models(project: Project) -> dict[Path, str]:
    """Return the folder of each model with its place in a crate, wherever it lies on this disk."""
    found: dict[Path, str] = {}
    for folder in sorted({project.settings.tasks[name].model for name in project.recipes}):
        name = f"models/{Path(folder).name}"
        taken = [each for each in found.values() if each.partition("~")[0] == name]
        found[Path(folder)] = f"{name}~{len(taken) + 1}" if taken else name
    return found


def _placed(path: str) -> str:
    """Return a path without what leads out of the crate."""
    parts = [part for part in Path(path).parts if part not in ("..", ".", "/")]
    return "/".join(parts)


def _version(package: str) -> str:
    return next((v for name, v, _ in installed_licences() if name.lower() == package), "")
