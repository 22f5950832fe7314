"""A small study on disk up to its explanations: unit u fires on the token ` w{u}` of the toy contexts, and on others.

What explains unit u is therefore `w{u}`; unit 4 fires on two words, of which its first explanation names one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from toy_artifacts import ToyText, write_contexts
from toy_units import make_explanation

from latentese.corpus.contexts import Contexts
from latentese.records import Context, Explanation
from latentese.schemas import EXAMPLES, POOL, POOL_CONTEXTS, UNITS
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.tables import write_explanations, write_table

WORDS = {0: ("w0",), 1: ("w1",), 2: ("w2",), 4: ("w4", "w5")}
"""What each unit fires on."""
TEXTS = {0: "w0", 1: "w9 w1", 2: None, 4: "w4"}
"""What the first explainer says."""


@dataclass(frozen=True)
class Study:
    """Folders of the artifacts."""

    contexts: Path
    examples: Path
    explanations: Path


def write_study(folder: Path) -> Study:
    """Write contexts, examples and explanations."""
    contexts = write_contexts(folder / "contexts", text=ToyText(n_vocab=12))
    examples = _write_examples(folder / "examples", contexts)
    return Study(contexts, examples, _write_explanations(folder / "explanations", contexts, examples))


def _firing(unit: int, context: Context) -> dict[int, float]:
    strengths = {f" {word}": 3.0 - i for i, word in enumerate(WORDS[unit])}
    pairs = enumerate(zip(context.tokens, context.keep, strict=True))
    return {i: strengths[token] for i, (token, keep) in pairs if keep and token in strengths}


def _write_examples(out: Path, contexts: Path) -> Path:
    reader = Contexts(contexts)
    rows, pool, units = [], [], []
    everything = reader.get(range(reader.n_contexts))
    pool_contexts = [context for context in everything if context.split == "explain"]
    for draw, unit in enumerate(WORDS):
        for split in ("explain", "calibrate", "select", "test"):
            own = [context for context in everything if context.split == split]
            firing = [context for context in own if _firing(unit, context)]
            rows += [_row(unit, context, "top") for context in firing[:6]]
            rows += [_row(unit, context, "random") for context in own[-6:] if context not in firing[:6]]
        fired = {context.context: _firing(unit, context) for context in pool_contexts}
        pool += [
            {"unit": unit, "context": number, "positions": list(acts), "acts": list(acts.values())}
            for number, acts in fired.items()
            if acts
        ]
        units.append(
            {"unit": unit, "n_fires": 9, "density": 0.1, "max_act": 3.0, "mean_act": 3.0, "threshold": 0.0,
             "n_documents": 5, "draw": draw, "histogram": [9]}
        )  # fmt: skip
    with open_draft(out, "examples", {"contexts": open_artifact(contexts, "contexts")}, {}) as draft:
        write_table(pl.DataFrame(units, UNITS), UNITS, draft.path / "units.parquet")
        write_table(pl.DataFrame(rows, EXAMPLES), EXAMPLES, draft.path / "examples.parquet")
        write_table(pl.DataFrame(pool, POOL), POOL, draft.path / "pool.parquet")
        numbers = pl.DataFrame({"context": [c.context for c in pool_contexts]}, POOL_CONTEXTS)
        write_table(numbers, POOL_CONTEXTS, draft.path / "pool_contexts.parquet")
        draft.publish({"n_units": len(units)})
    return out


def _row(unit: int, context: Context, kind: str) -> dict[str, object]:
    acts = _firing(unit, context)
    return {
        "unit": unit, "context": context.context, "split": context.split, "kind": kind, "band": None,
        "max_act": max(acts.values(), default=0.0), "positions": list(acts), "acts": list(acts.values()),
    }  # fmt: skip


def _write_explanations(out: Path, contexts: Path, examples: Path) -> Path:
    rows = pl.read_parquet(examples / "examples.parquet").filter(split="explain", kind="top")
    explanations: list[Explanation] = []
    for unit, text in TEXTS.items():
        shown = tuple(rows.filter(unit=unit)["context"].head(3).to_list())
        explanations.append(make_explanation(text, unit, examples=shown, error=None if text else "empty answer"))
        table = tuple((f" {word}", 1.0) for word in WORDS[unit])
        explanations.append(make_explanation(None, unit, "table", table=table))
    inputs = {"contexts": open_artifact(contexts, "contexts"), "examples": open_artifact(examples, "examples")}
    with open_draft(out, "explanations", inputs, {}) as draft:
        write_explanations(explanations, draft.path / "explanations.jsonl")
        draft.publish({"n_units": len(WORDS)})
    return out
