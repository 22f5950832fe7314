"""Find the module of a format, and load a checkpoint as a dictionary that is used as it is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.formats.base import Imported
from latentese.dictionaries.formats.files import first_line
from latentese.dictionaries.pretrained import Pretrained
from latentese.errors import ArtifactError, SettingError

READABLE = ("sae_lens", "sparsify", "dictionary_learning", "openai", "latentese")
WRITABLE = ("sae_lens", "sparsify", "dictionary_learning")

MISREAD = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What comes of files that hold other kinds of values than their format does, such as a list where a name should be."""


def load_pretrained(format: str, path: str, d_model: int) -> Dictionary:
    """Load somebody's checkpoint for activations of width `d_model`, never to be trained further.

    format: one of `READABLE`. path: the local folder, or file, in that format.
    """
    dictionary = freeze(read_checkpoint(format, Path(path)))
    if dictionary.d_model != d_model:
        allowed = f"a dictionary of width {d_model}, as the hookpoint's activations; this one's is {dictionary.d_model}"
        raise SettingError("dictionary.path", path, allowed)
    return dictionary


def read_checkpoint(format: str, path: Path) -> Imported:
    """Read a checkpoint in one of the `READABLE` formats; raises ArtifactError for one that is not what it says."""
    module = _module(format, READABLE)
    try:
        read: Imported = module.read(path)
    except MISREAD as error:
        problem = f"holds other values than {format} writes ({type(error).__name__}: {first_line(error)})"
        raise ArtifactError(path, problem) from error
    return read


def write_checkpoint(format: str, dictionary: Dictionary, path: Path) -> None:
    """Write a dictionary in one of the `WRITABLE` formats; `path` becomes a folder."""
    _module(format, WRITABLE).write(dictionary.inner if isinstance(dictionary, Pretrained) else dictionary, path)


def freeze(imported: Imported) -> Dictionary:
    """Wrap what could be trained so that it is used as it is; a dictionary that is never trained stays itself."""
    dictionary, meaning = imported
    return Pretrained.of(dictionary, vars(meaning)) if isinstance(dictionary, Trainable) else dictionary


def _module(format: str, allowed: tuple[str, ...]) -> ModuleType:
    if format not in allowed:
        raise SettingError("format", format, f"one of {', '.join(allowed)}")
    return import_module(f"latentese.dictionaries.formats.{format}")
