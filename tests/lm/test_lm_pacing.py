"""Rates, pauses and back-off by a clock that the test moves."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest

from latentese.errors import SettingError
from latentese.lm.openai import AttemptError, read_retry_after
from latentese.lm.pacing import Limits, Pacer, Window


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def make_pacer(clock: Clock, chance: float = 0.0, **limits: object) -> Pacer:
    return Pacer(Limits(**limits), clock, clock.sleep, lambda: chance)  # type: ignore[arg-type]


def sent_at(pacer: Pacer, clock: Clock, amounts: list[int]) -> list[float]:
    """Seconds after the start at which requests of so many tokens are sent."""
    times = []
    for amount in amounts:
        asyncio.run(pacer.turn(amount))
        times.append(clock.now - 1000.0)
        clock.now += 1.0
    return times


def test_requests_per_minute() -> None:
    # Two a minute: the third waits until the first is a minute old, the fourth until the second is.
    clock = Clock()
    assert sent_at(make_pacer(clock, requests_per_minute=2), clock, [1] * 5) == [0.0, 1.0, 60.0, 61.0, 120.0]


def test_tokens_per_minute() -> None:
    # 60 and 30 fit; 20 more would make 110, so they wait for the 60 to pass; then 50 fit in beside 30 and 20.
    clock = Clock()
    assert sent_at(make_pacer(clock, tokens_per_minute=100), clock, [60, 30, 20, 50]) == [0.0, 1.0, 60.0, 61.0]


def test_a_request_above_the_limit_goes_alone() -> None:
    clock = Clock()
    assert sent_at(make_pacer(clock, tokens_per_minute=100), clock, [1, 500, 1]) == [0.0, 60.0, 120.0]


@pytest.mark.parametrize("most", [1, 7, 100])
def test_no_window_of_a_minute_holds_more(most: int) -> None:
    window, now, taken = Window(most), 0.0, []
    for i in range(200):
        amount = 1 + i * 7919 % most
        now += window.wait(amount, now)
        window.take(amount, now)
        taken.append((now, amount))
        now += i % 3
    for begin, _ in taken:
        assert sum(amount for at, amount in taken if begin <= at < begin + 60) <= most


def test_no_limit_is_no_wait() -> None:
    clock = Clock()
    assert sent_at(make_pacer(clock), clock, [10**9] * 3) == [0.0, 1.0, 2.0]
    assert clock.slept == []


def failure(status: int | None, retry_after: float | None = None) -> AttemptError:
    return AttemptError("failed", status, retry_after)


@pytest.mark.parametrize("status", [None, 408, 409, 429, 500, 502, 503, 529, 599])
def test_what_may_pass_is_tried_again_after_a_growing_pause(status: int | None) -> None:
    clock = Clock()
    pacer = make_pacer(clock, n_attempts=5, first_wait_seconds=2.0, longest_wait_seconds=10.0)
    again = [asyncio.run(pacer.back_off(failure(status), n_failed)) for n_failed in range(1, 6)]
    assert again == [True, True, True, True, False]
    assert clock.slept == [2.0, 4.0, 8.0, 10.0]


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 413, 422, 451])
def test_nothing_else_is(status: int) -> None:
    clock = Clock()
    assert not asyncio.run(make_pacer(clock).back_off(failure(status), 1))
    assert clock.slept == []


def test_chance_shortens_a_pause_by_up_to_a_half() -> None:
    clock = Clock()
    asyncio.run(make_pacer(clock, chance=0.999, first_wait_seconds=2.0).back_off(failure(500), 1))
    assert clock.slept == [pytest.approx(1.0, abs=0.01)]


def test_what_the_server_asks_for_goes_before_and_holds_for_all() -> None:
    clock = Clock()
    pacer = make_pacer(clock, first_wait_seconds=0.0)
    assert asyncio.run(pacer.back_off(failure(429, retry_after=7.5), 1))
    assert sent_at(pacer, clock, [1, 1]) == [7.5, 8.5]
    assert not asyncio.run(pacer.back_off(failure(429, retry_after=61.0), 1))


def test_a_server_that_asks_for_no_wait_gets_a_pause_all_the_same() -> None:
    clock = Clock()
    pacer = make_pacer(clock, first_wait_seconds=2.0)
    assert asyncio.run(pacer.back_off(failure(429, retry_after=0.0), 1))
    assert clock.slept == [2.0]


@pytest.mark.parametrize(("wanted", "seconds"), [(0.02, 7.0), (3.0, 10.0)])
def test_pauses_grow_however_little_the_server_asks_for(wanted: float, seconds: float) -> None:
    # 1, 2 and 4 seconds after the first three failures, or 3 where the server asks for more: 3, 3 and 4.
    clock = Clock()
    pacer = make_pacer(clock, n_attempts=4)
    again = []
    for n_failed in range(1, 5):
        asyncio.run(pacer.turn(1))
        again.append(asyncio.run(pacer.back_off(failure(429, retry_after=wanted), n_failed)))
    assert again == [True, True, True, False]
    assert clock.now - 1000.0 == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": formatdate(1030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(900, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=1000.0) == seconds


@pytest.mark.parametrize(
    "fields",
    [
        {"n_concurrent": 0},
        {"n_attempts": 0},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"first_wait_seconds": -1.0},
        {"first_wait_seconds": 61.0},
    ],
)
def test_limits_that_make_no_sense(fields: dict[str, float]) -> None:
    [name] = fields
    with pytest.raises(SettingError, match=f"^{name}="):
        Limits(**fields)  # type: ignore[arg-type]
