"""Put the findings of several runs side by side: scores by kind of unit, layer, density, explainer and simulator.

    python -m flows.findings main workspace            a Git revision, and what is here
    python -m flows.findings k16 k32 wide=k64          DVC experiments, the last one under a name of its own
    python -m flows.findings mine=. theirs=../other    folders of projects: each has params.yaml and artifacts/

Scores are averaged again from each run's artifacts, as its own report does, over the same contexts in all of them.
Nothing of the runs is touched. `reports/findings/` has the page, findings.csv and figures; MLflow has one run of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.config import read_params, settings
from flows.entry import command_line, run
from flows.paths import FINDINGS, of_target, tracking_uri
from flows.publish import finding_metrics
from flows.revisions import Revision, open_revision
from latentese.errors import SettingError
from latentese.report.findings import CONTEXTS, FindingsSettings, kind_of
from latentese.report.inputs import ReportSettings, Target
from latentese.report.runs import RunFindings, ScoredArtifacts, findings_of, open_scored
from latentese.report.runs_page import write_runs
from latentese.store.files import sha256_json
from latentese.tracking import PipelineRun, publish_run


def main(*words: str) -> None:
    """Read every run, write the page, publish."""
    parser = command_line("findings", __doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="[NAME=]REV_OR_FOLDER", help="Git revision, DVC experiment, folder, or `workspace`"
    )
    parser.add_argument("--contexts", default=FindingsSettings.contexts, help=f"one of {', '.join(CONTEXTS)}")
    parser.add_argument("--out", type=Path, default=FINDINGS, help=f"where results go (default: {FINDINGS})")
    arguments = parser.parse_args(words)
    if arguments.contexts not in CONTEXTS:
        raise SettingError("--contexts", arguments.contexts, f"one of {', '.join(CONTEXTS)}")
    params = read_params()  # whose MLflow: it stops here, before anything is averaged
    runs = [read_run(name, source, arguments.contexts) for name, source in named(arguments.runs)]
    write_runs(runs, " ".join(["python -m flows.findings", *words]), arguments.out)
    publish(runs, arguments.out, tracking_uri(params), params["tracking"]["experiment"])
    print(f"{arguments.out}/README.md: {', '.join(one.name for one in runs)}")


def named(words: Sequence[str]) -> list[tuple[str, str]]:
    """Split `name=source`, or take the source for a name; names differ, in MLflow's letters too."""
    found = [(name, source) if equals else (word, word) for word in words for name, equals, source in [_parts(word)]]
    keys = [tracked_name(name) for name, _ in found]
    for (name, _), key in zip(found, keys, strict=True):
        if not key or keys.count(key) > 1:
            raise SettingError("run", name, "names that differ in letters or digits; write NAME=REV_OR_FOLDER")
    return found


def _parts(word: str) -> tuple[str, str, str]:
    name, equals, source = word.partition("=")
    if equals and not (name and source):
        raise SettingError("run", word, "NAME=REV_OR_FOLDER")
    return name, equals, source


def tracked_name(name: str) -> str:
    """Write a run's name so that it can be part of a metric's: MLflow takes letters, digits and a few signs."""
    return re.sub(r"[^\w.:-]+", "-", name, flags=re.ASCII).strip("-.")


def read_run(name: str, source: str, contexts: str) -> RunFindings:
    """Read and average one run's scores; its copies are gone when this returns."""
    with open_revision(source) as revision:
        revision.require("report", "targets")
        chosen = settings(ReportSettings, revision.params["report"], "report")
        targets = [_target(revision, target) for target in revision.params["targets"]]
        averaged = FindingsSettings(contexts, chosen.n_boot, targets[0].level, chosen.seed)
        return RunFindings(
            name=name,
            explainer=chosen.primary_explainer,
            simulator=chosen.primary_simulator,
            targets={target.name: f"{kind_of(target.dictionary)} at {target.hookpoint}" for target in targets},
            level=averaged.level,
            found=findings_of(name, targets, averaged),
        )


def _target(revision: Revision, target: str) -> Target:
    def fetch(name: str) -> Path:
        return revision.fetch(of_target(target, name))

    manifest = revision.fetch(of_target(target, "dictionary") / "manifest.json")
    paths = ScoredArtifacts(fetch("examples"), fetch("explanations"), fetch("scores"), manifest)
    return open_scored(target, paths, revision.params["targets"][target]["hookpoint"])


def publish(runs: Sequence[RunFindings], folder: Path, uri: str, experiment: str) -> str:
    """Make one MLflow run of all findings; the same findings under the same names are the same run."""
    params = {f"{tracked_name(one.name)}.{target}": about for one in runs for target, about in one.targets.items()}
    key = sha256_json([params, [[one.name, one.found.rows()] for one in runs]])
    published = PipelineRun(
        key=key,
        name=f"findings {' '.join(one.name for one in runs)}-{key[:8]}",
        params=params,
        metrics=dict(_metrics(runs)),
        artifacts={"findings": folder},
    )
    return publish_run(published, uri, experiment)


def _metrics(runs: Sequence[RunFindings]) -> Iterator[tuple[str, float]]:
    for one in runs:
        for name, value in finding_metrics(one.found):
            yield f"{tracked_name(one.name)}/{name}", value


if __name__ == "__main__":
    run(main)
