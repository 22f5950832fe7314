"""Put explainers, simulators and scorers before units whose explanation is known: one command.

    python -m flows.puzzles                              all that are configured
    python -m flows.puzzles puzzles.judges=[embedding]   with Hydra overrides, such as puzzles.files=[mine.toml]

Of each simulator and scorer: how often the true explanation beats three false ones. Of each explainer: what it writes
from half of the contexts, scored on the other half. Prints the page and writes it, with a JSON file, to `puzzles.page`.
Answers of language models are kept, so a stopped run goes on and a rerun asks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from flows.config import Params, build_all, build_once, composed_params, settings
from flows.entry import command_line, run
from latentese.errors import SettingError
from latentese.explainers.base import Explainer
from latentese.metrics.intervals import Bootstrap
from latentese.puzzles.explaining import Found, Written, explain_cases, judge_written
from latentese.puzzles.files import packaged_files, read_puzzles
from latentese.puzzles.judges import Judge, ScorerJudge, SimulatorJudge
from latentese.puzzles.puzzle import KINDS, Case, Puzzle, case_of
from latentese.puzzles.trials import Trial, reads_sentences, try_judge
from latentese.report.puzzles import PuzzleFindings, names, page, write_page
from latentese.stages.running import run_async

T = TypeVar("T")


@dataclass(frozen=True)
class PuzzleSettings:
    """What conf/puzzles/*.yaml says."""

    page: str
    packaged: bool = True
    files: Sequence[str] = ()
    kinds: Sequence[str] | None = None
    explainers: Sequence[str] | None = None
    judges: Sequence[str] | None = None
    bootstrap: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not set(self.kinds or ()) <= set(KINDS):
            raise SettingError("puzzles.kinds", list(self.kinds or ()), f"null, or some of {', '.join(KINDS)}")

    def read(self) -> list[Puzzle]:
        """Read the puzzles that are asked for, one kind after another."""
        files = [*(packaged_files() if self.packaged else []), *map(Path, self.files)]
        puzzles = [puzzle for puzzle in read_puzzles(files) if not self.kinds or puzzle.kind in self.kinds]
        if not puzzles:
            raise SettingError("puzzles.files", list(self.files), "files of puzzles, or packaged=true")
        return sorted(puzzles, key=lambda puzzle: KINDS.index(puzzle.kind))


def judges_of(params: Params, names: Sequence[str] | None) -> list[Judge]:
    """Build the configured simulators and scorers, or those of them that are named.

    Those that run the subject are left out: puzzles are no unit of it.
    """
    simulators, scorers = params["simulators"], params.get("scorers") or {}
    chosen = _chosen({**simulators, **scorers}, names, "puzzles.judges")
    built = build_all({name: spec for name, spec in simulators.items() if name in chosen}, "simulators")
    judges: list[Judge] = [SimulatorJudge(simulator) for simulator in without_subject(built).values()]
    asked = build_all({name: spec for name, spec in scorers.items() if name in chosen}, "scorers")
    return judges + [ScorerJudge(scorer) for scorer in without_subject(asked).values()]


def without_subject(parts: Mapping[str, T]) -> dict[str, T]:
    """Leave out parts that need the subject at hand, and a person's explanations of its units."""
    needs = ("with_reader", "for_target")
    return {name: part for name, part in parts.items() if not any(hasattr(part, method) for method in needs)}


def _chosen(specs: Mapping[str, Any], names: Sequence[str] | None, setting: str) -> dict[str, Any]:
    """Take the specs that are named, all of them for None."""
    for name in names or ():
        if name not in specs:
            raise SettingError(setting, name, f"null, or some of {', '.join(specs)}")
    return {name: spec for name, spec in specs.items() if names is None or name in names}


def try_all(judges: Sequence[Judge], puzzles: Sequence[Puzzle]) -> list[Trial]:
    """Try one judge after another."""
    trials: list[Trial] = []
    for judge in judges:
        with tqdm(total=len(puzzles), desc=f"puzzles before {judge.name}", unit="puzzle") as bar:
            trials += run_async(try_judge(judge, puzzles, bar.update))
    return trials


def explain_all(
    explainers: Mapping[str, Explainer], judges: Sequence[Judge], cases: Sequence[Case]
) -> tuple[list[Written], list[Found]]:
    """Let every explainer write, and every judge judge what it can read of that."""
    all_written: list[Written] = []
    found: list[Found] = []
    for name, explainer in explainers.items():
        written = run_async(explain_cases(explainer, cases))
        all_written += written
        for judge in tqdm(judges, desc=f"what {name} wrote", unit="judge"):
            found += run_async(judge_written(judge, written))
    return all_written, found


def not_compared(written: Sequence[Written]) -> list[str]:
    """Say of explainers that choose among several answers how often no context was left to choose by."""
    lines = []
    for name in names(one.explanation.explainer for one in written if one.explanation.candidates):
        own = [one.explanation for one in written if one.explanation.explainer == name]
        n_not = sum(not explanation.chosen_on for explanation in own)
        if n_not:
            why = "every context in which the unit fires was shown, and none is left to choose by"
            lines.append(f"{name} takes its likeliest answer in {n_not} of {len(own)} puzzles: {why}")
    return lines


def main(*words: str) -> None:
    """Try everything that is configured, print the page and write it."""
    parser = command_line("puzzles", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as lm=smollm2")
    arguments = parser.parse_args(words)
    params = composed_params(["puzzles=packaged", *arguments.overrides])
    chosen = settings(PuzzleSettings, params["puzzles"], "puzzles")
    bootstrap = settings(Bootstrap, chosen.bootstrap, "puzzles.bootstrap")
    puzzles, judges = chosen.read(), judges_of(params, chosen.judges)
    named = _chosen(params["explainers"], chosen.explainers, "puzzles.explainers")
    explainers = without_subject(build_all(named, "explainers"))
    able = [judge for judge in judges if reads_sentences(judge, puzzles)]
    about = [f"language model: {build_once(params['lm'], 'lm').name}"]
    about += [f"not tried, for it reads no sentences: {judge.name}" for judge in judges if judge not in able]
    trials = try_all(able, puzzles)
    written, found = explain_all(explainers, judges, [case_of(puzzle) for puzzle in puzzles])
    about += not_compared(written)
    command = " ".join(["python -m flows.puzzles", *words])
    findings = PuzzleFindings(command, about, puzzles, trials, written, found, bootstrap)
    write_page(findings, Path(chosen.page))
    print(page(findings))


if __name__ == "__main__":
    run(main)
