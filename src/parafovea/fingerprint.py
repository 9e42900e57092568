"""The fingerprint of a stage's code: it changes when what the stage runs changes, and only then.

Snakemake sees a change of a script, not of the modules that the script imports. Each rule carries
the fingerprint of its stage as a param instead. Modules are read, not imported, so that planning
stays quick.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent


def fingerprint(module: str, *, root: Path = ROOT) -> str:
    """Return a hash over a module and all modules of its package that it imports.

    Comments, docstrings and layout do not count, nor do imports for type checkers only. Imports
    by a computed name are not seen.

    Parameters
    ----------
    module : str
        Dotted name below the package, such as `stages.blend_shards`.
    root : Path
        Folder of the package.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module.
    """
    digest = hashlib.sha256()
    for name in modules(module, root=root):
        digest.update(f"{name}\0{_read(_file(name, root))[0]}\0".encode())
    return digest.hexdigest()[:16]


def modules(module: str, *, root: Path = ROOT) -> tuple[str, ...]:
    """Return the sorted names of the modules that `module` runs, below the package; "" is its own.

    Parameters
    ----------
    module : str
        Dotted name below the package.
    root : Path
        Folder of the package.

    Returns
    -------
    tuple of str
        The module, its packages, and what they import of the same package, to any depth.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module.
    """
    if _file(module, root) is None:
        raise ModuleNotFoundError(f"{root.name}.{module} is not a module in {root}")
    found: set[str] = set()
    waiting = {module}
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
    targets = (_resolved(target, name, file, root) for target in _read(file)[1])
    return frozenset(_packages(name)).union(*targets)


def _packages(name: str) -> Iterator[str]:
    while name:
        name = name.rpartition(".")[0]
        yield name


@functools.cache
def _file(name: str, root: Path) -> Path | None:
    """Return the file of a module, by its name below the package; None where there is none."""
    path = root.joinpath(*name.split(".")) if name else root
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file() and (name or file.name == "__init__.py"):
            return file
    return None


def _resolved(target: str, importer: str, file: Path | None, root: Path) -> Iterator[str]:
    """Yield the module below the package that an import statement's target names, if any."""
    dots = len(target) - len(target.lstrip("."))
    words = [word for word in target[dots:].split(".") if word]
    if dots:
        base = importer.split(".") if importer else []
        up = dots - (1 if file is not None and file.name == "__init__.py" else 0)
        words = base[: len(base) - up] + words
    elif words[0] == root.name:
        words = words[1:]
    else:
        return
    # the last words may name something inside of a module
    while words and _file(".".join(words), root) is None:
        words.pop()
    yield ".".join(words)


@functools.cache
def _read(file: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return what a module runs, as text without layout, and the targets of its imports."""
    if file is None:
        return "", ()
    tree = ast.parse(file.read_bytes())
    targets = tuple(_imports(tree.body))
    _drop_docstrings(tree)
    return ast.dump(tree), targets


def _drop_docstrings(scope: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
    if scope.body and _is_text(scope.body[0]):
        scope.body = scope.body[1:]
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            _drop_docstrings(node)


def _is_text(node: ast.stmt) -> bool:
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
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            yield from _imports(statement.orelse)
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []) + getattr(statement, "cases", []):
                yield from _imports(handler.body)
