"""What every declared stage promises to those that read it: rules, drivers, plan and docs."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parafovea.config import Project, read_project
from parafovea.config.loading import read_study
from parafovea.kinds import kinds
from parafovea.kinds.stages import sample_stages, stages

ROOT = Path(__file__).parents[2]
RULES = ROOT / "workflow/rules"

#: Of a job that no sample has, in the project that has every stage.
JOBS: dict[str, dict[str, str]] = {
    "make_phantom": {"kind": "cell", "seed": "1"},
    "make_scan": {"kind": "chest", "seed": "1"},
    "make_landscape": {"kind": "landscape", "seed": "1"},
    "train_model": {"model": "models/new"},
    "summarize_cohort": {},
    "report_failures": {},
    "resample_study_volume": {"member": "cell_seed201"},
    "extract_study_features": {"member": "cell_seed201", "view": "local"},
    "extract_study_context": {"member": "cell_seed201", "view": "4"},
    "train_study_model": {"variant": "attention4", "seed": "0"},
    "score_model": {"variant": "none", "seed": "0"},
    "plot_context_study": {},
    "plot_feature_study": {},
    "draw_measured": {"figure": "windows"},
    "draw_results": {},
    # its sample is no DICOM series, which the stage alone finds out
    "export_dicom": {"sample": "scan"},
}


def jobs_of(project: Project) -> list[tuple[str, dict[str, str]]]:
    """Return a name and wildcards for each job of the samples of a project."""
    return [
        (stage.name, job)
        for sample in project.samples
        for stage in project.stages(sample)
        for job in project.jobs(stage, sample)
    ]


@pytest.fixture
def everything(project_folder: Any, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project whose samples and study have a job of every stage."""
    path: Path = project_folder.path
    monkeypatch.chdir(path)
    spec = json.loads((path / "models/cell/model.json").read_text())
    optical = {
        "kind": "refinement",
        "unit": "meter",
        "spacing": [1, 10, 10],
        "normalization": {"method": "none"},
        "network": {"dimensions": 2, "fusion": "none"},
        "context": None,
        "window": [1, 32, 32],
        "bands": ["B02", "B03", "B04", "B08"],
        "classes": ["B02", "B03", "B04", "B08"],
    }
    nodule = {"kind": "detection", "classes": ["nodule"]}
    for name, changes in (("nodule", nodule), ("optical", optical)):
        (path / "models" / name).mkdir()
        (path / "models" / name / "model.json").write_text(json.dumps({**spec, **changes}))
        (path / "models" / name / "model.safetensors").touch()
    tasks = project_folder.config["tasks"]
    tasks["cell"]["inference"] = {"tta": ["flip_x"], "shards": 2, "window": None}
    tasks["nodules"] = {"kind": "detection", "model": "models/nodule"}
    tasks["optical"] = {"kind": "refinement", "model": "models/optical"}
    training = {"recipe": recipe, "samples": ["c"], "validation": ["d"]}
    tasks["learned"] = {"model": "models/new", "training": training, "predict_training": True}
    (path / "tiles").mkdir()
    np.savez(path / "tiles/one.npz", opt_v1=np.zeros((4, 32, 32), np.float32))
    tasks["large"] = {**tasks["cell"], "blocks": 2}
    cleaned = {"min_voxels": 5, "fill_holes": True, "split_distance": 50}
    postprocess = {"classes": {"mitochondrion": cleaned}}
    tasks["cleaned"] = {**tasks["large"], "postprocess": postprocess}
    for name, task in (
        ("c", "learned"),
        ("d", "learned"),
        ("scan", "nodules"),
        ("e", "large"),
        ("f", "cleaned"),
    ):
        project_folder.add(name, task=task)
    for name, source in (("mosaic", "data/a.tif"), ("fields", "tiles")):
        project_folder.rows.append([name, "optical", source, "", ""])
    project_folder.config["study"] = str(ROOT / "config/study.yaml")
    project_folder.config["measured"] = str(ROOT / "docs/figures")
    project_folder.write()
    return read_project(path / "config/config.yaml")


@pytest.fixture
def calls(everything: Project) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of all stages' functions in the project that has every stage."""
    found = []
    features = replace(everything, study=read_study(ROOT / "config/study_em_features.yaml"))
    for name, job in [*jobs_of(everything), *JOBS.items()]:
        stage = stages()[name]
        project = features if name == "plot_feature_study" else everything
        call = {
            **stage.input_paths(project, job),
            **stage.output_paths(project, job),
            **stage.arguments(project, job),
            **({"clock": None} if stage.clock else {}),
            **({"code": ""} if stage.states_code else {}),
            # the rule states it
            **({"model": "models/new"} if name == "train_model" else {}),
        }
        found.append((name, call))
    return found


def rules() -> dict[str, str]:
    """Return the text of each rule by its name."""
    found = {}
    for file in sorted(RULES.glob("*.smk")):
        parts = re.split(r"^(?:use rule \w+ as|rule) (\w+)", file.read_text(), flags=re.M)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            assert name not in found, f"two rules are called {name}"
            found[name] = text
    return found


