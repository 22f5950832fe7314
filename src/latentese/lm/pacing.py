"""When a server may be asked: at most so many at once, so many a minute, and not before it wants to be."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from latentese.errors import SettingError
from latentese.lm.openai import AttemptError


@dataclass(frozen=True)
class Limits:
    """How a server is treated."""

    n_concurrent: int = 8
    """Requests under way at once."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and answer, as estimated before the request."""
    n_attempts: int = 6
    """Of one request, when attempts fail in a way that may pass."""
    first_wait_seconds: float = 1.0
    """After the first failed attempt, doubled after each further one, then shortened by up to a half at random."""
    longest_wait_seconds: float = 60.0
    """A server that wants a longer pause is given up for this request."""

    def __post_init__(self) -> None:
        for name in ("n_concurrent", "n_attempts"):
            if getattr(self, name) < 1:
                raise SettingError(name, getattr(self, name), "at least 1")
        for name in ("requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(name, getattr(self, name), "at least 1, or null for no limit")
        if not 0 <= self.first_wait_seconds <= self.longest_wait_seconds:
            raise SettingError("first_wait_seconds", self.first_wait_seconds, f"0..{self.longest_wait_seconds:g}")


class Window:
    """Amounts of the last minute."""

    def __init__(self, most: int | None, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` more stays within the limit; one that is above the limit by itself goes alone."""
        while self._taken and self._taken[0][0] <= now - self._seconds:
            self._sum -= self._taken.popleft()[1]
        if self._most is None:
            return 0.0
        excess = self._sum + min(amount, self._most) - self._most
        wait = 0.0
        for taken_at, taken in self._taken:
            if excess <= 0:
                break
            excess -= taken
            wait = taken_at + self._seconds - now
        return wait

    def take(self, amount: int, now: float) -> None:
        """Count an amount."""
        if self._most is not None:
            counted = min(amount, self._most)
            self._taken.append((now, counted))
            self._sum += counted


class Pacer:
    """Keeps one server's limits; clock, sleep and chance can be given for tests."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self.limits = limits
        self._clock, self._sleep = clock, sleep
        self._chance = chance or random.Random().random
        self._requests = Window(limits.requests_per_minute)
        self._tokens = Window(limits.tokens_per_minute)
        self._not_before = 0.0

    async def turn(self, n_tokens: int) -> None:
        """Wait until a request of `n_tokens` may be sent, and count it as sent."""
        while (wait := self._wait(n_tokens)) > 0:
            await self._sleep(wait)
        now = self._clock()
        self._requests.take(1, now)
        self._tokens.take(n_tokens, now)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: a server that asks one request to wait means all."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    async def back_off(self, failure: AttemptError, n_failed: int) -> bool:
        """Wait after the `n_failed`-th failure of a request; False, at once, when another attempt makes no sense.

        What the server asks for beyond that, `turn` waits for.
        """
        limits, wanted = self.limits, failure.retry_after or 0.0
        if not failure.may_pass or n_failed >= limits.n_attempts or wanted > limits.longest_wait_seconds:
            return False
        self.hold(wanted)
        # A server that asks for next to nothing is no less busy: all attempts would be spent in a moment.
        longest = min(limits.longest_wait_seconds, limits.first_wait_seconds * 2.0 ** (n_failed - 1))
        await self._sleep(longest * (1 - self._chance() / 2))
        return True

    def _wait(self, n_tokens: int) -> float:
        now = self._clock()
        return max(self._not_before - now, self._requests.wait(1, now), self._tokens.wait(n_tokens, now))
