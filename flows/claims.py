"""Re-test a paper's claims on this configuration's activations: one command.

    python -m flows.claims paper                        conf/claims/paper.yaml
    python -m flows.claims paper sweep.per_pass=4       with Hydra overrides

A definition is a sweep, which trains and measures every dictionary that a claim compares, and the claims themselves.
Killed, it goes on where it was. Writes reports/claims.md and reports/claims.json, and an MLflow run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.cells import Cells
from flows.config import Params, settings
from flows.entry import command_line, run
from flows.paths import tracking_uri
from flows.plan import Cell, Plan, matches
from flows.publish import flat_metrics, flat_params
from flows.sweep import Sweep, run_sweep
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.claims import Claim, Figures, Judged, Matching, judge, mean_of
from latentese.metrics.intervals import Bootstrap
from latentese.report.claim_figures import DocumentSums, Measure, read_figure
from latentese.report.claims import ClaimFindings, claims_json, write_claims
from latentese.store.artifact import open_artifact
from latentese.store.files import sha256_json
from latentese.tracking import PipelineRun, publish_run

SEED = "seed"


@dataclass(frozen=True)
class ClaimsSettings:
    """What conf/claims/*.yaml says beside its sweep."""

    page: str
    """The table, in Markdown; its figures go to a JSON file beside it."""
    measures: Mapping[str, Mapping[str, Any]]
    arms: Mapping[str, Mapping[str, Any]]
    """Which cells each arm is: one per seed."""
    claims: Mapping[str, Mapping[str, Any]]
    l0: str
    """The measure in which matched arms must agree."""
    l0_within: float = 0.1
    """By how much they may differ, as a share."""
    bootstrap: Mapping[str, Any] = field(default_factory=dict)


class Claims:
    """Claims, and the arms that they compare."""

    def __init__(self, params: Params, plan: Plan) -> None:
        self.settings = settings(ClaimsSettings, params["claims"], "claims")
        self.bootstrap = settings(Bootstrap, self.settings.bootstrap, "claims.bootstrap")
        self.measures = {name: _measure(spec, name) for name, spec in self.settings.measures.items()}
        self.claims = _each(Claim, self.settings.claims, "claims.claims")
        if self.settings.l0 not in self.measures:
            raise SettingError("claims.l0", self.settings.l0, f"one of {', '.join(self.measures)}")
        self.cells = Cells(plan)
        self.arms = {arm: _cells_of(plan, arm, pattern) for arm, pattern in self.settings.arms.items()}
        for name, claim in self.claims.items():
            self._check(f"claims.claims.{name}", claim)

    def findings(self, command: str) -> ClaimFindings:
        """Read every figure that a claim needs, and judge the claims."""
        wanted = dict.fromkeys([*(claim.measure for claim in self.claims.values()), self.settings.l0])
        figures = {
            measure: {
                arm: self._figures(measure, cells) for arm, cells in self.arms.items() if self._has(measure, cells)
            }
            for measure in wanted
        }
        l0 = {arm: mean_of(of_arm) for arm, of_arm in figures[self.settings.l0].items()}
        matching = Matching(self.settings.l0_within, l0)
        judged: dict[str, Judged] = {
            name: judge(claim, figures[claim.measure], matching, self.bootstrap) for name, claim in self.claims.items()
        }
        return ClaimFindings(command, self._about(), judged, figures, self.bootstrap.level)

    def _check(self, setting: str, claim: Claim) -> None:
        """Refuse a claim about what there is not, before anything is trained for it."""
        if claim.measure not in self.measures:
            raise SettingError(f"{setting}.measure", claim.measure, f"one of {', '.join(self.measures)}")
        for arm in claim.weights:
            if arm not in self.arms:
                raise SettingError(f"{setting}.weights", arm, f"one of {', '.join(self.arms)}")
            for measure in (claim.measure, *([self.settings.l0] if claim.matched else [])):
                if not self._has(measure, self.arms[arm]):
                    evaluation = self.measures[measure].evaluation
                    raise SettingError(f"{setting}.weights", arm, f"an arm on which {evaluation} is measured")
        seeds = {tuple(_seeds(self.arms[arm])) for arm in claim.weights}
        if len(seeds) > 1 or len(seeds.pop()) < 2:
            raise SettingError(f"{setting}.weights", list(claim.weights), "arms with the same seeds, at least 2")

    def _has(self, measure: str, cells: Sequence[Cell]) -> bool:
        return all(self.measures[measure].evaluation in cell.evaluations for cell in cells)

    def _figures(self, name: str, cells: Sequence[Cell]) -> Figures:
        measure = self.measures[name]
        found = []
        for cell in cells:
            artifact = open_artifact(self.cells.folder(cell, measure.evaluation), "evaluation")
            found.append(read_figure(artifact, measure))
        return found

    def _about(self) -> list[str]:
        """Say what was measured on."""
        lines = []
        for source, place in self.cells.places.items():
            manifest = open_artifact(place.activations, "activations").manifest
            rows = {split: stop - start for split, (start, stop) in manifest.counts["rows"].items()}
            width, n_train, n_test = manifest.counts["width"], rows.get("train", 0), rows.get("test", 0)
            lines.append(
                f"{source}: `{manifest.settings.get('hookpoint')}` of {manifest.settings.get('subject')}, width "
                f"{width}, {n_train:,} tokens to train on and {n_test:,} to test"
            )
        cells = [cell for cells in self.arms.values() for cell in cells]
        n_tokens = sorted({cell.training["n_tokens"] for cell in cells})
        seeds = sorted({cell.point[SEED] for cell in cells})
        lines.append(
            f"{len(cells)} dictionaries, trained on {', '.join(f'{n:,}' for n in n_tokens)} tokens, seeds {seeds}"
        )
        n_steps = sorted({settings(TrainSettings, cell.training, "sweep.training").n_steps for cell in cells})
        if len({cell.training["lr"] for cell in cells}) == 1:
            lines.append(
                f"{', '.join(map(str, n_steps))} steps at one rate for all kinds of a width, tuned to none and not to "
                "convergence: a kind that learns slowly is judged early"
            )
        lines += [f"{arm}: {', '.join(f'{axis}={value}' for axis, value in pattern.items())}"
                  for arm, pattern in self.settings.arms.items()]  # fmt: skip
        return lines


def _measure(spec: Mapping[str, Any], name: str) -> Measure:
    documents = spec.get("documents")
    made_from = settings(DocumentSums, documents, f"claims.measures.{name}.documents") if documents else None
    return settings(Measure, {**spec, "documents": made_from}, f"claims.measures.{name}")


def _each(cls: type[Any], specs: Mapping[str, Mapping[str, Any]], setting: str) -> dict[str, Any]:
    return {name: settings(cls, spec, f"{setting}.{name}") for name, spec in specs.items()}


def _cells_of(plan: Plan, arm: str, pattern: Mapping[str, Any]) -> list[Cell]:
    """Find the cells of an arm, by seed; exactly one per seed."""
    found = [cell for cell in plan.cells if matches(cell.point, pattern)]
    if not found or len(_seeds(found)) < len(found):
        raise SettingError(
            f"claims.arms.{arm}", dict(pattern), f"a pattern of one cell per seed, not of {len(found)} cells"
        )
    return sorted(found, key=lambda cell: int(cell.point.get(SEED, 0)))


def _seeds(cells: Sequence[Cell]) -> list[int]:
    return sorted({int(cell.point.get(SEED, 0)) for cell in cells})


def publish(findings: ClaimFindings, swept: Sweep, page: Path) -> None:
    """Make one MLflow run of the verdicts."""
    figures = claims_json(findings)
    verdicts = {name: judged.verdict for name, judged in findings.judged.items()}
    key = sha256_json([swept.plan.settings.name, figures])
    metrics = {name: {"found": claim["found"] or {}} for name, claim in figures["claims"].items()}
    published = PipelineRun(
        key=key,
        name=f"claims {swept.plan.settings.name}-{key[:8]}",
        params={**verdicts, **dict(flat_params({"sweep": {"grids": list(swept.plan.settings.grids)}}))},
        metrics=dict(flat_metrics(metrics)),
        artifacts={"claims": page},
    )
    publish_run(published, tracking_uri(swept.params), swept.params["tracking"]["experiment"])


def main(*words: str) -> None:
    """Train what is missing, judge every claim, write the table."""
    parser = command_line("claims", __doc__)
    parser.add_argument("name", help="a file of conf/claims/")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as sweep.per_pass=4")
    arguments = parser.parse_args(words)
    choice = f"claims={arguments.name}"
    prepared = Sweep(choice, arguments.overrides)
    if "claims" not in prepared.params:
        raise LatenteseError(f"conf/claims/{arguments.name}.yaml: it has no claims")
    claims = Claims(prepared.params, prepared.plan)  # a claim that cannot be judged stops here, before any training
    run_sweep(choice, arguments.overrides)
    findings = claims.findings(" ".join(["python -m flows.claims", *words]))
    page = Path(claims.settings.page)
    write_claims(findings, page, page.with_suffix(".json"))
    publish(findings, prepared, page)
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
