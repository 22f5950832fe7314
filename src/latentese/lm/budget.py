"""What served models may cost: tokens and money, counted over all runs that share a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentese.errors import SettingError
from latentese.lm.database import Database
from latentese.records import Usage

_TABLE = """
CREATE TABLE IF NOT EXISTS spending (
    model TEXT PRIMARY KEY,   -- name of the endpoint
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""
_PER = 1_000_000


@dataclass(frozen=True)
class Price:
    """Money per million tokens of one model."""

    model: str
    prompt: float
    completion: float

    def __post_init__(self) -> None:
        if self.prompt < 0 or self.completion < 0:
            raise SettingError("budget.prices", self, "0 or more per million tokens")

    def of(self, usage: Usage) -> float:
        """Price of some usage; discounts for cached prompts are not counted, so it is never too low."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / _PER


class Budget:
    """Limits on tokens and money of each model, over the life of the file.

    A request is counted before it is sent, at the most it may cost as estimated without the server's tokenizer
    (`wire.most_of`), and set to its true cost when that is known. So a limit can be passed only by what requests under
    way cost beyond that estimate. What a killed process had under way stays counted in full, as the server may charge
    for it. The file may be the answer cache's.
    """

    def __init__(
        self,
        path: str | Path,
        max_tokens: int | None = None,
        max_money: float | None = None,
        prices: Sequence[Mapping[str, Any]] = (),
        currency: str = "USD",
    ) -> None:
        for name, most in (("max_tokens", max_tokens), ("max_money", max_money)):
            if most is not None and most < 0:
                raise SettingError(f"budget.{name}", most, "0 or more, or null for no limit")
        self._database = Database(Path(path), _TABLE)
        self.max_tokens, self.max_money, self.currency = max_tokens, max_money, currency
        self._prices = {price.model: price for price in map(_price, prices)}

    def account(self, endpoint: str, model: str) -> Account:
        """Open the account of a model; raises SettingError when money is limited and the model has no price."""
        price = self._prices.get(model)
        if price is None and self.max_money is not None:
            known = ", ".join(self._prices) or "none"
            raise SettingError("budget.prices", known, f"a price of {model}, since budget.max_money is set")
        return Account(self, self._database, endpoint, price)


class Account:
    """What one model has cost so far and may cost still."""

    def __init__(self, budget: Budget, database: Database, endpoint: str, price: Price | None) -> None:
        self._budget = budget
        self._database = database
        self._endpoint = endpoint
        self.price = price

    def reserve(self, most: Usage) -> bool:
        """Count what a request may cost at most; False, counting nothing, when that passes a limit."""
        with self._database.write() as connection:
            if self._is_over(_sum(self._spent(connection), most)):
                return False
            self._add(connection, most)
            return True

    def settle(self, reserved: Usage, actual: Usage) -> None:
        """Replace what was reserved by what it cost."""
        difference = _sum(actual, reserved, sign=-1)
        if difference != Usage():
            with self._database.write() as connection:
                self._add(connection, difference)

    def spent(self) -> Usage:
        """Tokens counted so far, in all runs."""
        with self._database.read() as connection:
            return self._spent(connection)

    def __str__(self) -> str:
        """Say what is spent and what may be, such as `1,200 of 5,000 tokens`."""
        spent, budget = self.spent(), self._budget
        parts = []
        if budget.max_tokens is not None:
            parts.append(f"{spent.prompt_tokens + spent.completion_tokens:,} of {budget.max_tokens:,} tokens")
        if budget.max_money is not None and self.price:
            parts.append(f"{self.price.of(spent):.4f} of {budget.max_money:.4f} {budget.currency}")
        return " and ".join(parts) or "no limit"

    def _is_over(self, usage: Usage) -> bool:
        max_tokens, max_money = self._budget.max_tokens, self._budget.max_money
        over_tokens = max_tokens is not None and usage.prompt_tokens + usage.completion_tokens > max_tokens
        over_money = max_money is not None and self.price is not None and self.price.of(usage) > max_money
        return over_tokens or over_money

    def _spent(self, connection: sqlite3.Connection) -> Usage:
        query = "SELECT prompt_tokens, completion_tokens FROM spending WHERE model = ?"
        row = connection.execute(query, (self._endpoint,)).fetchone()
        return Usage(*row) if row else Usage()

    def _add(self, connection: sqlite3.Connection, usage: Usage) -> None:
        connection.execute(
            "INSERT INTO spending VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
            "completion_tokens = completion_tokens + excluded.completion_tokens",
            (self._endpoint, usage.prompt_tokens, usage.completion_tokens),
        )


def _sum(usage: Usage, other: Usage, sign: int = 1) -> Usage:
    return Usage(
        usage.prompt_tokens + sign * other.prompt_tokens, usage.completion_tokens + sign * other.completion_tokens
    )


def _price(fields: Mapping[str, Any]) -> Price:
    try:
        return Price(**fields)
    except TypeError as error:
        raise SettingError("budget.prices", dict(fields), "model, prompt and completion of each") from error
