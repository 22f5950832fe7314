"""Python's own standard library, as a text of code that is on every machine."""

from __future__ import annotations

import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentese.corpus.source import Document

LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__", "ensurepip")
"""Tests (as long as the library itself, and repetitive), other packages, and a second parser's fixtures."""


@dataclass(frozen=True)
class StandardLibrary:
    """The Python files of the standard library that runs this.

    It differs with Python's version, so contexts, and what is computed from them, do too: the name says the version.
    """

    @property
    def name(self) -> str:
        """Version of Python."""
        return f"python-{platform.python_version()}-stdlib"

    def documents(self) -> Iterator[Document]:
        """One document per source file."""
        root = Path(sysconfig.get_paths()["stdlib"])
        for path in sorted(root.rglob("*.py")):
            module = path.relative_to(root)
            # Build settings of this one machine, not a text of the library.
            if not set(module.parts) & set(LEFT_OUT) and not module.name.startswith("_sysconfigdata"):
                yield Document(module.as_posix(), _read_source(path))


def _read_source(path: Path) -> str:
    """Text of a Python file in the encoding that it declares."""
    with tokenize.open(path) as file:
        return file.read()
