"""What a model may cost, over runs, processes and kills."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from latentese.errors import SettingError
from latentese.lm.answers import AnswerStore
from latentese.lm.budget import Budget, Price
from latentese.records import Usage


def test_prices_are_per_million_tokens() -> None:
    # 3 million at 2 and half a million at 8: 6 + 4.
    assert Price("m", 2.0, 8.0).of(Usage(3_000_000, 500_000)) == 10.0


def test_reserving_stops_at_the_limit_and_settling_gives_back(tmp_path: Path) -> None:
    account = Budget(tmp_path / "b.sqlite", max_tokens=100).account("m@here", "m")
    assert account.reserve(Usage(50, 10))
    assert not account.reserve(Usage(30, 11))  # 60 + 41 = 101
    account.settle(Usage(50, 10), Usage(40, 5))
    assert account.spent() == Usage(40, 5)
    assert account.reserve(Usage(30, 11))
    assert str(account) == "86 of 100 tokens"


def test_money_is_a_limit_too(tmp_path: Path) -> None:
    prices = [{"model": "m", "prompt": 1_000_000.0, "completion": 2_000_000.0}]
    account = Budget(tmp_path / "b.sqlite", max_money=10.0, prices=prices).account("m@here", "m")
    assert account.reserve(Usage(2, 4))  # 2 + 8 = 10
    assert not account.reserve(Usage(1, 0))
    assert str(account) == "10.0000 of 10.0000 USD"


def test_money_cannot_be_limited_without_a_price(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "b.sqlite", max_money=1.0, prices=[{"model": "other", "prompt": 1.0, "completion": 1.0}])
    with pytest.raises(SettingError, match="prices='other' is not allowed: a price of m"):
        budget.account("m@here", "m")


def test_without_limits_everything_is_counted_and_nothing_stopped(tmp_path: Path) -> None:
    account = Budget(tmp_path / "b.sqlite").account("m@here", "m")
    assert account.reserve(Usage(10**9, 10**9))
    assert (account.spent(), str(account), account.price) == (Usage(10**9, 10**9), "no limit", None)


def test_models_have_accounts_of_their_own_in_one_file_with_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    AnswerStore(path).put("m", "k", 1, "answer")
    first, other = (Budget(path, max_tokens=10).account(name, "m") for name in ("m@here", "m@there"))
    assert first.reserve(Usage(10))
    assert other.reserve(Usage(9))
    assert (first.spent(), other.spent()) == (Usage(10), Usage(9))
    assert AnswerStore(path).get("m", "k", 1) == "answer"


def _reserve_many(path: Path) -> None:
    account = Budget(path, max_tokens=1000).account("m@here", "m")
    for _ in range(100):
        account.reserve(Usage(7))


def test_several_processes_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_reserve_many, args=(tmp_path / "b.sqlite",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = Budget(tmp_path / "b.sqlite").account("m@here", "m").spent()
    assert spent == Usage(994)  # 142 x 7; 143 x 7 = 1001


def _reserve_and_die(path: Path) -> None:
    Budget(path).account("m@here", "m").reserve(Usage(30, 12))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_had_under_way_stays_counted(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_reserve_and_die, args=(tmp_path / "b.sqlite",))
    process.start()
    process.join()
    assert Budget(tmp_path / "b.sqlite").account("m@here", "m").spent() == Usage(30, 12)


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"max_tokens": -1}, "budget.max_tokens"),
        ({"max_money": -0.5}, "budget.max_money"),
        ({"prices": [{"model": "m", "prompt": 1.0}]}, "budget.prices"),
        ({"prices": [{"model": "m", "prompt": -1.0, "completion": 0.0}]}, "budget.prices"),
    ],
)
def test_bad_settings(tmp_path: Path, fields: dict[str, object], setting: str) -> None:
    with pytest.raises(SettingError, match=f"^{setting}="):
        Budget(tmp_path / "b.sqlite", **fields)  # type: ignore[arg-type]