@pytest.mark.parametrize("name", stages())
def test_a_stage_has_a_rule_and_a_script_of_its_name(name: str) -> None:
    stage = stages()[name]
    text = rules()[name]
    assert f'**resources("{name}")' in text
    assert f'arguments=arguments("{name}")' in text
    if stage.outputs:
        assert f'**outputs("{name}")' in text
    if stage.sized_by != "phantom":
        assert f'unpack(inputs("{name}"))' in text
    script = ROOT / f"scripts/{stage.script}.py"
    assert f"from {stage.module} import {stage.script}\n" in script.read_text()
    if not stage.function:
        assert f'"../../scripts/{stage.script}.py"' in text


def test_a_stage_of_samples_has_a_rule_file_of_its_name_unless_it_runs_anothers_script() -> None:
    for stage in stages().values():
        if stage.sized_by == "sample" and not stage.function:
            assert (RULES / f"{stage.name}.smk").is_file()


def test_every_rule_and_every_script_is_of_a_stage() -> None:
    assert set(rules()) - set(stages()) == {"figures"}
    scripts = {file.stem for file in (ROOT / "scripts").glob("*.py")}
    assert scripts == {stage.script for stage in stages().values()}


def test_the_project_of_these_tests_has_every_stage(
    calls: list[tuple[str, dict[str, Any]]],
) -> None:
    assert {name for name, _ in calls} == set(stages())


@pytest.mark.parametrize("name", stages())
def test_a_function_takes_what_its_stage_declares(
    name: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    stage = stages()[name]
    takes = inspect.signature(stage.load()).parameters
    given: dict[str, Any] = {}
    for called, call in calls:
        given |= call if called == name else {}
    declared = {*stage.inputs, *stage.outputs, *given}
    assert declared - set(takes) == set(), f"{stage.module} does not take them"
    # what tests or other callers add is optional and keyword-only
    more = [takes[each] for each in takes if each not in declared]
    assert [str(each) for each in more if each.default is inspect.Parameter.empty] == []
    # of a phantom, another stage may make more parts
    if stage.package == "parafovea.stages":
        assert {each.kind for each in more} <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", stages())
def test_every_call_of_a_job_fits_the_function(
    name: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    signature = inspect.signature(stages()[name].load())
    own = [call for called, call in calls if called == name]
    assert own
    for call in own:
        signature.bind(**call)


def test_arguments_are_plain_values(calls: list[tuple[str, dict[str, Any]]]) -> None:
    for name, call in calls:
        assert json.loads(json.dumps(call)) == call, name


@pytest.mark.parametrize("files", [(), ("tile_chain.yaml",)], ids=["config", "tile_chain"])
def test_arguments_of_the_configs_that_come_along_are_plain_values(
    files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = Path("config")
    project = read_project(config / "config.yaml", *(config / name for name in files))
    jobs = [*jobs_of(project), ("summarize_cohort", {})]
    assert {name for name, _ in jobs} > {"predict_tiles", "render_tiles"}
    for name, job in jobs:
        arguments = stages()[name].arguments(project, job)
        assert json.loads(json.dumps(arguments)) == arguments, name


def test_arguments_inputs_and_outputs_of_a_stage_have_names_of_their_own(
    everything: Project,
) -> None:
    for name, job in [*jobs_of(everything), *JOBS.items()]:
        stage = stages()[name]
        names = [*stage.inputs, *stage.outputs, *stage.arguments(everything, job)]
        assert len(names) == len(set(names)), name
        # those of the rules, which no function takes
        assert not {*names} & {"content", "waits", "code", "clock"}, name
        assert set(stage.references) <= set(stage.arguments(everything, job)), name


def places(*names: str) -> list[str]:
    """Return where stages write, without the constraints of wildcards."""
    return [
        re.sub(r"{([a-z]+),[^}]*}", r"{\1}", output.path)
        for name in names
        for output in stages()[name].outputs.values()
    ]


def test_no_two_stages_of_a_sample_write_one_place() -> None:
    for kind in kinds().values():
        for layout in kind.stages:
            for blocks in (1, 2):
                found = places(*(each.name for each in sample_stages(kind, layout, blocks=blocks)))
                assert len(found) == len(set(found)), (kind.name, layout)
                assert {path.split("/")[0] for path in found} == {"{sample}"}


def test_blocks_end_in_the_results_that_one_block_has() -> None:
    for kind in kinds().values():
        for layout in kind.stages:
            one, several = (
                {
                    output.path
                    for stage in sample_stages(kind, layout, blocks=blocks)
                    for output in stage.outputs.values()
                    if output.kept
                }
                for blocks in (1, 2)
            )
            assert one == several


def test_no_two_stages_of_anything_else_write_one_place() -> None:
    others = [name for name, stage in stages().items() if stage.sized_by != "sample"]
    found = places(*others)
    assert len(found) == len(set(found))
    assert not [path for path in found if path.startswith("{sample}/")]


def test_a_stage_that_several_kinds_have_is_one() -> None:
    for kind in kinds().values():
        for layout in kind.stages:
            for stage in sample_stages(kind, layout):
                assert stages()[stage.name] is stage


def test_wildcards_of_outputs_are_those_of_the_jobs(everything: Project) -> None:
    for name, job in [*jobs_of(everything), *JOBS.items()]:
        assert stages()[name].wildcards <= set(job), name
