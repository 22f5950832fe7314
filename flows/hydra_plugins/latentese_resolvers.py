"""Resolvers of conf/config.yaml, found by Hydra wherever it composes: in `flows.config` and in `dvc exp run`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def conf_sha256(conf: Path) -> str:
    """Hash of every YAML file below `conf`, with its relative path."""
    digest = hashlib.sha256()
    for file in sorted(conf.rglob("*.yaml")):
        digest.update(str(file.relative_to(conf)).encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def slug(hookpoint: str) -> str:
    """Name of a hookpoint in paths and stage names: `layers.12.mlp_act` becomes `layers-12-mlp_act`."""
    return hookpoint.replace(".", "-")


def hookpoints(targets: DictConfig) -> DictConfig:
    """Each hookpoint of the targets once, by its slug, with all splits that some target needs of it."""
    found: dict[str, dict[str, object]] = {}
    for target in targets.values():
        entry = found.setdefault(slug(target.hookpoint), {"hookpoint": target.hookpoint, "splits": []})
        entry["splits"] = list(dict.fromkeys([*entry["splits"], *target.splits]))  # type: ignore[misc]
    return OmegaConf.create(found)


def corpus_path(corpus: DictConfig) -> str:
    """Name the first local folder among the corpus's sources; the code of the packaged sources where there is none."""
    paths = [share.source.path for share in corpus.values() if "path" in share.source]
    return paths[0] if paths else "src/latentese/corpus"


# The current directory, not this file's: an experiment may run in a copy of the project.
OmegaConf.register_new_resolver("conf_sha256", lambda: conf_sha256(Path("conf")), replace=True)
OmegaConf.register_new_resolver("corpus_path", corpus_path, replace=True)
OmegaConf.register_new_resolver("slug", slug, replace=True)
OmegaConf.register_new_resolver("hookpoints", hookpoints, replace=True)
