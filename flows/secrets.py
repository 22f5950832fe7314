"""Secrets stay in the environment: a configuration that holds one is refused before it is written anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from latentese.errors import SettingError
from latentese.lm.endpoint import VARIABLE

_WITH_USER = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]*@", re.IGNORECASE)


def refuse_secrets(tree: Mapping[str, Any]) -> None:
    """Raise SettingError for a key where the name of its variable belongs, and for a password in an address.

    The value is not shown: what is composed goes to params.yaml, Prefect and MLflow, and so would the error.
    """
    for setting, value in _texts(tree, ""):
        if setting.rpartition(".")[2] == "key_env" and not VARIABLE.fullmatch(value):
            raise SettingError(setting, "...", "the NAME of an environment variable, never the key itself")
        if _WITH_USER.match(value):
            allowed = "an address without user and password, which belong in the environment (MLFLOW_TRACKING_URI)"
            raise SettingError(setting, "...", allowed if setting == "tracking.uri" else allowed.partition(" (")[0])


def _texts(tree: Any, setting: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{setting}.{key}" if setting else str(key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _texts(value, f"{setting}[{i}]")
    elif isinstance(tree, str):
        yield setting, tree
