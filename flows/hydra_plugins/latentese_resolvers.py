"""Resolvers of conf/config.yaml, found by Hydra wherever it composes: in `flows.config` and in `dvc exp run`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

NO_INPUTS = ("latentese.lm.cached.", "latentese.lm.budget.", "latentese.explainers.human.")
"""Parts whose `path` is no file that `local_files` notices."""
NO_FILES = "none"
"""What `local_files` says where no local file is named."""


def conf_sha256(conf: Path) -> str:
    """Hash of every file below `conf`, with its relative path."""
    digest = hashlib.sha256()
    for file in sorted(path for path in conf.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(conf)).encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def slug(hookpoint: str) -> str:
    """Name of a hookpoint in paths and stage names: `layers.12.mlp_act` becomes `layers-12-mlp_act`."""
    return hookpoint.replace(".", "-")


def hookpoints(targets: DictConfig) -> DictConfig:
    """Each hookpoint of the targets once, by its slug, with all splits that some target needs of it kept.

    Of `train`, a target that streams needs nothing kept.
    """
    found: dict[str, dict[str, object]] = {}
    for target in targets.values():
        entry = found.setdefault(slug(target.hookpoint), {"hookpoint": target.hookpoint, "splits": []})
        kept = [split for split in target.splits if split != "train" or not target.get("stream", False)]
        entry["splits"] = list(dict.fromkeys([*entry["splits"], *kept]))  # type: ignore[misc]
    return OmegaConf.create(found)


def corpus_path(corpus: DictConfig) -> str:
    """Name the local folder that the corpus reads; the project's file of dependencies where there is none."""
    paths = [share.source.path for share in corpus.values() if "path" in share.source]
    if len(set(paths)) > 1:
        raise ValueError(f"corpus: one local folder at most, found {', '.join(paths)}; put them into one")
    return _expanded(paths[0]) if paths else "pyproject.toml"


def dictionary_path(dictionary: DictConfig) -> str:
    """Name the folder or file that a dictionary is read from; else the passed check's mark, which never changes."""
    return _expanded(str(dictionary.get("path", "artifacts/checked.txt")))


def annotations_path(explainers: DictConfig) -> str:
    """Name the file of a person's explanations; else the passed check's mark, which never changes."""
    paths = {str(spec.path) for spec in explainers.values() if str(spec.get("_target_")).endswith(".HumanExplainer")}
    if len(paths) > 1:
        raise ValueError(f"explainers: one file of a person's explanations at most, found {', '.join(sorted(paths))}")
    return _expanded(paths.pop()) if paths else "artifacts/checked.txt"


def fitted_to(stream: bool, activations: str) -> str:
    """Name the folder that a dictionary is fitted to: the contexts, which the subject reads, or kept activations."""
    return "artifacts/contexts" if stream else f"artifacts/activations/{activations}"


def local_files(*groups: DictConfig) -> str:
    """Hash names, sizes and times of the local files that groups name by `path`: models are large.

    A path to a file that is made by a run (answers, and what they cost) does not count, nor does that of a person's
    explanations, which DVC watches itself.
    """
    stamps = [
        f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}"
        for path in dict.fromkeys(path for group in groups for path in _paths(group))
        for file in sorted([path] if path.is_file() else path.glob("*"))
    ]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest() if stamps else NO_FILES


def _expanded(path: str) -> str:
    """Give the path of what `path` reads, for DVC, which takes a leading ~ for a folder's name."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _paths(tree: object) -> Iterator[Path]:
    if isinstance(tree, DictConfig):
        for key in tree:
            is_left_out = str(tree.get("_target_")).startswith(NO_INPUTS)
            if key == "path" and not is_left_out and not OmegaConf.is_missing(tree, key):
                yield Path(tree[key]).expanduser()
            elif not OmegaConf.is_missing(tree, key):
                yield from _paths(tree[key])
    elif isinstance(tree, ListConfig):
        for item in tree:
            yield from _paths(item)


# The current directory, not this file's: an experiment may run in a copy of the project.
OmegaConf.register_new_resolver("conf_sha256", lambda: conf_sha256(Path("conf")), replace=True)
OmegaConf.register_new_resolver("annotations_path", annotations_path, replace=True)
OmegaConf.register_new_resolver("corpus_path", corpus_path, replace=True)
OmegaConf.register_new_resolver("dictionary_path", dictionary_path, replace=True)
OmegaConf.register_new_resolver("fitted_to", fitted_to, replace=True)
OmegaConf.register_new_resolver("local_files", local_files, replace=True)
OmegaConf.register_new_resolver("slug", slug, replace=True)
OmegaConf.register_new_resolver("hookpoints", hookpoints, replace=True)
