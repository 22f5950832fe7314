"""What the figures allow to be said, in plain sentences. Every verdict follows from an interval, good news or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from latentese.report.numbers import estimate_text, units_text

Verdict = Literal["good", "bad", "open", "note"]

CONTROLS = (
    ("over_re_explanation", "explaining again", "the re-explanation control (as many extra examples, no revision)"),
    ("over_random", "random texts", "the control that shows random texts in the place of counterexamples"),
)
"""Of each control of refinement: the key of the gain over it, its name, and what it is."""


@dataclass(frozen=True)
class Statement:
    """One finding: the verdict in a few words, then the figures behind it."""

    verdict: Verdict
    head: str
    detail: str


def statements(summary: Mapping[str, Any]) -> list[Statement]:
    """Say what was found about one target, from its summary (see `summary.summarise`)."""
    found = [
        _right_over_wrong(summary),
        _over_baseline(summary),
        *_refinement(summary),
        _explanations(summary),
        _undefined(summary),
    ]
    return [statement for statement in found if statement is not None]


def interval_text(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """Write an estimate as text: `0.41 [0.30, 0.52]`."""
    return estimate_text(estimate, signed).replace("-", "\N{MINUS SIGN}")


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
        f"{units_text(n_unscored)} explained but without a score",
        "The true or the simulated activations are constant, or every simulation failed. They are in no mean.",
    )


def _right_over_wrong(summary: Mapping[str, Any]) -> Statement | None:
    gain = summary["gain"]["right_over_wrong"]
    if "mean" not in gain:
        return None
    detail = (
        f"A unit\u2019s own explanation scores {interval_text(gain, signed=True)} more than that of another unit "
        f"given to the same simulator ({units_text(gain['n_units'])}, before refinement)."
    )
    head = _head(
        gain,
        "The explanations say something about their own units",
        "The explanations do worse than those of other units",
        "No evidence that the explanations beat those of other units",
    )
    return Statement(_sign(gain), head, detail)


def _over_baseline(summary: Mapping[str, Any]) -> Statement | None:
    gain = summary["gain"].get("over_table_baseline", {})
    if "mean" not in gain:
        return None
    name = summary["baseline"].replace("_", " ")
    head = _head(
        gain,
        f"The {name}, which needs no language model, predicts worse",
        f"The {name}, which needs no language model, predicts better",
        f"No evidence of a difference to the {name}, which needs no language model",
    )
    detail = (
        f"First explanations score {interval_text(gain, signed=True)} against the {name} read in its own form "
        f"({units_text(gain['n_units'])} with both scores)."
    )
    return Statement(_sign(gain), head, detail)


def _refinement(summary: Mapping[str, Any]) -> list[Statement]:
    gains = summary["gain"]
    gain = gains["refinement"]
    if "mean" not in gain:
        return [_no_refinement(summary)]
    took_part, n_improved = units_text(summary["n_refined"]), summary["n_improved"]
    found = [
        Statement(
            _sign(gain),
            _head(
                gain,
                "Refinement raised scores on test",
                "Refinement lowered scores on test",
                "No evidence that refinement helped",
            ),
            f"Score after minus score before: {interval_text(gain, signed=True)}. {took_part} took part, "
            f"{n_improved} got a revision that was accepted.",
        )
    ]
    for key, control, what in CONTROLS:
        over = gains.get(key, {})
        if "mean" in over:
            head = _head(
                over,
                f"Counterexamples beat {control}",
                f"{control.capitalize()} beat counterexamples",
                f"No evidence of gain over {control}",
            )
            detail = f"Refinement\u2019s gain over {what} is {interval_text(over, signed=True)}."
            found.append(Statement(_sign(over), head, detail))
    return found


def _no_refinement(summary: Mapping[str, Any]) -> Statement:
    """Say why refinement has no gain."""
    if not summary["n_explained"]:
        return Statement("note", "Nothing was refined", "No unit has an explanation.")
    n_refined = summary["n_refined"]
    if not n_refined and summary.get("n_apart"):
        return Statement("note", "Nothing was refined", "Refinement was given the explanations of another explainer.")
    if not n_refined:
        return Statement("note", "Nothing was refined", "No unit scored under the threshold on select.")
    detail = f"{units_text(n_refined)} took part, none with a score on test on both sides."
    return Statement("open", "The gain of refinement is not defined", detail)


def _sign(estimate: Mapping[str, Any]) -> Verdict:
    """Judge by the interval; without one, nothing is decided."""
    if estimate.get("low", 0.0) > 0:
        return "good"
    return "bad" if estimate.get("high", 0.0) < 0 else "open"


def _head(estimate: Mapping[str, Any], good: str, bad: str, undecided: str) -> str:
    return {"good": good, "bad": bad, "open": undecided}[_sign(estimate)]
