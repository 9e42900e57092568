"""Imports point one way: down the list of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
PACKAGE = ROOT / "src/parafovea"
PHANTOMS = ROOT / "src/parafovea_phantoms"


def rooms() -> list[str]:
    """Return the rooms as the page lists them, those that import from others first."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition("\n## The library, top down\n")
    table, _, _ = text.partition("\n## ")
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.M)


def imported(node: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted target of each import below a node.

    Those in functions count, those for type checkers only do not.

    Parameters
    ----------
    node : ast.AST
        Such as a module.
    package : str
        In which a relative import begins.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from imported(ast.Module([other], []), package)
        elif isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - child.level + 1], *filter(None, [base])])
            yield from ((child.lineno, f"{base}.{alias.name}") for alias in child.names)
        else:
            yield from imported(child, package)


def room_of(name: str) -> str | None:
    """Return the room of a dotted name of the package, None for any other."""
    package, _, inside = name.partition(".")
    return inside.partition(".")[0] or None if package == PACKAGE.name else None


def imports(package: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the room of the importer and the target of each import of a package."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        within = ".".join(parts[:-1])
        room = parts[1] if len(parts) > 1 else ""
        for line, target in imported(ast.parse(file.read_bytes()), within):
            yield f"{file.relative_to(ROOT).as_posix()}:{line}", room, target


def test_every_room_stands_in_the_list_once_and_nothing_else_does() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert sorted(rooms()) == sorted({*folders, "errors", "compat"})


def test_no_module_lies_loose_in_the_package() -> None:
    loose = {path.name for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "compat.py", "errors.py"}


def test_the_names_of_the_guide_may_import_from_all_rooms_and_none_imports_them() -> None:
    assert rooms()[0] == "compat"
    assert [place for place, _, target in imports(PACKAGE) if room_of(target) == "compat"] == []
    assert {room for _, room, target in imports(PACKAGE) if room_of(target) == "guide"} == {"guide"}


def test_no_room_imports_a_room_above_it() -> None:
    depth = {room: number for number, room in enumerate(rooms())}
    upward = [
        f"{place}: {room} imports {target}"
        for place, room, target in imports(PACKAGE)
        # the public names of the package itself are loaded from anywhere when they are asked for
        if room != "__init__" and room_of(target) in depth and depth[room_of(target)] < depth[room]
    ]
    assert upward == [], f"{len(upward)} imports point up"


def test_the_package_imports_its_own_public_names_from_the_rooms_that_define_them() -> None:
    loose = [
        f"{place}: {target}"
        for place, room, target in imports(PACKAGE)
        if room != "__init__"
        and target.startswith("parafovea.")
        and room_of(target) not in rooms()
        and target != "parafovea.__version__"
    ]
    assert loose == []


def test_phantoms_are_a_package_beside_that_the_command_line_alone_imports() -> None:
    found = {room for _, room, target in imports(PACKAGE) if target.startswith(PHANTOMS.name)}
    assert found <= {"cli"}


def test_imports_for_type_checkers_do_not_count_and_those_in_functions_do() -> None:
    text = """
from parafovea.a import b
if TYPE_CHECKING:
    from parafovea.c import d
else:
    from parafovea.e import f
def load():
    from ..g import h
    import parafovea.i
"""
    found = [target for _, target in imported(ast.parse(text), "parafovea.room.inner")]
    assert found == ["parafovea.a.b", "parafovea.e.f", "parafovea.room.g.h", "parafovea.i"]
