"""What the figures allow to be said, in plain sentences. Every verdict follows from an interval, good news or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["good", "bad", "open", "note"]


@dataclass(frozen=True)
class Statement:
    """One finding: the verdict in a few words, then the figures behind it."""

    verdict: Verdict
    head: str
    detail: str


def statements(summary: Mapping[str, Any]) -> list[Statement]:
    """Say what was found about one target, from its summary (see `summary.summarise`)."""
    found = [_right_over_wrong(summary), *_refinement(summary), _explanations(summary), _undefined(summary)]
    return [statement for statement in found if statement is not None]


def interval_text(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """Write an estimate as text: `0.41 [0.30, 0.52]`."""
    sign = "+" if signed else ""
    mean, low, high = (f"{estimate[key]:{sign}.2f}".replace("-", "\N{MINUS SIGN}") for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _explanations(summary: Mapping[str, Any]) -> Statement:
    n_failed, n_studied = summary["n_failed"], summary["n_studied"]
    if not n_failed:
        return Statement(
            "note", f"All {n_studied} units were explained", "No answer of the explainer had to be dropped."
        )
    return Statement(
        "bad",
        f"{n_failed} of {n_studied} units could not be explained",
        "The explainer gave no usable answer. These units have no score, are listed as failed and are in no mean.",
    )


def _undefined(summary: Mapping[str, Any]) -> Statement | None:
    n_unscored = summary["n_unscored"]
    if not n_unscored:
        return None
    return Statement(
        "note",
        f"{_units(n_unscored)} explained but without a score",
        "The true or the simulated activations are constant, or every simulation failed. They are in no mean.",
    )


def _right_over_wrong(summary: Mapping[str, Any]) -> Statement | None:
    gain = summary["gain"]["right_over_wrong"]
    if "mean" not in gain:
        return None
    detail = (
        f"A unit\u2019s own explanation scores {interval_text(gain, signed=True)} more than that of another unit "
        f"given to the same simulator ({_units(gain['n_units'])}, before refinement)."
    )
    if gain["low"] > 0:
        return Statement("good", "The explanations say something about their own units", detail)
    if gain["high"] < 0:
        return Statement("bad", "The explanations do worse than those of other units", detail)
    return Statement("open", "No evidence that the explanations beat those of other units", detail)


def _refinement(summary: Mapping[str, Any]) -> list[Statement]:
    gains = summary["gain"]
    gain, over = gains["refinement"], gains["over_re_explanation"]
    if "mean" not in gain:
        return [Statement("note", "Nothing was refined", "No unit scored under the threshold on select.")]
    took_part = f"{_units(summary['n_refined'])} took part, {summary['n_accepted']} got a revision that was accepted."
    found = [
        Statement(
            _sign(gain),
            _head(
                gain,
                "Refinement raised scores on test",
                "Refinement lowered scores on test",
                "No evidence that refinement helped",
            ),
            f"Score after minus score before: {interval_text(gain, signed=True)}. {took_part}",
        )
    ]
    if "mean" in over:
        head = _head(
            over,
            "Counterexamples beat explaining again",
            "Explaining again beat counterexamples",
            "No evidence of gain over explaining again",
        )
        detail = (
            "Refinement\u2019s gain over the re-explanation control (as many extra examples, no revision) is "
            f"{interval_text(over, signed=True)}."
        )
        found.append(Statement(_sign(over), head, detail))
    return found


def _sign(estimate: Mapping[str, Any]) -> Verdict:
    if estimate["low"] > 0:
        return "good"
    return "bad" if estimate["high"] < 0 else "open"


def _head(estimate: Mapping[str, Any], good: str, bad: str, undecided: str) -> str:
    return {"good": good, "bad": bad, "open": undecided}[_sign(estimate)]


def _units(n_units: int) -> str:
    return "1 unit" if n_units == 1 else f"{n_units} units"
