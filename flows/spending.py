"""What the stages of this process asked of the language model."""

from __future__ import annotations

from dataclasses import asdict

from flows.config import Params, build_once
from flows.entry import Measured


def language_model_spending(params: Params) -> Measured:
    """Questions asked and answered from the cache, and tokens, of the model named by `lm`, if it keeps a ledger."""
    ledger = getattr(build_once(params["lm"], "lm"), "ledger", None)
    return {"lm": asdict(ledger)} if ledger else {}
