"""The fingerprint of a stage's code: it changes when what the stage runs changes, and only then.

Snakemake sees a change of a script, not of the modules that the script imports. Each rule carries
the fingerprint of its script as a param instead. Modules are read, not imported, so that planning
stays quick.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class _Code:
    """What a file of Python code says.

    Parameters
    ----------
    text : str
        What it runs, without layout, comments and docstrings.
    imports : tuple of str
        Dotted targets of its imports, relative ones with their dots.
    lazy_names : frozenset of str
        Names that its module-level `__getattr__` answers to.
    lazy_imports : tuple of str
        What it imports when it is asked for one of them.
    """

    text: str = ""
    imports: tuple[str, ...] = ()
    lazy_names: frozenset[str] = frozenset()
    lazy_imports: tuple[str, ...] = ()


def fingerprint(script: Path, *, root: Path = ROOT, own: bool = False) -> str:
    """Return a hash over all modules of the package that a script imports, to any depth.

    Files beside the modules, such as templates, count where a module of their package is imported.
    Comments, docstrings and layout do not count, nor do imports for type checkers only. Imports
    by a computed name are not seen. The script itself is Snakemake's to watch.

    Parameters
    ----------
    script : Path
        File of Python code.
    root : Path
        Folder of the package.
    own : bool
        Count the file itself, too: for a module that no script of Snakemake runs.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If there is no such script.
    """
    digest = hashlib.sha256(_read(script).text.encode() if own else b"")
    return _hash(modules(script, root=root), digest, root)


def _hash(names: Iterable[str], digest: hashlib._Hash, root: Path) -> str:
    for name in names:
        file = _file(name, root)
        digest.update(f"{name}\0{_read(file).text}\0".encode())
        if file is not None and file.name == "__init__.py":
            for path in _data(file.parent):
                digest.update(f"{path.relative_to(root.parent).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def code_fingerprint(names: Iterable[str], *, root: Path = ROOT) -> str:
    """Return a hash over some modules, with all that they import, to any depth.

    Parameters
    ----------
    names : iterable of str
        Full dotted names.
    root : Path
        Folder of the package.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return _hash(_closure(set(names), root), hashlib.sha256(), root)


def modules(script: Path, *, root: Path = ROOT) -> tuple[str, ...]:
    """Return the sorted names of the modules that a script runs, also of packages beside its own.

    Parameters
    ----------
    script : Path
        File of Python code.
    root : Path
        Folder of the package.

    Returns
    -------
    tuple of str
        What it imports of the package, and of packages beside it whose names begin with its name,
        to any depth, and the packages around them.

    Raises
    ------
    FileNotFoundError
        If there is no such script.
    """
    return _closure(
        {
            name
            for target in _read(script).imports
            if not target.startswith(".")
            for name in _resolved(target, "", script, root)
        },
        root,
    )


def _closure(waiting: set[str], root: Path) -> tuple[str, ...]:
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting |= _direct(name, root) - found
    return tuple(sorted(found))


@functools.cache
def _direct(name: str, root: Path) -> frozenset[str]:
    """Return what a module imports itself, with the packages that are run on the way to it."""
    file = _file(name, root)
    targets = (_resolved(target, name, file, root) for target in _read(file).imports)
    return frozenset(_packages(name)).union(*targets)


def _packages(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


@functools.cache
def _file(name: str, root: Path) -> Path | None:
    """Return the file of a module, by its full name; None where there is none."""
    path = root.parent.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _data(folder: Path) -> tuple[Path, ...]:
    """Return the sorted files of a package that are not code, without those of its subpackages."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").is_file():
                found += _data(path)
        elif path.suffix not in (".py", ".pyc") and path.name != "py.typed":
            found.append(path)
    return tuple(found)


def _resolved(target: str, importer: str, file: Path | None, root: Path) -> Iterator[str]:
    """Yield the modules of the packages that an import statement's target names, if any."""
    dots = len(target) - len(target.lstrip("."))
    words = [word for word in target[dots:].split(".") if word]
    if dots:
        base = importer.split(".")
        up = dots - (1 if file is not None and file.name == "__init__.py" else 0)
        words = base[: len(base) - up] + words
    elif words[0] != root.name and not words[0].startswith(f"{root.name}_"):
        return
    # the last words may name something inside of a module
    inside = ""
    while words and _file(".".join(words), root) is None:
        inside = words.pop()
    if not words:
        return
    name = ".".join(words)
    yield name
    named = _file(name, root)
    if inside in _read(named).lazy_names and named != file:
        for lazy in _read(named).lazy_imports:
            yield from _resolved(lazy, name, named, root)


@functools.cache
def _read(file: Path | None) -> _Code:
    """Return what a file of code says; nothing where there is none."""
    if file is None:
        return _Code()
    tree = ast.parse(file.read_bytes())
    lazy = [each for each in tree.body if _named(each, "__getattr__")]
    code = _Code(
        imports=tuple(_imports([each for each in tree.body if each not in lazy])),
        lazy_names=frozenset(
            node.value
            for each in lazy
            for node in ast.walk(each)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ),
        lazy_imports=tuple(_imports(lazy)),
    )
    _drop_texts(tree)
    return _Code(ast.dump(tree), code.imports, code.lazy_names, code.lazy_imports)


def _named(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _drop_texts(tree: ast.Module) -> None:
    """Remove docstrings, and all other statements that are a text and do nothing."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                setattr(node, field, [each for each in body if not _is_text(each)])


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = "." * statement.level + (statement.module or "")
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _imports(statement.orelse)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []) + getattr(statement, "cases", []):
                yield from _imports(handler.body)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"
