"""Our own dictionary artifacts, so that one made elsewhere can be named like any other checkpoint."""

from __future__ import annotations

from pathlib import Path

from latentese.dictionaries import checkpoints
from latentese.dictionaries.formats.base import Imported, Meaning
from latentese.dictionaries.pretrained import Pretrained
from latentese.store.files import sha256_file


def read(path: Path) -> Imported:
    """Read a dictionary artifact; one that was imported keeps the meaning it was imported with."""
    dictionary = checkpoints.load(path)
    if isinstance(dictionary, Pretrained):
        return Imported(dictionary.inner, Meaning(**dictionary.meaning))
    files = {name: sha256_file(path / name) for name in (checkpoints.CFG, checkpoints.WEIGHTS)}
    own = "as this project defines it for the class"
    name = type(dictionary).__name__
    return Imported(dictionary, Meaning("latentese", name, own, own, own, own, "float32", {}, files))
