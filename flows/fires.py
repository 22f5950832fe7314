"""Say which units fire on a text that you type.

    python -m flows.fires latents "The river rose in March"              per token, the strongest units
    python -m flows.fires latents "The river rose in March" --unit 1933  one unit's activation at each token

Needs the target's dictionary and examples (`dvc repro sample`); what units respond to is told where they are explained.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.config import Params, read_params
from flows.entry import command_line, run
from flows.paths import of_target
from flows.reading import reader_of
from latentese.errors import LatenteseError, SettingError
from latentese.examples.store import Examples
from latentese.reading.base import ReadText
from latentese.reading.subject_reader import LEAD
from latentese.report.visible import visible
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations

SHADES = ("", "on grey23", "on dark_orange3", "on red3")
"""Backgrounds of a token by its share of the unit's largest activation: silent, below a third, two thirds, above."""


@dataclass(frozen=True)
class Firing:
    """One unit at one token."""

    unit: int
    act: float


def main(*words: str) -> None:
    """Print which units fire on a text, or what one of them does."""
    arguments = _parser().parse_args(words)
    params = read_params()
    check_target(params, arguments.target)
    if not of_target(arguments.target, "examples").is_dir():
        raise LatenteseError(f"{of_target(arguments.target, 'examples')} is not there yet: run `dvc repro sample`")
    units = Examples(of_target(arguments.target, "examples")).units.sort("unit")
    if arguments.unit is not None and not 0 <= arguments.unit < units.height:
        raise SettingError("--unit", arguments.unit, f"0..{units.height - 1}")
    if arguments.n_strongest < 1:
        raise SettingError("--n-strongest", arguments.n_strongest, "at least 1")
    reader = reader_of(params, arguments.target, of_target)
    [read] = reader.read([arguments.text], None if arguments.unit is None else [arguments.unit])
    said = explained(params, arguments.target)
    thresholds = units["threshold"].to_numpy()
    if arguments.unit is None:
        shown: RenderableType = strongest_table(read, strongest(read, thresholds, arguments.n_strongest), said)
    else:
        row = units.row(arguments.unit, named=True)
        shown = unit_line(read, arguments.unit, (row["threshold"], row["max_act"]), said)
    Console().print(shown)
    if len(read.context.text) < len(LEAD + arguments.text):
        Console().print(f"Read up to {len(read.context.tokens)} tokens, where the contexts of the study end.")


def check_target(params: Params, target: str) -> None:
    """Raise SettingError for a target that is not configured."""
    if target not in params["targets"]:
        raise SettingError("target", target, f"one of {', '.join(params['targets'])}")


def explained(params: Params, target: str) -> dict[int, str]:
    """Say what each explained unit responds to, in the words of the first configured explainer that has some."""
    folder = of_target(target, "explanations")
    if not folder.is_dir():
        return {}
    written = read_explanations(open_artifact(folder, "explanations").file("explanations.jsonl"))
    rank = {name: i for i, name in enumerate(params["explainers"])}
    said: dict[int, str] = {}
    for explanation in sorted(written, key=lambda explanation: rank.get(explanation.explainer, len(rank))):
        if explanation.text is not None:
            said.setdefault(explanation.unit, explanation.text)
    return said


def strongest(read: ReadText, thresholds: np.ndarray, n_strongest: int) -> list[list[Firing]]:
    """Of each token, the units that fire most strongly there, strongest first; thresholds [n_units]."""
    fired = np.where(read.acts > thresholds, read.acts, 0.0)
    order = np.argsort(-fired, axis=1, kind="stable")[:, :n_strongest]
    return [
        [Firing(int(unit), float(acts[unit])) for unit in units if acts[unit] > 0]
        for units, acts in zip(order, fired, strict=True)
    ]


def strongest_table(read: ReadText, firings: Sequence[Sequence[Firing]], said: Mapping[int, str]) -> Table:
    """One row per firing: the token once, then units with activation and explanation."""
    table = Table("token", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("unit", justify="right")
    table.add_column("activation", justify="right")
    table.add_column("explanation")
    for token, counts, of_token in zip(read.context.tokens, read.context.keep, firings, strict=True):
        if not counts:
            continue
        named = Text(visible(token))
        for firing in of_token:
            words = Text(visible(said.get(firing.unit, "-")))
            table.add_row(named, str(firing.unit), f"{firing.act:.2f}", words)
            named = Text("")
        if not of_token:
            table.add_row(named, "-", "-", "")
    return table


def unit_line(
    read: ReadText, unit: int, threshold_and_largest: tuple[float, float], said: Mapping[int, str]
) -> RenderableType:
    """Show the unit's activation behind each token on which it fires, shaded by its share of the largest."""
    threshold, largest = threshold_and_largest
    line = Text()
    for token, counts, act in zip(read.context.tokens, read.context.keep, read.acts[:, 0].tolist(), strict=True):
        if not counts:
            continue
        fires = act > max(threshold, 0.0)
        shade = SHADES[1 + min(2, int(3 * act / largest))] if fires and largest > 0 else SHADES[int(fires)]
        line.append(visible(token), shade)
        if fires:
            line.append(f"[{act:.2f}]", "dim")
    heading = Text(f"unit {unit}: {visible(said.get(unit, 'not explained'))}", "bold")
    return Group(heading, line, Text(f"fires above {threshold:.2f}; at most {largest:.2f} on explain documents", "dim"))


def _parser() -> argparse.ArgumentParser:
    parser = command_line("fires", __doc__)
    parser.add_argument("target", help="a target of the study, such as latents")
    parser.add_argument("text", help="what the subject reads")
    parser.add_argument("--unit", type=int, help="show this unit alone, at every token")
    parser.add_argument("--n-strongest", type=int, default=3, help="units shown per token (3)")
    return parser


if __name__ == "__main__":
    run(main)
