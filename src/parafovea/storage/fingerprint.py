"""Fingerprints of code: hashes of modules and of all that they import.

Snakemake sees a change of a script, not of the modules that it imports. The arguments of each rule
carry the fingerprint of its modules instead. Modules are parsed, not imported, so that planning
stays fast.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The imports come from the syntax trees that are hashed. grimp 3.20 finds the same modules for all
# 23 stages, except that it counts what a module-level `__getattr__` imports for everyone who
# imports the package (62 modules instead of 24 for blend_shards). It takes 0.08 s, 0.02 s of it to
# be imported, where reading 245 files takes 0.66 s here; but the hash needs the trees anyway, so
# that both together take longer than this alone.

#: Folder of the packages.
SOURCE = Path(__file__).parents[2]

#: Packages that are followed; the versions of others are fixed by the environment.
PACKAGES = ("parafovea", "parafovea_phantoms")


@dataclass(frozen=True)
class _Code:
    """Content of a Python file.

    Parameters
    ----------
    digest : bytes
        Hash of its code without layout, comments and docstrings.
    imports : tuple of str
        Dotted targets of its imports, relative ones with their dots.
    lazy : mapping of str to tuple of str
        Imports of its module-level `__getattr__`, by attribute name.
    """

    digest: bytes = b""
    imports: tuple[str, ...] = ()
    lazy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def code_fingerprint(
    modules: Iterable[str], *, root: Path = SOURCE, packages: tuple[str, ...] = PACKAGES
) -> str:
    """Return a hash of modules and of everything that they import from the packages.

    Data files, such as templates, are included if a module of their package is imported.
    Comments, docstrings, layout and imports for type checkers only are ignored. Imports by a
    computed name are not found: the caller adds those modules to `modules`.

    Parameters
    ----------
    modules : iterable of str
        Dotted names, in any order. They are read once per process and never imported.
    root : Path
        Folder of the packages.
    packages : tuple of str
        Names of the packages that are followed.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ModuleNotFoundError
        If a module does not exist.
    """
    return _hashed(frozenset(modules), root, packages)


def file_fingerprint(file: Path) -> str:
    """Return a hash of a Python file alone, without layout, comments and docstrings.

    Returns
    -------
    str
        8 hexadecimal digits; "" if there is no such file.
    """
    return _parsed(file).digest.hex()[:8] if file.is_file() else ""


def imported_modules(
    modules: Iterable[str], *, root: Path = SOURCE, packages: tuple[str, ...] = PACKAGES
) -> tuple[str, ...]:
    """Return the sorted names of modules and of all that they import, as in `code_fingerprint`."""
    return tuple(sorted(_reached(frozenset(modules), root, packages)))


@functools.cache
def _hashed(modules: frozenset[str], root: Path, packages: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in sorted(_reached(modules, root, packages)):
        digest.update(f"{name}\0".encode() + _digest(name, root))
    return digest.hexdigest()[:16]


@functools.cache
def _digest(name: str, root: Path) -> bytes:
    """Return a hash of a module and, for a package, of its data files."""
    file = _file(name, root)
    digest = hashlib.sha256(_read(file).digest)
    if file is not None and file.name == "__init__.py":
        for path in _data(file.parent):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


@functools.cache
def _reached(modules: frozenset[str], root: Path, packages: tuple[str, ...]) -> frozenset[str]:
    missing = sorted(name for name in modules if _file(name, root) is None)
    if missing:
        raise ModuleNotFoundError(f"{root} has no module {missing[0]}", name=missing[0])
    found: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= _direct(name, root, packages) - found
    return frozenset(found)


@functools.cache
def _direct(name: str, root: Path, packages: tuple[str, ...]) -> frozenset[str]:
    """Return the direct imports of a module and its parent packages, which are executed with it."""
    file = _file(name, root)
    targets = (_resolved(target, name, file, root, packages) for target in _read(file).imports)
    return frozenset(_packages(name)).union(*targets)


def _packages(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


@functools.cache
def _file(name: str, root: Path) -> Path | None:
    """Return the file of a module by its full name; None if there is none."""
    path = root.joinpath(*name.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _data(folder: Path) -> tuple[Path, ...]:
    """Return the sorted data files of a package, without those of its subpackages."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").is_file():
                found += _data(path)
        elif path.suffix not in (".py", ".pyc") and path.name != "py.typed":
            found.append(path)
    return tuple(found)


def _resolved(
    target: str, importer: str, file: Path | None, root: Path, packages: tuple[str, ...]
) -> Iterator[str]:
    """Yield the modules of the packages that the target of an import refers to."""
    dots = len(target) - len(target.lstrip("."))
    words = [word for word in target[dots:].split(".") if word]
    if dots:
        base = importer.split(".")
        up = dots - (1 if file is not None and file.name == "__init__.py" else 0)
        words = base[: len(base) - up] + words
    elif words[0] not in packages:
        return
    # the last parts may name an attribute of a module
    inside = ""
    while words and _file(".".join(words), root) is None:
        inside = words.pop()
    if not words:
        return
    name = ".".join(words)
    yield name
    named = _file(name, root)
    if named != file:
        for lazy in _read(named).lazy.get(inside, ()):
            yield from _resolved(lazy, name, named, root, packages)


@functools.cache
def _read(file: Path | None) -> _Code:
    """Return the content of a Python file, empty if it does not exist."""
    return _Code() if file is None else _parsed(file)


def _parsed(file: Path) -> _Code:
    tree = ast.parse(file.read_bytes())
    asked = [
        statement
        for each in tree.body
        if isinstance(each, ast.FunctionDef) and each.name == "__getattr__"
        for statement in each.body
        if isinstance(statement, ast.If)
    ]
    imports = tuple(_imports(tree.body, left_out=asked))
    lazy = _lazy_imports(asked)
    _drop_texts(tree)
    return _Code(hashlib.sha256(ast.dump(tree).encode()).digest(), imports, lazy)


def _lazy_imports(conditions: list[ast.If]) -> dict[str, tuple[str, ...]]:
    """Return the conditional imports of a `__getattr__`, by the strings in the conditions."""
    found: dict[str, tuple[str, ...]] = {}
    for node in (node for each in conditions for node in ast.walk(each)):
        if isinstance(node, ast.If):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found[part.value] = (*found.get(part.value, ()), *_imports(node.body))
    return found


def _drop_texts(tree: ast.Module) -> None:
    """Remove docstrings and all other bare string statements."""
    for node in ast.walk(tree):
        for part in ("body", "orelse", "finalbody"):
            body = getattr(node, part, None)
            if isinstance(body, list):
                setattr(node, part, [each for each in body if not _is_text(each)])


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(body: Sequence[ast.stmt], *, left_out: Sequence[ast.stmt] = ()) -> Iterator[str]:
    for statement in body:
        if statement in left_out:
            continue
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = "." * statement.level + (statement.module or "")
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _imports(statement.orelse, left_out=left_out)
        else:
            for field_name in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(statement, field_name, []), left_out=left_out)
            for handler in getattr(statement, "handlers", []) + getattr(statement, "cases", []):
                yield from _imports(handler.body, left_out=left_out)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"
