"""The table of claims: what was claimed, what was measured here, and whether it held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentese.metrics.claims import Figures, Judged, spread_of
from latentese.metrics.contrasts import Contrast
from latentese.report.markdown import markdown_table, number_text, plain
from latentese.store.files import write_json, write_text


@dataclass(frozen=True)
class ClaimFindings:
    """Every claim, judged, and every figure that was looked at."""

    command: str
    """What makes this table again."""
    about: Sequence[str]
    """What was measured on: lines of text."""
    judged: Mapping[str, Judged]
    figures: Mapping[str, Mapping[str, Figures]]
    """By measure and arm."""
    level: float


def write_claims(findings: ClaimFindings, page_file: Path, json_file: Path) -> None:
    """Write the page and its figures."""
    write_json(claims_json(findings), json_file)
    write_text(page(findings), page_file)


def claims_json(findings: ClaimFindings) -> dict[str, Any]:
    """Everything on the page, as numbers."""
    return {
        "about": list(findings.about),
        "level": findings.level,
        "claims": {name: _claim_json(judged) for name, judged in findings.judged.items()},
        "figures": {
            measure: {arm: [None if one is None else one.value for one in of_arm] for arm, of_arm in arms.items()}
            for measure, arms in findings.figures.items()
        },
    }


def _claim_json(judged: Judged) -> dict[str, Any]:
    claim, found = judged.claim, judged.found
    return {
        "says": claim.says,
        "source": claim.source,
        "measure": claim.measure,
        "weights": dict(claim.weights),
        "scale": claim.scale,
        "claimed": f"{claim.expect} {claim.border:g}",
        "means": dict(judged.means),
        "found": found.interval._asdict() if found else None,
        "n_seeds": found.n_seeds if found else None,
        "n_documents": found.n_documents if found else None,
        "verdict": judged.verdict,
        "why": judged.why,
    }


def page(findings: ClaimFindings) -> str:
    """Write the page."""
    verdicts = [judged.verdict for judged in findings.judged.values()]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("held", "did not hold", "undecided"))
    heading = ["claim", "measure", "means", "compared", f"found, {findings.level:.0%} interval", "over", "verdict"]
    parts = [
        "# Claims, re-tested",
        f"{len(verdicts)} claims: {counts}. Made by `{findings.command}`; every figure is from `test` documents.",
        "\n".join(f"- {line}" for line in findings.about),
        markdown_table(heading, [_row(judged) for judged in findings.judged.values()], is_escaped=True),
        "A claim held when the whole interval of its comparison lies on the claimed side, and did not hold when all of "
        "it lies on the other; otherwise it is undecided. Dictionaries are compared seed by seed. The interval is "
        "Student's, over seeds, and over resampled documents too where the figure is made from them. Intervals are not "
        "corrected for the number of claims.",
        "## Figures",
        "Means over seeds, with the smallest and the largest.",
        _figures_table(findings),
    ]
    return "\n\n".join(parts) + "\n"


def _row(judged: Judged) -> list[str]:
    claim, found = judged.claim, judged.found
    means = ", ".join(f"{plain(arm)} {number_text(mean)}" for arm, mean in judged.means.items())
    claimed = f"{_comparison(judged)} {'>' if claim.expect == 'above' else '<'} {claim.border:g}"
    verdict = f"**{judged.verdict}**" + (f": {plain(judged.why)}" if judged.why else "")
    said = plain(f"{claim.says} ({claim.source})")
    return [said, plain(claim.measure), means, claimed, _found(found), _over(found), verdict]


def _comparison(judged: Judged) -> str:
    """Write the comparison out: `relu - topk`, or `topk / relu`."""
    weights = {plain(arm): weight for arm, weight in judged.claim.weights.items()}
    if judged.claim.scale == "ratio":
        return " * ".join(arm if weight == 1 else f"{arm}^{weight:g}" for arm, weight in weights.items())
    terms = [f"{'+' if weight > 0 else '-'} {_times(abs(weight))}{arm}" for arm, weight in weights.items()]
    return " ".join(terms).removeprefix("+ ")


def _times(weight: float) -> str:
    return "" if weight == 1 else f"{weight:g} "


def _found(found: Contrast | None) -> str:
    if found is None:
        return "-"
    value, low, high = found.interval
    return f"{number_text(value)} [{number_text(low)}, {number_text(high)}]"


def _over(found: Contrast | None) -> str:
    if found is None:
        return "-"
    return f"{found.n_seeds} seeds" + (f", {found.n_documents} documents" if found.n_documents else "")


def _figures_table(findings: ClaimFindings) -> str:
    arms = list(dict.fromkeys(arm for of_measure in findings.figures.values() for arm in of_measure))
    rows = [[plain(arm), *(_spread(of_measure.get(arm)) for of_measure in findings.figures.values())] for arm in arms]
    return markdown_table(["", *map(plain, findings.figures)], rows, is_escaped=True)


def _spread(figures: Figures | None) -> str:
    if figures is None:
        return ""
    value, low, high = spread_of(figures)
    return "-" if value is None else f"{number_text(value)} ({number_text(low)} to {number_text(high)})"
