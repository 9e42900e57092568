"""The command line: tools for checking, planning and predicting besides the workflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from parafovea import __version__
from parafovea.cli.detections import app as detection_commands
from parafovea.cli.engines import (
    Address,
    Engine,
    NumGpus,
    RayOptions,
    cluster_bar,
    ray_options,
)
from parafovea.cli.import_backbone import app as backbone_commands
from parafovea.cli.import_model import app as import_commands
from parafovea.cli.new_project import app as project_commands
from parafovea.cli.pacs import app as archive_commands
from parafovea.cli.predict import app as prediction_commands
from parafovea.cli.project_options import Configs, Snakefile, project_of_configs, scripts_of
from parafovea.cli.serve import app as service_commands
from parafovea.cli.share import app as sharing_commands
from parafovea.cli.terminal import (
    console,
    errors,
    finite,
    followed,
    print_table,
    readable_errors,
)
from parafovea.cli.view import app as viewing_commands
from parafovea.config import Project
from parafovea.config.documentation import schema_text, table_text, with_table
from parafovea.config.extras import require_packages
from parafovea.config.messages import suggestion
from parafovea.errors import ConfigError
from parafovea.kinds.stages import removable, steps
from parafovea.runtime.runs import require_writable
from parafovea.runtime.writers import writing

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(project_commands)
app.add_typer(prediction_commands)
app.add_typer(detection_commands)
app.add_typer(viewing_commands)
app.add_typer(service_commands)
app.add_typer(archive_commands, name="pacs")
app.add_typer(import_commands)
app.add_typer(backbone_commands)
app.add_typer(sharing_commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"parafovea {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Segmentation with local and context features. The workflow itself is run with snakemake."""


@app.command()
def doctor() -> None:
    """Print versions, devices, codecs and plugins, for a bug report."""
    from parafovea.cli.doctor import diagnose

    with readable_errors():
        groups = diagnose()
    for group, facts in groups.items():
        console.print(f"[bold]{escape(group)}[/]")
        for name, value in facts.items():
            console.print(f"  {escape(f'{name:26s} {value}')}", highlight=False)


@app.command()
def licences() -> None:
    """List the packages that are needed and installed, with their licences."""
    from parafovea.runtime.licences import installed_licences

    print_table([["package", "version", "licence"], *map(list, installed_licences())])


@app.command()
def check(config: Configs = None) -> None:
    """Check config, sheet, models and the headers of all files, and list the inputs."""
    from parafovea.config.source_headers import header_problems

    with readable_errors():
        project = project_of_configs(config)
        require_packages(project)
        require_writable(Path(project.settings.results))
        failed = header_problems(project, followed(tuple(project.samples), "Reading headers"))
    for name, sample in project.samples.items():
        if name in failed:
            continue
        recipe = project.recipe(name)
        spacing = " x ".join(f"{s:g}" for s in recipe.spacing)
        tiles = project.layout(name) == "tiles"
        parts = "tiles" if tiles else f"{project.shards(name)} shard(s)"
        use = parts if name in project.predicted else "for training"
        console.print(f"[bold]{escape(name)}[/]")
        for key, value in (
            ("task", f"{sample.task}, at {spacing} {recipe.unit}, {use}"),
            ("source", _with_path(sample.source, project.source(name))),
            ("truth", _with_path(sample.truth, project.truth(name))),
            ("metadata", sample.metadata),
        ):
            if value:
                console.print(f"  {key:9s} {escape(value)}", highlight=False)
        for note in _sample_notes(project, name):
            console.print(f"  [yellow]note[/]      {escape(note)}", highlight=False)
    for model, task in project.trained.items():
        console.print(f"{escape(model)} is trained by task {escape(task)}", highlight=False)
    for notice in project.notices:
        console.print(f"[yellow]note[/] {escape(notice)}", highlight=False)
    for line in project.failure_lines(failed):
        errors.print(f"[bold red]error[/] {escape(line)}", highlight=False)
    good = len(project.samples) - len(failed)
    if failed:
        console.print(f"{good} of {len(project.samples)} samples OK", highlight=False)
        raise typer.Exit(1)
    console.print(f"{good} samples OK", highlight=False)


def _sample_notes(project: Project, name: str) -> list[str]:
    """Return what a user should know about a sample that can be run."""
    notes = []
    if project.archived(name):
        notes.append(f"its finished results are kept, but not made again: {project.absent[name]}")
    elif unread := project.unread_tiles(name):
        notes.append(f"{unread} of its tiles cannot be read; they will stand in quarantine.tsv")
    return notes


def _with_path(said: str | None, path: str | None) -> str | None:
    """Return the sheet's value, with the path that it resolves to if different."""
    return said if said == path else f"{said}, {path}"


