"""What the stages of this process asked of the language model."""

from __future__ import annotations

from dataclasses import asdict

from flows.config import Params, build_once
from flows.entry import Measured


def language_model_spending(params: Params) -> Measured:
    """Questions asked and answered from the cache, and tokens, of the model named by `lm`, if it keeps a ledger.

    Of a served model also attempts, what the server may charge for, and money at the listed price.
    """
    lm = build_once(params["lm"], "lm")
    parts = [part for part in (getattr(lm, "ledger", None), getattr(lm, "meter", None)) if part]
    return {"lm": {name: value for part in parts for name, value in asdict(part).items()}} if parts else {}
