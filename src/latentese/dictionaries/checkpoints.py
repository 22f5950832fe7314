"""A dictionary on disk: `dictionary.safetensors` (its weights) and `cfg.json` (its class and constructor arguments)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from latentese.dictionaries.base import Dictionary
from latentese.errors import ArtifactError, LatenteseError
from latentese.store.artifact import open_artifact
from latentese.store.files import write_json
from latentese.store.shards import write_shard

WEIGHTS, CFG = "dictionary.safetensors", "cfg.json"
ROOM = "latentese.dictionaries."


def save(dictionary: Dictionary, folder: Path) -> None:
    """Write a dictionary's two files into `folder`."""
    write_shard(dictionary.state_dict(), folder / WEIGHTS)
    write_json(describe(dictionary), folder / CFG)


def describe(dictionary: Dictionary) -> dict[str, Any]:
    """Name a dictionary's class and constructor arguments: what cfg.json holds."""
    name = f"{type(dictionary).__module__}.{type(dictionary).__qualname__}"
    return {"class": name, "args": dictionary.args}


def build_described(description: Mapping[str, Any]) -> Dictionary:
    """Build, without its weights, what `describe` described."""
    return _class_named(description["class"])(**description["args"])


def load(path: Path) -> Dictionary:
    """Load the dictionary of a published artifact, ready to encode; only classes of this package are accepted."""
    artifact = open_artifact(path, "dictionary")
    cfg = json.loads(artifact.file(CFG).read_text(encoding="utf-8"))
    try:
        dictionary = build_described(cfg)
        dictionary.load_state_dict(load_file(artifact.file(WEIGHTS)))
    except (KeyError, TypeError, RuntimeError, SafetensorError, LatenteseError) as error:
        problem = f"does not describe the weights beside it ({str(error).splitlines()[0]}); run the stage again"
        raise ArtifactError(path / CFG, problem) from error
    return dictionary.requires_grad_(False).eval()


def _class_named(name: str) -> type[Dictionary]:
    """Find the class that a description names."""
    module, _, attribute = name.rpartition(".")
    if module.startswith(ROOM):
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError):
            found = None
        if isinstance(found, type) and issubclass(found, Dictionary):
            return found
    raise LatenteseError(f"class {name!r} is not a dictionary of {ROOM.rstrip('.')}")
