"""Kinds of tasks are data: what a kind names is there, and nobody else asks for a kind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from parafovea.kinds import Kind, kind_named, kinds
from parafovea.kinds.reference import module_of, resolve

ROOT = Path(__file__).parents[2]

NAMES = frozenset(kinds())


def references(kind: Kind) -> dict[str, str]:
    """Return all references of a kind, by where they stand."""
    plain = ("metrics", "tile_measures", "objective", "count", "problems")
    found = {name: getattr(kind, name) for name in plain if getattr(kind, name) is not None}
    found |= {f"blocks.{name}": reference for name, reference in kind.blocks.items()}
    return found | {f"cohort_page.{name}": page for name, page in kind.cohort_page.items()}


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param(reference, id=f"{kind.name}.{where}")
        for kind in kinds().values()
        for where, reference in references(kind).items()
    ],
)
def test_what_a_kind_refers_to_is_there(reference: str) -> None:
    found = resolve(reference)
    assert callable(found)
    assert found.__module__ == module_of(reference), "refer to it where it is defined"


def test_a_kind_has_a_result_and_a_page_for_each_of_its_layouts() -> None:
    for kind in kinds().values():
        assert set(kind.results) == set(kind.stages) == set(kind.cohort_page)
        for layout, result in kind.results.items():
            written = {pattern for stage in kind.stages[layout] for pattern in stage.patterns}
            assert result in written
        assert (kind.tile_measures is not None) == any(
            stage.name == "measure_tiles" for each in kind.stages.values() for stage in each
        )


def test_a_kind_is_found_by_its_name_and_the_default_comes_first() -> None:
    assert {name: kind_named(name).name for name in kinds()} == {name: name for name in NAMES}
    assert next(iter(kinds())) == "segmentation"
    assert [kind.name for kind in kinds().values() if kind.exclusive] == ["segmentation"]
    with pytest.raises(KeyError):
        kind_named("segmentatio")


def test_kinds_share_no_block() -> None:
    every = [name for kind in kinds().values() for name in kind.blocks]
    assert len(every) == len(set(every))


def comparisons(source: str) -> Iterator[int]:
    """Yield the lines of Python code that compare something with the name of a kind.

    Also a dict by the names of several, and a `match`, counts.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            values = [value for each in operands for value in _constants(each)]
        elif isinstance(node, ast.Dict):
            keys = [value for key in node.keys if key is not None for value in _constants(key)]
            # a single one may be the name of a config block
            values = keys if len(NAMES.intersection(keys)) > 1 else []
        elif isinstance(node, ast.MatchValue):
            values = list(_constants(node.value))
        else:
            continue
        if NAMES & {value for value in values if isinstance(value, str)}:
            yield node.lineno


def _constants(node: ast.expr) -> Iterator[object]:
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for each in node.elts:
            yield from _constants(each)


def test_comparisons_with_a_kind_are_seen_and_those_of_other_things_are_not() -> None:
    asking = (
        'kind == "segmentation"',
        'spec.kind != "detection"',
        'kind in ("segmentation", "refinement")',
        'kind not in {"detection"}',
        '"refinement" == recipe.kind',
        '{"detection": 1, "refinement": 2}[kind]',
    )
    for text in asking:
        assert list(comparisons(text)) == [1], text
    other = (
        'dtype.kind == "f"',
        'kind == "chest"',
        'folder_names("segmentation")',
        "a.kind == b.kind",
        '{"detection": 1, "triage": 2}',
    )
    for text in other:
        assert list(comparisons(text)) == [], text


def test_nobody_but_the_kinds_asks_for_a_kind() -> None:
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        if not file.is_relative_to(ROOT / "src/parafovea/kinds"):
            where = file.relative_to(ROOT).as_posix()
            found += [f"{where}:{line}" for line in comparisons(file.read_text(encoding="utf-8"))]
    names = "|".join(sorted(NAMES))
    workflow = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*"))]
    for file in (*workflow, *sorted((ROOT / "scripts").glob("*.py"))):
        if file.suffix in (".py", ".smk", "") and file.is_file():
            lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            found += [
                f"{file.relative_to(ROOT).as_posix()}:{number}"
                for number, line in lines
                if re.search(rf"""["']({names})["']""", line)
            ]
    assert found == [], f"{len(found)} places ask for a kind"
