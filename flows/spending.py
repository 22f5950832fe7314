"""What the stages of this process asked of language models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flows.config import Params, build_once
from flows.entry import Measured
from flows.fetch import model_specs


def language_model_spending(params: Params) -> Measured:
    """Questions asked and answered from the cache, and tokens, of all models that keep answers, together.

    Of served models also attempts, what the servers may charge for, and money at the listed prices.
    """
    spent: dict[str, float | None] = {}
    for name, value in _counts(params):
        known = spent.get(name)
        spent[name] = value if known is None else known if value is None else known + value
    return {"lm": spent} if spent else {}


def _counts(params: Params) -> Iterator[tuple[str, float | None]]:
    """Every count of every model of `lm`, and of those that a simulator or scorer has of its own."""
    for setting, spec in model_specs(params, "latentese.lm.cached.").items():
        model = build_once(spec, setting)
        for part in (getattr(model, "ledger", None), getattr(model, "meter", None)):
            yield from asdict(part).items() if part else ()
