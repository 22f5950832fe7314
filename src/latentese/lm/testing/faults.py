"""What goes wrong with real servers, at a given share of requests."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Responder(Protocol):
    """What a fault needs of the server's end of a connection."""

    connection: socket.socket
    close_connection: bool

    def respond(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        """Send a response; `length` is claimed to be the body's, where it is not."""
        ...


Fault = Callable[[Responder, Mapping[str, Any], "Faults"], None]


@dataclass
class Faults:
    """Draws a fault, or none, for every request: the same for the same text and seed, in whatever order they come."""

    share: float = 0.3
    """Of requests that meet a fault."""
    kinds: Sequence[str] = ()
    """Of FAULTS, drawn alike; all when empty."""
    seed: int = 0
    retry_after: float = 0.05
    """Seconds that `too_many` asks for."""
    stall_seconds: float = 1.0
    """How long `stall` and `trickle` take: longer than the client waits."""
    met: Counter[str] = field(default_factory=Counter)
    """How often each kind was met."""
    _asked: Counter[bytes] = field(default_factory=Counter)

    def draw(self, body: bytes) -> Fault | None:
        """Draw for one request; the same text asked again draws anew."""
        self._asked[body] += 1
        seed = f"{self.seed}/{self._asked[body]}/".encode()
        position, chosen = (
            int.from_bytes(half, "big") / 2**64
            for half in (hashlib.sha256(seed + body).digest()[:8], hashlib.sha256(seed + body).digest()[8:16])
        )
        if position >= self.share:
            return None
        kinds = tuple(self.kinds) or tuple(FAULTS)
        kind = kinds[int(chosen * len(kinds))]
        self.met[kind] += 1
        return FAULTS[kind]


def _error(status: int, message: str) -> Fault:
    body = json.dumps({"error": {"message": message, "code": status}}).encode()
    return lambda responder, _reply, _faults: responder.respond(status, body)


def _too_many(responder: Responder, _reply: Mapping[str, Any], faults: Faults) -> None:
    body = json.dumps({"error": {"message": "slow down"}}).encode()
    responder.respond(429, body, {"Retry-After": str(faults.retry_after)})


def _drop(responder: Responder, _reply: Mapping[str, Any], _faults: Faults) -> None:
    """Close the connection without a word."""
    responder.close_connection = True
    responder.connection.shutdown(socket.SHUT_RDWR)


def _cut_off(responder: Responder, reply: Mapping[str, Any], _faults: Faults) -> None:
    """Close the connection in the middle of the body."""
    body = json.dumps(reply).encode()
    responder.respond(200, body[: len(body) // 2], length=len(body))
    _drop(responder, reply, _faults)


def _stall(responder: Responder, reply: Mapping[str, Any], faults: Faults) -> None:
    """Say nothing until the client has given up."""
    time.sleep(faults.stall_seconds)
    _drop(responder, reply, faults)


def _trickle(responder: Responder, reply: Mapping[str, Any], faults: Faults) -> None:
    """Send a byte now and then: no pause is long, and the whole takes for ever."""
    responder.respond(200, b"", length=len(json.dumps(reply)))
    for _ in range(20):
        time.sleep(faults.stall_seconds / 20)
        responder.connection.sendall(b" ")
    _drop(responder, reply, faults)


def _truncated(responder: Responder, reply: Mapping[str, Any], _faults: Faults) -> None:
    """Send half the JSON as a whole response."""
    body = json.dumps(reply).encode()
    responder.respond(200, body[: len(body) // 2])


def _malformed(responder: Responder, _reply: Mapping[str, Any], _faults: Faults) -> None:
    responder.respond(200, b"<html><h1>All is well</h1>", {"Content-Type": "text/html"})


def _wrong_lengths(responder: Responder, reply: Mapping[str, Any], _faults: Faults) -> None:
    """Leave out the last item of every list of log-probabilities, or of choices where there are none."""
    wrong = json.loads(json.dumps(reply))
    parts = [choice.get("logprobs") or {} for choice in wrong["choices"]] + list(wrong["choices"])
    lists = [part[name] for part in parts for name in ("top_logprobs", "content", "prompt_logprobs") if part.get(name)]
    for items in lists or [wrong["choices"]]:
        items.pop()
    responder.respond(200, json.dumps(wrong).encode())


FAULTS: Mapping[str, Fault] = {
    "too_many": _too_many,
    "late": _error(408, "request timeout"),
    "broken": _error(500, "internal error"),
    "unavailable": _error(503, "no worker is free"),
    "drop": _drop,
    "cut_off": _cut_off,
    "stall": _stall,
    "trickle": _trickle,
    "truncated": _truncated,
    "malformed": _malformed,
    "wrong_lengths": _wrong_lengths,
}
"""Faults by name."""
