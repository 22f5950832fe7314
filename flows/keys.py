"""What a cell's results were made from, as one hash: the same hash means that nothing has to be done again."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import latentese
from latentese.store.artifact import MANIFEST
from latentese.store.files import write_text

PACKAGE = "latentese"


def is_done(out: Path, key: str) -> bool:
    """Whether an artifact is there and was made from what `key` stands for."""
    mark = _mark(out)
    return (out / MANIFEST).is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == key


def mark_done(out: Path, key: str) -> None:
    """Note beside a published artifact what it was made from."""
    write_text(key, _mark(out))


def _mark(out: Path) -> Path:
    return out.with_name(f"{out.name}.key")


@cache
def code_of(*modules: str) -> str:
    """Hash of the code of some modules of this package and of all that they import of it, in turn.

    What the code does counts, not how it is written: comments, docstrings and layout do not change the hash.
    """
    digest = hashlib.sha256()
    for module, file in sorted(_with_imports(modules).items()):
        digest.update(f"{module}\0{_bare(file)}\0".encode())
    return digest.hexdigest()


def module_of(target: str) -> str:
    """Name the module of a class that a spec names by `_target_`."""
    return target.rpartition(".")[0]


def _with_imports(modules: Iterable[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if module not in found and file is not None:
            found[module] = file
            waiting += _imported(file)
    return found


def _file(module: str) -> Path | None:
    """File of a module of this package; None for others' modules, and for names that are no module."""
    root, *parts = module.split(".")
    if root != PACKAGE:
        return None
    folder = Path(latentese.__file__).parent.joinpath(*parts)
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return file if file.is_file() else None


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
            if any(name.name == "import_module" for name in node.names):
                yield from _beside(file)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def _beside(file: Path) -> Iterator[str]:
    """Modules of a file's own folder: those that it may import by a name which only a run knows."""
    package = Path(latentese.__file__).parent
    for other in file.parent.glob("*.py"):
        yield ".".join([PACKAGE, *other.relative_to(package).with_suffix("").parts])


def _bare(file: Path) -> str:
    """Give the syntax tree of a file without docstrings and other bare strings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_string(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_string(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