@app.command()
def plan(
    sample: Annotated[
        list[str] | None, typer.Option(help="Sample in the sheet; may be repeated. Default: all.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure the models' speed first and store it."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write a TSV with a line per stage.")
    ] = None,
    config: Configs = None,
) -> None:
    """Forecast windows, shards, time, memory and disk of a run, and list wasteful settings."""
    from parafovea.cli.plan_command import print_plan

    with readable_errors(output):
        project = project_of_configs(config)
        names = tuple(project.require(name).name for name in sample or project.predicted)
        print_plan(project, names, measure=measure, output=output)


@app.command()
def run(
    sample: Annotated[
        list[str] | None,
        typer.Option(help="Sample in the sheet; with --engine ray may be repeated. Default: all."),
    ] = None,
    engine: Engine = "local",
    address: Address = None,
    num_gpus: NumGpus = None,
    config: Configs = None,
    snakefile: Snakefile = None,
) -> None:
    """Run the stages of samples and of their dependencies, without snakemake.

    Results that are current are kept. In this process one sample runs, on Ray one, some or all.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    names = tuple(sample or ())
    with readable_errors():
        on_ray = ray_options(engine, address, num_gpus)
        if on_ray is None and len(names) != 1:
            raise ConfigError(
                f"{len(names) or 'no'} samples are named, but one runs at a time in this process: "
                "give one with --sample, use snakemake, or --engine ray"
            )
        project = project_of_configs(config)
        for name in names:
            project.require(name)
        if on_ray is not None:
            failed = _run_on_ray(project, names, on_ray, snakefile)
        else:
            failed = False
            _run_here(project, names[0], snakefile)
    if failed:
        raise typer.Exit(1)


def _run_here(project: Project, name: str, snakefile: Path | None) -> None:
    """Run a sample in this process, and print where its report is."""
    from parafovea.config.source_headers import check_headers

    require_packages(project, (*project.upstream(name), name))
    check_headers(project, (name,))
    # loads torch, which takes seconds: only for an existing sample
    from parafovea.drivers.one_process import run_chain
    from parafovea.planning.staleness import Staleness

    staleness = Staleness(project, scripts=scripts_of(snakefile))
    chain = (*project.upstream(name), name)
    with writing(*(Path(project.folder(each)) for each in chain)):
        page = run_chain(project, name, staleness)
    console.print(f"The report is {escape(str(page))}", highlight=False)


def _run_on_ray(
    project: Project, names: tuple[str, ...], options: RayOptions, snakefile: Path | None
) -> bool:
    """Run samples on a Ray cluster, print where the reports are, and return whether any failed."""
    from parafovea.drivers.ray.samples import run_samples
    from parafovea.planning.staleness import Staleness

    staleness = Staleness(project, scripts=scripts_of(snakefile))
    chain = [each for name in names for each in (*project.upstream(name), name)]
    folders = [Path(project.folder(each)) for each in dict.fromkeys(chain)]
    with (
        options.cluster() as cluster,
        writing(*(folders or [Path(project.settings.results)])),
        cluster_bar() as show,
    ):
        done = run_samples(
            cluster, project, staleness, names, num_gpus=options.num_gpus, progress=show
        )
    for name, reason in done.failed.items():
        errors.print(f"[bold red]error[/] {escape(f'{name}: {reason}')}", highlight=False)
    for page in done.pages:
        console.print(f"The report is {escape(str(page))}", highlight=False)
    if done.outcome:
        console.print(escape(done.outcome), highlight=False)
    return bool(done.failed)


@app.command()
def status(config: Configs = None, snakefile: Snakefile = None) -> None:
    """Show which results of each sample are current, stale or missing, and its disk usage."""
    from parafovea.drivers.status import job_status, other_status, reasons, sample_status
    from parafovea.planning.staleness import Staleness
    from parafovea.storage.layout import bytes_text, disk_use

    with readable_errors():
        project = project_of_configs(config)
        staleness = Staleness(project, scripts=scripts_of(snakefile))
        found = job_status(staleness)
    samples = sample_status(project, found)
    rows = [["sample", *steps(), "disk"]]
    rows += [
        [s.name, *(s.steps[each] for each in steps()), bytes_text(s.bytes_used)] for s in samples
    ]
    print_table(rows)
    for rule, words in other_status(found).items():
        console.print(f"{escape(rule)}: {words}", highlight=False)
    for line in project.failure_lines():
        console.print(f"[yellow]not run[/] {escape(line)}", highlight=False)
    for reason in reasons(staleness, found):
        console.print(escape(reason), highlight=False)
    results = Path(project.settings.results)
    console.print(f"{escape(str(results))} uses {bytes_text(disk_use(results))}", highlight=False)


@app.command()
def clean(
    stage: Annotated[
        list[str], typer.Option(help="Step or stage whose results to remove; may be repeated.")
    ],
    sample: Annotated[
        list[str] | None, typer.Option(help="Sample in the sheet; may be repeated. Default: all.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Remove nothing, only list.")
    ] = False,
    config: Configs = None,
) -> None:
    """Remove the results of steps, for all or some samples, and report the freed space."""
    from parafovea.drivers.idle import require_idle
    from parafovea.storage.layout import bytes_text, matching, remove

    with readable_errors():
        project = project_of_configs(config)
        known = removable()
        for name in stage:
            if name not in known:
                raise ConfigError(
                    f"step {name!r} is not known{suggestion(name, known) or ':'} steps are "
                    f"{', '.join(steps())}"
                )
        patterns = [pattern for name in stage for pattern in known[name]]
        samples = [project.require(name).name for name in sample or project.samples]
        if not dry_run:
            require_idle(project, samples)
        freed = count = 0
        for name in dict.fromkeys(samples):
            folder = Path(project.folder(name))
            for removal in remove(matching(folder, patterns), dry_run=dry_run):
                path, size = escape(str(removal.path)), bytes_text(removal.freed)
                console.print(f"{path}  {size}", highlight=False)
                freed += removal.freed
                count += 1
    verb = "would be removed" if dry_run else "removed"
    would = "would be freed" if dry_run else "freed"
    console.print(f"{count} results {verb}, {bytes_text(freed)} {would}.", highlight=False)


@app.command()
def phantom(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    kind: Annotated[
        Literal["cell", "chest", "patient"],
        typer.Option(help="Kind of phantom; a patient is a chest that varies as real ones do."),
    ] = "cell",
    shape: Annotated[
        tuple[int, int, int] | None, typer.Option(help="Voxels along z y x; default: the kind's.")
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Voxel size along z y x in nanometer; for a chest in millimeter."),
    ] = None,
) -> None:
    """Make a phantom volume with true classes and objects; a chest as NIfTI with a table."""
    from parafovea.config.schema import PHANTOM_SIZES, ChestSettings
    from parafovea.storage.layout import record_place
    from parafovea.storage.records import forget_record
    from parafovea_phantoms.make_phantom import make_phantom

    stem, size = f"{kind}_seed{seed}", PHANTOM_SIZES[kind]
    varied = {"variety": size.variety} if isinstance(size, ChestSettings) else {}
    scan = size.unit == "millimeter"
    suffix = ".nii.gz" if scan else ".ome.zarr"
    volume = output / f"{stem}{suffix}"
    with readable_errors(output), writing(output, shared=True):
        forget_record(record_place(str(volume), folder=not scan))
        make_phantom(
            volume,
            output / f"{stem}_truth{suffix}",
            output / f"{stem}_objects{suffix}",
            output / f"{stem}_regions{suffix}" if scan else None,
            output / f"{stem}_nodules.csv" if scan else None,
            kind=kind,
            seed=seed,
            shape=shape or size.shape,
            spacing=spacing or size.spacing,
            unit=size.unit,
            **varied,
        )
    console.print(f"{escape(str(output / stem))}{suffix}, its truth and its objects are written.")


@app.command()
def export_model(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write; for openvino, a folder.")
    ],
    form: Annotated[
        Literal["torchscript", "onnx", "openvino"],
        typer.Option("--format", help="onnx and openvino need the extra of the same name."),
    ] = "torchscript",
) -> None:
    """Export a model's network to other runtimes, checked against torch."""
    from parafovea.models.export import export_model as export

    with readable_errors(output):
        difference = export(model, output, form=form)
    console.print(
        f"{escape(str(output))} is written; its probabilities differ from torch in float32 by at "
        f"most {difference:.1e}.",
        highlight=False,
    )


@app.command()
def merge_masks(
    mask: Annotated[
        list[str],
        typer.Option("-c", "--class", help="NAME=PATTERN of a class's mask; the last one wins."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="TIFF stack to write.")],
    threshold: Annotated[
        float,
        typer.Option(callback=finite, help="Threshold: voxels above it belong to the class."),
    ] = 0,
) -> None:
    """Merge binary masks into one stack of class indices, for the sheet's truth column."""
    from parafovea.formats.class_masks import merge_masks as merge

    with readable_errors(output):
        counts = merge(_masks(mask), output, threshold=threshold)
    for name, (index, voxels) in counts.items():
        console.print(f"{index}  {escape(name)}: {voxels} voxels", highlight=False)
    console.print(f"{escape(str(output))} is written; 0 is background.", highlight=False)


def _masks(texts: list[str]) -> dict[str, str]:
    masks: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ConfigError(
                f"{text!r} is not NAME=PATTERN: for example mitochondrion='masks/*.png'"
            )
        if name in masks:
            raise ConfigError(f"class {name!r} is given twice: keep one")
        masks[name] = path
    return masks


@app.command()
def config_docs(
    folder: Annotated[Path, typer.Option(help="Folder of README.md and the schema.")] = Path(
        "config"
    ),
) -> None:
    """Update the config's JSON schema and the parameter table of its README."""
    from parafovea.storage.store import replacing

    readme = folder / "README.md"
    with readable_errors(folder):
        if not readme.is_file():
            raise ConfigError(f"{readme} does not exist: run this in the root of the repository")
        page = with_table(readme.read_text(encoding="utf-8"), table_text())
        for path, text in ((readme, page), (folder / "config.schema.json", schema_text())):
            with replacing(path) as partial:
                partial.write_text(text, encoding="utf-8")
    console.print(f"{escape(str(folder))} is up to date.", highlight=False)
