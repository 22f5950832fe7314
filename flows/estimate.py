"""Say what a run would ask of its language model, and what it costs: `python -m flows.estimate lm=openai ...`.

Nothing is asked. `explain`, `score` and `refine` run on the examples there are, with guesses where no answer is kept.
So the number of requests is right for `explain` and `score`; what `refine` asks depends on the answers, and it is taken
through all its rounds. Tokens are counted rather too high: prompts by their bytes, answers as long as they may be.
Models that a simulator or scorer has of its own are counted too. What asks none, and gives nothing to one that does,
is left out: patterns and effects in the subject take minutes to find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import explain, refine, score
from flows.config import Params, build_once, composed_params
from flows.entry import run
from flows.fetch import model_specs
from flows.paths import of_target
from latentese.errors import LatenteseError
from latentese.lm.dry import Estimate

DRY = {
    "latentese.lm.cached.CachedChat": "latentese.lm.dry.DryChat",
    "latentese.lm.cached.CachedLM": "latentese.lm.dry.DryLM",
}
MADE = ("explanations", "scores", "refined")


def main(*overrides: str) -> None:
    """Print one line per stage and target, and the sum."""
    params = dry_params(composed_params(overrides))
    with TemporaryDirectory() as scratch:
        estimates = dict(estimate(params, Path(scratch)))
    currency = params["lm"].get("lm", {}).get("lm", {}).get("budget", {}).get("currency", "")
    Console().print(table(estimates, currency))


def dry_params(params: Params) -> Params:
    """Put a model that only counts in the place of every one that asks, and let refinement go through all rounds."""
    if params["lm"].get("_target_") not in DRY:
        raise LatenteseError("lm: this model keeps no answers and costs nothing; there is nothing to estimate")
    dry: Params = _dried(params)
    settings = dry["refinement"]["settings"]
    settings["patience"] = settings["n_rounds"]
    dry["scorers"] = {name: spec for name, spec in dry["scorers"].items() if _asks(spec)}
    judge, refined = dry["refinement"]["simulator"], dry["refinement"]["settings"]["explainer"]
    dry["simulators"] = {name: spec for name, spec in dry["simulators"].items() if _asks(spec) or name == judge}
    needed = {name: spec for name, spec in dry["explainers"].items() if _asks(spec) or _is_asked_about(name, dry)}
    limits = {name: limit for name, limit in (dry["scoring"]["limits"] or {}).items() if name in _judges(dry)}
    if judge in dry["simulators"] and not _asks(dry["simulators"][judge]):  # refinement reads scores of what it refines
        limits[judge] = (limits.get(judge) or {}) | {"explainers": [refined]}
    few = {name: n_units for name, n_units in (dry["explaining"].get("limits") or {}).items() if name in needed}
    return dry | {
        "explainers": needed,
        "scoring": dry["scoring"] | {"limits": limits},
        "explaining": dry["explaining"] | {"limits": few},
    }


def estimate(params: Params, scratch: Path) -> Iterator[tuple[str, Estimate]]:
    """Run the stages that ask, on the examples there are; what they write goes to `scratch`."""

    def place(target: str, output: str) -> Path:
        return scratch / target / output if output in MADE else of_target(target, output)

    counters = [build_once(spec, setting) for setting, spec in model_specs(params, "latentese.lm.dry.").items()]
    for target in params["targets"]:
        if not of_target(target, "examples").is_dir():
            raise LatenteseError(f"{of_target(target, 'examples')} is not there yet: run `dvc repro sample` first")
        for name, stage in (("explain", explain), ("score", score), ("refine", refine)):
            stage.prepare(params, target, place)()
            yield f"{name}@{target}", sum((counter.take() for counter in counters), Estimate())


def table(estimates: Mapping[str, Estimate], currency: str) -> Table:
    """Lay out estimates with their sum."""
    shown = Table("stage", title="What the language model would be asked")
    for column in ("requests", "kept already", "prompt tokens", "answer tokens", f"cost {currency}".strip()):
        shown.add_column(column, justify="right")
    total = Estimate()
    for stage, one in estimates.items():
        shown.add_row(stage, *_cells(one))
        total = total + one
    shown.add_section()
    shown.add_row("all", *_cells(total), style="bold")
    return shown


def _cells(one: Estimate) -> list[str]:
    counts = (one.n_requests, one.n_kept, one.prompt_tokens, one.completion_tokens)
    return [*(f"{count:,}" for count in counts), "-" if one.money is None else f"{one.money:.4f}"]


def _judges(params: Params) -> Params:
    return {**params["simulators"], **params["scorers"]}


def _is_asked_about(explainer: str, params: Params) -> bool:
    """Tell whether a judge that asks a model, or refinement, reads explanations of this explainer."""
    limits = params["scoring"]["limits"] or {}
    asking = [name for name, spec in _judges(params).items() if _asks(spec)]
    readers = [(limits.get(name) or {}).get("explainers") for name in asking]
    refined: bool = explainer == params["refinement"]["settings"]["explainer"]
    return refined or any(explainers is None or explainer in explainers for explainers in readers)


def _asks(tree: Any) -> bool:
    """Tell whether a dry model is in it anywhere."""
    if isinstance(tree, list):
        return any(map(_asks, tree))
    if not isinstance(tree, dict):
        return False
    return tree.get("_target_") in DRY.values() or any(map(_asks, tree.values()))


def _dried(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_dried(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("_target_") in DRY:
        return {"_target_": DRY[tree["_target_"]], "lm": tree}
    return {key: _dried(value) for key, value in tree.items()}


if __name__ == "__main__":
    run(main)
