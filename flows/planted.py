"""Plant units whose meaning is known in the study's text, and have them explained and scored: one command.

    python -m flows.planted                       conf/planted/text.yaml, after `dvc repro tokenize`
    python -m flows.planted planted.plant.seed=1  with Hydra overrides, such as lm=smollm2

Directions are planted in place of a subject's activations, a dictionary is fitted to them, and its latents are sampled,
explained and scored by the stages and the settings of the pipeline. So it is known what each latent found means, and
the page says how often the explanations say so. Artifacts go to artifacts/planted/. There is no subject: explainers and
simulators that need one are left out, and so are scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.config import Params, build, build_all, build_once, composed_params, settings
from flows.entry import command_line, run
from flows.paths import CONTEXTS, PLANTED
from flows.puzzles import without_subject
from latentese.dictionaries import checkpoints
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import LatenteseError, SettingError
from latentese.evaluation.recovery import RECOVERED, nearest
from latentese.examples.settings import SampleSettings
from latentese.examples.store import Examples
from latentese.puzzles.explaining import Found, Written, judge_written
from latentese.puzzles.judges import SimulatorJudge
from latentese.puzzles.meanings import Meaning, Recovered, TrueSentences, packaged_meanings, read_meanings
from latentese.report.planted import TRUE, PlantedFindings, page, write_page
from latentese.stages.ensembles import check_members
from latentese.stages.explain import EXPLANATIONS, ExplainSettings, explain
from latentese.stages.plant import PlantSettings, directions, plant
from latentese.stages.planted_cases import planted_cases
from latentese.stages.running import run_async
from latentese.stages.sample import sample
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.stages.train import CachedTokens, Fit, fit_dictionary
from latentese.store.shards import Activations
from latentese.store.tables import read_explanations

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PlantedStudy:
    """What conf/planted/*.yaml says."""

    dictionary: Mapping[str, Any]
    training: Mapping[str, Any]
    named_by: str
    page: str
    packaged: bool = True
    files: Sequence[str] = ()
    plant: Mapping[str, Any] = field(default_factory=dict)

    def meanings(self) -> list[Meaning]:
        """Read what is planted."""
        meanings = read_meanings([*(packaged_meanings() if self.packaged else []), *map(Path, self.files)])
        if len(meanings) < 2:
            raise SettingError("planted.files", list(self.files), "at least two meanings, or packaged=true")
        return meanings


class Planted:
    """A prepared study: every setting is checked before anything is computed."""

    def __init__(self, params: Params, folder: Path = PLANTED) -> None:
        self.params, self.folder = params, folder
        self.study = settings(PlantedStudy, params["planted"], "planted")
        self.meanings = self.study.meanings()
        self.planting = settings(PlantSettings, self.study.plant, "planted.plant")
        self.training = settings(TrainSettings, self.study.training, "planted.training")
        self.dictionary = build(self.study.dictionary, "planted.dictionary", d_model=self.planting.d_model)
        self.sampling = settings(SampleSettings, params["examples"], "examples")
        self.explainers = without_subject(build_all(params["explainers"], "explainers"))
        self.explaining = settings(
            ExplainSettings, _limited(params, "explaining", params["explainers"], self.explainers), "explaining"
        )
        self.simulators = without_subject(build_all(params["simulators"], "simulators"))
        judges = {**params["simulators"], **params["scorers"]}
        self.scoring = settings(ScoreSettings, _limited(params, "scoring", judges, self.simulators), "scoring")
        check_members(self.simulators, self.scoring)
        if self.study.named_by not in self.simulators:
            raise SettingError("planted.named_by", self.study.named_by, f"one of {', '.join(self.simulators)}")
        if not CONTEXTS.is_dir():
            raise LatenteseError(f"{CONTEXTS} is not there yet: run `dvc repro tokenize` first")

    def make(self) -> dict[str, Recovered]:
        """Plant, fit a dictionary, choose examples; returns which latent each meaning became."""
        activations = plant(CONTEXTS, self.meanings, self.planting, self.folder / "activations")
        fit = Fit(CachedTokens(Activations(activations)), self.dictionary, self.training)
        dictionary = fit_dictionary(fit, self.folder / "dictionary", lambda step: None)
        sample(CONTEXTS, activations, dictionary, self.sampling, self.folder / "examples")
        return self._recovered(dictionary)

    def judge(self, recovered: Mapping[str, Recovered]) -> tuple[list[Written], list[Found]]:
        """Explain and score every live latent; then ask which meaning each explanation of a recovered one names."""
        units = {one.unit: meaning.true for meaning in self.meanings if (one := recovered[meaning.name]).found}
        explainers = {**self.explainers, TRUE: TrueSentences(units, TRUE)}
        examples, explanations = self.folder / "examples", self.folder / "explanations"
        n_live = Examples(examples).units["draw"].count()
        explain(CONTEXTS, examples, explainers, replace(self.explaining, n_units=n_live), explanations)
        score(CONTEXTS, examples, explanations, self.simulators, self.scoring, self.folder / "scores")
        cases = planted_cases(CONTEXTS, examples, self.meanings, recovered)
        written = [
            Written(cases[explanation.unit], explanation)
            for explanation in read_explanations(explanations / EXPLANATIONS)
            if explanation.unit in cases
        ]
        judge = SimulatorJudge(self.simulators[self.study.named_by])
        found: list[Found] = []
        for name in self.explainers:
            own = [one for one in written if one.explanation.explainer == name]
            found += run_async(judge_written(judge, own))
        return written, found

    def _recovered(self, dictionary: Path) -> dict[str, Recovered]:
        planted = directions(len(self.meanings), self.planting)[: len(self.meanings)]
        near = nearest(planted, cast("Tensor", checkpoints.load(dictionary).W_dec))
        cosines, units = near.truth_cosine.tolist(), near.truth_match.tolist()
        return {
            meaning.name: Recovered(
                unit, round(cosine, 3), cosine >= RECOVERED and int(near.latent_match[unit]) == number
            )
            for number, (meaning, cosine, unit) in enumerate(zip(self.meanings, cosines, units, strict=True))
        }


def _limited(params: Params, group: str, configured: Mapping[str, Any], tried: Mapping[str, Any]) -> Params:
    """Take a group's settings with limits of those alone that are tried; a limit of an unknown name is a mistake."""
    limits: Params = params[group]["limits"] or {}
    for name in limits:
        if name not in configured:
            raise SettingError(f"{group}.limits.{name}", limits[name], f"configured are {', '.join(configured)}")
    return {**params[group], "limits": {name: limit for name, limit in limits.items() if name in tried}}


def main(*words: str) -> None:
    """Run the study, print the page and write it."""
    parser = command_line("planted", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as lm=smollm2")
    arguments = parser.parse_args(words)
    params = composed_params(["planted=text", *arguments.overrides])
    planted = Planted(params)
    recovered = planted.make()
    written, found = planted.judge(recovered)
    left_out = [name for name in params["explainers"] if name not in planted.explainers]
    findings = PlantedFindings(
        command=" ".join(["python -m flows.planted", *words]),
        about=[
            f"language model: {build_once(params['lm'], 'lm').name}",
            *(f"not tried, for it needs units of a subject: {name}" for name in left_out),
        ],
        meanings=planted.meanings,
        recovered=recovered,
        written=written,
        found=found,
        scores=planted.folder / "scores",
        bootstrap=planted.scoring.bootstrap,
    )
    write_page(findings, Path(planted.study.page))
    print(page(findings))


if __name__ == "__main__":
    run(main)
