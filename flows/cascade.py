"""Rank explained units as a costly simulator would, for a fifth of its prompt tokens: one command.

    python -m flows.cascade                                 every target, after `dvc repro score`
    python -m flows.cascade cascade.settings.compare=true   also reads everything, and says how well it was foretold
    python -m flows.cascade cascade.simulator=all_at_once

Cheap scores come first, the pipeline's; then a few contexts of every unit, then more of those whose rank is undecided.
Estimates go to artifacts/cascade/<target>; with `compare` a page goes to `cascade.page`, and what it says to MLflow.
Answers of language models are kept, so a stopped run goes on and a rerun asks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from flows.config import Params, build_once, composed_params, settings
from flows.entry import command_line, run
from flows.fetch import model_specs
from flows.paths import CASCADES, CONTEXTS, of_target, tracking_uri
from flows.publish import flat_metrics, flat_params
from flows.reading import reader_of
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.reading.base import give_reader
from latentese.report.cascade import CascadeFindings, figures, page, read_cascade, write_page
from latentese.schemas import CASCADE
from latentese.stages.cascade import CascadeInputs, CascadeSettings, cascade
from latentese.store.artifact import open_artifact
from latentese.store.files import sha256_json
from latentese.store.tables import read_table
from latentese.tracking import PipelineRun, publish_run


@dataclass(frozen=True)
class CascadeChoice:
    """What conf/cascade/*.yaml says beside the stage's own settings."""

    simulator: str
    settings: Mapping[str, Any]
    page: str
    bootstrap: Mapping[str, Any] = field(default_factory=dict)


class Cascades:
    """Prepared: every setting is checked before anything is asked."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.choice = settings(CascadeChoice, params["cascade"], "cascade")
        self.settings = settings(CascadeSettings, self.choice.settings, "cascade.settings")
        self.bootstrap = settings(Bootstrap, self.choice.bootstrap, "cascade.bootstrap")
        name = self.choice.simulator
        if name not in params["simulators"]:
            raise SettingError("cascade.simulator", name, f"one of {', '.join(params['simulators'])}")
        for target in params["targets"]:
            if not of_target(target, "scores").is_dir():
                raise LatenteseError(f"{of_target(target, 'scores')} is not there yet: run `dvc repro score` first")

    def make(self, target: str) -> Path:
        """Rank one target's units; returns the artifact."""
        name = self.choice.simulator
        built = {name: build_once(self.params["simulators"][name], f"simulators.{name}")}
        simulator = give_reader(built, reader_of(self.params, target, of_target))[name]
        folders = {folder: of_target(target, folder) for folder in ("examples", "explanations", "scores")}
        return cascade(CascadeInputs(CONTEXTS, **folders), simulator, self.settings, CASCADES / target)

    def about(self) -> list[str]:
        """Say what was ranked by what."""
        chosen, name = self.settings, self.choice.simulator
        models = model_specs(self.params["simulators"][name], "latentese.lm.")
        asked = [build_once(spec, f"simulators.{name}.{setting}").name for setting, spec in models.items()]
        return [
            f"costly score: {name} of {chosen.explainer}'s explanations on `{chosen.split}`, by "
            f"{', '.join(asked) or 'no language model'}, {chosen.n_contexts or 'all'} contexts per unit",
            f"cheap scores: {', '.join(f'{judge} of {explainer}' for explainer, judge in chosen.cheap)}",
            f"cascade: {chosen.n_first} contexts of every unit, then of those undecided, {chosen.share:.0%} of all in "
            "all; each is drawn with a chance in proportion to how much it may move the correlation",
        ]


def publish(findings: CascadeFindings, params: Params) -> str:
    """Make one MLflow run of what was found; the same findings are the same run. Returns its id."""
    found = figures(findings)
    key = sha256_json([params["cascade"], found])
    published = PipelineRun(
        key=key,
        name=f"cascade of {params['cascade']['simulator']}-{key[:8]}",
        params=dict(flat_params({"cascade": params["cascade"]})),
        metrics=dict(flat_metrics({f"{target}/cascade": figures for target, figures in found["targets"].items()})),
        artifacts={"cascade": Path(params["cascade"]["page"])},
    )
    return publish_run(published, tracking_uri(params), params["tracking"]["experiment"])


def main(*words: str) -> None:
    """Rank every target's units, print what was found."""
    parser = command_line("cascade", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as lm=smollm2")
    arguments = parser.parse_args(words)
    params = composed_params(["cascade=demo", *arguments.overrides])
    cascades = Cascades(params)
    made = {target: cascades.make(target) for target in params["targets"]}
    if cascades.settings.compare:
        command = " ".join(["python -m flows.cascade", *words])
        targets = [read_cascade(target, folder, cascades.bootstrap) for target, folder in made.items()]
        findings = CascadeFindings(command, cascades.about(), targets)
        write_page(findings, Path(cascades.choice.page))
        publish(findings, params)
        print(page(findings))
        return
    for target, folder in made.items():
        units = read_table(open_artifact(folder, "cascade").file("cascade.parquet"), CASCADE)
        print(f"{target}: {units.height} units, {units['prompt_tokens'].sum():,} prompt tokens; {folder}")
        print(units.select("unit", "value", "spread", "n_read").sort(pl.col("value"), descending=True))


if __name__ == "__main__":
    run(main)
