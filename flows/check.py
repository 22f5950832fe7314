"""Stop in seconds on a configuration that cannot work (DVC stage `check`, on which every other stage depends).

Also stops when conf/ changed after params.yaml was composed: plain `dvc repro` does not compose, and an edit that is
silently ignored is worse than an error.
"""

from __future__ import annotations

import asyncio
import re

from flows import collect, evaluate, explain, fetch, refine, report, sample, score, tokenize, train
from flows.config import CONF, Params, build_once, read_params
from flows.entry import run_with_params
from flows.hydra_plugins.latentese_resolvers import conf_sha256
from flows.paths import CHECKED
from latentese.errors import LatenteseError, SettingError
from latentese.records import SPLITS
from latentese.store.files import write_text
from latentese.weights.devices import check_device

SAID = "conf/ and params.yaml agree, and every stage can be prepared\n"
"""Always the same, so that passing the check makes nothing stale."""


def main() -> None:
    """Check conf/ against params.yaml, then prepare every stage without running it."""
    params = read_params()
    check_composed(params)
    check_targets(params)
    check_devices(params)
    tokenize.prepare(params)
    for activations in params["hookpoints"]:
        collect.prepare(params, activations)
    for target in params["targets"]:
        for stage in (train, sample, explain, score, refine, evaluate):
            stage.prepare(params, target)
    check_refined(params)
    report.prepare(params)
    fetch.main()  # a model that cannot be had stops here, not an hour later
    check_language_models(params)
    write_text(SAID, CHECKED)


def check_refined(params: Params) -> None:
    """Raise SettingError where scoring is spared what refinement compares."""
    refining = params["refinement"]
    explainer, explaining = refining["settings"]["explainer"], params["explaining"]
    n_units = (explaining.get("limits") or {}).get(explainer, explaining["n_units"])
    score.score_settings(params).check_refined(refining["simulator"], explainer, n_units)


def check_language_models(params: Params) -> None:
    """Ask every served language model whether it answers, and does what is wanted of it."""
    for setting, spec in fetch.model_specs(params, "latentese.lm.cached.").items():
        asyncio.run(build_once(spec, setting).probe())


def check_composed(params: Params) -> None:
    """Raise LatenteseError when params.yaml was composed from another conf/ than there is now."""
    if params.get("conf_sha256") != conf_sha256(CONF):
        raise LatenteseError(
            "conf/ changed after params.yaml was composed: run `make params` (or `dvc exp run -S ...`), then again"
        )


def check_devices(tree: Params, setting: str = "") -> None:
    """Raise SettingError for a device that is not here: what computes there may come hours later."""
    for key, value in tree.items():
        name = f"{setting}.{key}" if setting else key
        if key == "device" and isinstance(value, str):
            check_device(name, value)
        elif isinstance(value, dict):
            check_devices(value, name)


def check_targets(params: Params) -> None:
    """Raise SettingError for a target without a usable name or with unknown splits."""
    for name, target in params["targets"].items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise SettingError("targets", name, "a name of letters, digits, _ and - that starts with a letter")
        unknown = set(target["splits"]) - set(SPLITS)
        if unknown or not {"explain", "select", "test"} <= set(target["splits"]):
            raise SettingError(
                f"targets.{name}.splits",
                target["splits"],
                f"of {', '.join(SPLITS)}; explain, select and test are needed",
            )


if __name__ == "__main__":
    run_with_params(main)
