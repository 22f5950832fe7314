"""From conf/ to objects: compose, read and build. The library never sees what this module handles.

conf/ --compose--> params.yaml --read_params--> Params --build--> objects of latentese
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flows import in_use
from flows.hydra_plugins import latentese_resolvers  # noqa: F401  (registers the resolvers)
from flows.paths import PARAMS, kept
from flows.secrets import refuse_secrets
from latentese.errors import LatenteseError, SettingError
from latentese.store.files import canonical_json

CONF = Path("conf")

Params = dict[str, Any]
T = TypeVar("T")

_built_once: dict[str, Any] = {}


def compose(overrides: Sequence[str] = ()) -> str:
    """Compose conf/ of the current directory, byte for byte as `dvc exp run -S` does.

    Raises LatenteseError for what does not compose, SettingError for a secret that it would write down.
    """
    try:
        with initialize_config_dir(str(CONF.resolve()), version_base=None):
            cfg = hydra_compose("config", list(overrides))
        OmegaConf.resolve(cfg)
        text = OmegaConf.to_yaml(cfg)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group set to null
        raise LatenteseError(f"configuration: {_one_line(error)}") from error
    refuse_secrets(OmegaConf.to_container(cfg))  # type: ignore[arg-type]
    return text


def write_params(overrides: Sequence[str] = ()) -> None:
    """Compose conf/ and write params.yaml, unless it says the same already; raises what `written_params` does."""
    with written_params(overrides):
        pass


@contextmanager
def written_params(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Write params.yaml as `write_params` does, and keep it so meanwhile: see `flows.in_use`."""
    text = compose(overrides)
    with in_use.written(PARAMS, text):
        yield


def composed_params(overrides: Sequence[str]) -> Params:
    """Compose conf/ without writing params.yaml."""
    anchored: Params = _anchored(OmegaConf.to_container(OmegaConf.create(compose(overrides)), resolve=True))
    return anchored


def read_params() -> Params:
    """Read params.yaml of the current directory."""
    if not PARAMS.is_file():
        raise LatenteseError("params.yaml is missing: run `make params`")
    return read_yaml(PARAMS)


def read_yaml(file: Path) -> Params:
    """Read a composed configuration."""
    return parse_yaml(file.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Params:
    """Read what `compose` wrote."""
    anchored: Params = _anchored(OmegaConf.to_container(OmegaConf.create(text), resolve=True))
    return anchored


def build(spec: Mapping[str, Any], setting: str, **given: Any) -> Any:
    """Build the object a spec names by `_target_`, with the spec's keys and what is `given` as keyword arguments.

    Only classes of `latentese` are built. Nested specs are built first, and equal ones once: a language model that an
    explainer and a simulator both name is one object. `setting` names the spec in errors.
    """
    target = spec.get("_target_")
    if not isinstance(target, str) or not target.startswith("latentese."):
        raise SettingError(f"{setting}._target_", target, "must name a class of latentese")
    module, _, name = target.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"{setting}._target_", target, "there is no such class") from error
    arguments = {key: _built(value, f"{setting}.{key}") for key, value in spec.items() if key != "_target_"}
    return _call(factory, arguments | given, setting)


def build_once(spec: Mapping[str, Any], setting: str) -> Any:
    """Build the object of a spec, or give the one that an equal spec was built into in this process."""
    key = canonical_json(spec)
    if key not in _built_once:
        _built_once[key] = build(spec, setting)
    return _built_once[key]


def build_all(specs: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Build every spec of a mapping; what has a name of its own must have the one it is given there."""
    built = {name: build_once(spec, f"{setting}.{name}") for name, spec in specs.items()}
    for name, made in built.items():
        if getattr(made, "name", name) != name:
            raise SettingError(f"{setting}.{name}.name", made.name, f"{name!r}, as it is called in {setting}")
    return built


def settings(cls: type[T], values: Mapping[str, Any], setting: str) -> T:
    """Build a frozen settings dataclass; lists become tuples, a misspelt key is one clear line."""
    made: T = _call(cls, {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}, setting)
    return made


def _anchored(tree: Any) -> Any:
    """Put answers and what they cost under the project root: what runs in a copy must not pay twice."""
    if isinstance(tree, dict):
        anchored = {key: _anchored(value) for key, value in tree.items()}
        if str(tree.get("_target_", "")).startswith(("latentese.lm.cached.", "latentese.lm.budget.")):
            anchored["path"] = str(kept(tree["path"]))
        return anchored
    return tree


def _built(value: Any, setting: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build_once(value, setting)
        return {key: _built(item, f"{setting}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_built(item, f"{setting}[{i}]") for i, item in enumerate(value))
    return value


def _call(factory: Any, arguments: Mapping[str, Any], setting: str) -> Any:
    if dataclasses.is_dataclass(factory):
        allowed = [field.name for field in dataclasses.fields(factory) if field.init]
        for key in arguments:
            if key not in allowed:
                raise SettingError(f"{setting}.{key}", arguments[key], f"unknown key; known are {', '.join(allowed)}")
    try:
        return factory(**arguments)
    except TypeError as error:
        raise LatenteseError(f"{setting}: {_one_line(error)}") from error
    except ValueError as error:
        raise LatenteseError(f"{setting}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
