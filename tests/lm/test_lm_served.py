"""Served models through the real client and a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from served_models import KEY, Rule, ask, complete_all, make_chat

from latentese.errors import AnswerError, BudgetError, SettingError
from latentese.lm.budget import Budget
from latentese.lm.cached import CachedChat
from latentese.lm.endpoint import Endpoint
from latentese.lm.pacing import Limits
from latentese.lm.protocol import Reply
from latentese.lm.served import ServedChat
from latentese.lm.testing.faults import Faults
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.lm.wire import ChatWire
from latentese.records import Usage

QUICK = Limits(first_wait_seconds=0.001)


@contextmanager
def fixed_response(status: int, text: str) -> Iterator[str]:
    """A server that says the same to everything; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chat_at(url: str, folder: Path) -> ServedChat:
    return ServedChat(Endpoint(url, "toy", timeout_seconds=5.0), ChatWire(), Budget(folder / "spending.sqlite"), QUICK)


def test_an_answer_comes_back_with_its_cost(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        [reply] = complete_all(make_chat(server, tmp_path), [ask("river")])
    assert reply == Reply("about river", Usage(7, 2), "stop")
    [seen] = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "toy",
        "messages": [{"role": "user", "content": "river"}],
        "max_tokens": 8,
        "temperature": 0.0,
    }


def test_one_object_serves_several_event_loops(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        chat = make_chat(server, tmp_path)
        texts = [complete_all(chat, [ask(word), ask(f"{word}s")])[1].text for word in ("river", "mill")]
    assert texts == ["about rivers", "about mills"]


def test_requests_under_way_never_pass_the_bound(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule(), seconds=0.02)) as server:
        complete_all(make_chat(server, tmp_path, limits=Limits(n_concurrent=3)), [ask(str(i)) for i in range(20)])
    assert server.most_at_once == 3
    assert len(server.seen) == 20


def test_retry_after_holds_all_requests(tmp_path: Path) -> None:
    faults = Faults(share=1.0, kinds=("too_many",), retry_after=0.2)
    with LoopbackServer(Served(chat=Rule()), faults) as server:
        limits = Limits(n_attempts=2, first_wait_seconds=0.0)
        replies = complete_all(make_chat(server, tmp_path, limits=limits), [ask("a"), ask("b")])
    assert all(isinstance(reply, AnswerError) and "HTTP 429: " in str(reply) for reply in replies)
    first, second, third, fourth = (seen.at for seen in server.seen)
    assert min(third, fourth) - max(first, second) >= 0.2


def test_a_server_that_wants_a_longer_pause_is_given_up(tmp_path: Path) -> None:
    faults = Faults(share=1.0, kinds=("too_many",), retry_after=61)
    with LoopbackServer(Served(chat=Rule()), faults) as server:
        [reply] = complete_all(make_chat(server, tmp_path), [ask("a")])
    assert isinstance(reply, AnswerError)
    assert "after 1 attempt: HTTP 429" in str(reply)


@pytest.mark.parametrize(
    ("kind", "n_asked"),
    [
        *((kind, 3) for kind in ("late", "broken", "unavailable", "drop", "cut_off", "stall", "trickle")),
        *((kind, 1) for kind in ("truncated", "malformed", "wrong_lengths")),
    ],
)
def test_what_may_pass_is_asked_again_and_what_may_not_once(tmp_path: Path, kind: str, n_asked: int) -> None:
    faults = Faults(share=1.0, kinds=(kind,), stall_seconds=0.3)
    limits = Limits(n_attempts=3, first_wait_seconds=0.001)
    with LoopbackServer(Served(chat=Rule()), faults) as server:
        [reply] = complete_all(make_chat(server, tmp_path, limits=limits, timeout_seconds=0.15), [ask("a")])
    assert isinstance(reply, AnswerError)
    assert len(server.seen) == n_asked


@pytest.mark.parametrize(("status", "problem"), [(200, "not JSON"), (400, "HTTP 400: [[[[")])
def test_json_too_deep_to_be_read_is_a_failed_answer(tmp_path: Path, status: int, problem: str) -> None:
    with fixed_response(status, "[" * 100_000) as url:
        [reply] = complete_all(chat_at(url, tmp_path), [ask("a")])
    assert isinstance(reply, AnswerError)
    assert problem in str(reply)


@pytest.mark.parametrize("counted", [10**30, -1, True, 7.0, "7", None])
def test_a_count_of_tokens_that_is_none_is_taken_at_the_most_it_can_be(tmp_path: Path, counted: object) -> None:
    answer = {
        "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": counted, "completion_tokens": 2},
    }
    with fixed_response(200, json.dumps(answer)) as url:
        [reply] = complete_all(chat_at(url, tmp_path), [ask("a")])
    # 1 byte of text is at most 1 token, and a message has 8 more around it; the answer may have 8.
    assert reply == Reply("yes", Usage(9, 8), "stop")


def test_other_client_errors_are_asked_once_and_say_what_the_server_said(tmp_path: Path) -> None:
    with LoopbackServer(Served()) as server:
        [reply] = complete_all(make_chat(server, tmp_path), [ask("a")])
    assert isinstance(reply, AnswerError)
    assert "HTTP 400" in str(reply)
    assert "this server does not chat" in str(reply)
    assert len(server.seen) == 1


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        pass
    chat = make_chat(server, tmp_path, limits=Limits(n_attempts=2, first_wait_seconds=0.0))
    [reply] = complete_all(chat, [ask("a")])
    assert "after 2 attempts: the connection failed (ConnectError" in str(reply)
    with pytest.raises(SettingError, match=r"^base_url=.*a server that answers .*ConnectError"):
        asyncio.run(chat.probe())


def test_a_refused_key_or_a_wrong_address_stops_the_run(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule(), key="another")) as server:
        with pytest.raises(SettingError, match="key_env=None is not allowed: a key that the server takes"):
            asyncio.run(make_chat(server, tmp_path).complete(ask("a")))
        with pytest.raises(SettingError, match="key_env"):
            asyncio.run(make_chat(server, tmp_path).probe())
    refused = pytest.raises(SettingError, match="a model and an address that the server has")
    with LoopbackServer(Served(chat=Rule())) as server, refused:
        asyncio.run(make_chat(server, tmp_path, base_url=f"{server.base_url}/v2").complete(ask("a")))


SPENT = "a key whose account can pay"


@pytest.mark.parametrize(
    ("status", "error", "allowed"),
    [
        (402, {"message": "Insufficient Balance", "code": "invalid_request_error"}, SPENT),
        (403, {"message": "no access"}, "a key that may use this model"),
        (429, {"message": "quota", "type": "insufficient_quota", "code": "insufficient_quota"}, SPENT),
        (429, {"message": "quota", "type": "insufficient_quota", "code": None}, SPENT),
        (429, {"message": "quota", "code": "insufficient_quota"}, SPENT),
    ],
)
def test_what_fails_every_request_alike_stops_the_run_at_once(
    tmp_path: Path, status: int, error: dict[str, object], allowed: str
) -> None:
    with fixed_response(status, json.dumps({"error": error})) as url:
        chat = chat_at(url, tmp_path)
        with pytest.raises(SettingError) as refused:
            asyncio.run(chat.complete(ask("a")))
    said = f"key_env=None is not allowed: {allowed} (HTTP {status}: {error['message']})"
    assert str(refused.value) == said
    assert (chat.meter.n_attempts, spent(tmp_path)) == (1, 0)


def test_a_text_that_is_moderated_fails_alone(tmp_path: Path) -> None:
    error = {"message": "flagged", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "a"}}
    with fixed_response(403, json.dumps({"error": error})) as url:
        chat = chat_at(url, tmp_path)
        [reply] = complete_all(chat, [ask("a")])
    assert isinstance(reply, AnswerError)
    assert (str(reply).endswith("HTTP 403: flagged"), chat.meter.n_attempts) == (True, 1)


@pytest.mark.parametrize("error", [{"message": "slow down", "code": "rate_limit_exceeded"}, "insufficient_quota", None])
def test_a_rate_limit_without_that_code_is_waited_for(tmp_path: Path, error: object) -> None:
    with fixed_response(429, json.dumps({"error": error})) as url:
        chat = chat_at(url, tmp_path)
        [reply] = complete_all(chat, [ask("a")])
    assert isinstance(reply, AnswerError)
    assert "after 6 attempts: HTTP 429" in str(reply)
    assert chat.meter.n_attempts == 6


def test_the_key_goes_to_the_server_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    faults = Faults(share=0.5, kinds=("broken", "drop", "malformed"))
    with LoopbackServer(Served(chat=Rule(), key=KEY), faults) as server:
        cached = CachedChat(make_chat(server, tmp_path, limits=QUICK, key_env="TOY_KEY"), tmp_path / "answers.sqlite")
        replies = complete_all(cached, [ask(str(i)) for i in range(20)])
        assert {seen.authorization for seen in server.seen} == {f"Bearer {KEY}"}
        monkeypatch.setenv("TOY_KEY", f"{KEY}x")  # a wrong key, which the server's message repeats
        with pytest.raises(SettingError) as refused:
            asyncio.run(cached.complete(ask("new")))
    assert "wrong key: Bearer [key]" in str(refused.value)
    said = "".join(f"{reply!r}{getattr(reply, '__cause__', None)!r}" for reply in replies)
    for text in (said, str(refused.value), caplog.text, *capfd.readouterr(), cached.name, repr(cached.meter)):
        assert KEY not in text
    assert any(isinstance(reply, AnswerError) for reply in replies)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()
    rows = sqlite3.connect(tmp_path / "answers.sqlite").execute("SELECT count(*) FROM answers").fetchone()
    assert rows == (sum(isinstance(reply, Reply) for reply in replies),)


OURS = {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}


@pytest.mark.parametrize("key", [None, KEY])
def test_nothing_of_the_environment_is_sent_but_the_key_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    custom = (
        "Authorization: Bearer private",
        "X-Team: private",
        "User-Agent: private",
        "Host: private",
        "Cookie: private",
    )
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "\n".join(custom))
    monkeypatch.setenv("TOY_KEY", KEY)
    with LoopbackServer(Served(chat=Rule(), key=key)) as server:
        chat = make_chat(server, tmp_path, key_env="TOY_KEY" if key else None)
        asyncio.run(chat.probe())
        [reply] = complete_all(chat, [ask("a")])
    assert isinstance(reply, Reply)
    for seen in server.seen:
        assert seen.headers.keys() == OURS | ({"authorization"} if key else set())
        assert seen.authorization == (f"Bearer {key}" if key else "")
        assert seen.headers["host"] == f"127.0.0.1:{server.port}"
        assert "private" not in "".join(seen.headers.values())


def spent(folder: Path) -> int:
    [(n_tokens,)] = sqlite3.connect(folder / "spending.sqlite").execute(
        "SELECT sum(prompt_tokens + completion_tokens) FROM spending"
    )
    return int(n_tokens)


def test_a_budget_stops_cleanly_and_more_of_it_goes_on(tmp_path: Path) -> None:
    # Each answer costs 7 + 2 tokens. Before, it counts as at most ceil(1 / 3) + 8 + 8 = 17: with 100 tokens the tenth
    # finds 9 x 9 = 81 spent and 81 + 17 = 98 allowed; the eleventh finds 90, and 107 are too many.
    questions = [ask(chr(ord("a") + i)) for i in range(15)]
    with LoopbackServer(Served(chat=Rule(), seconds=0.01)) as server:
        cached = CachedChat(make_chat(server, tmp_path, max_tokens=100), tmp_path / "answers.sqlite")

        async def stage() -> Sequence[Reply]:
            return await asyncio.gather(*(cached.complete(question) for question in questions))

        with pytest.raises(BudgetError, match=r"is spent \(90 of 100 tokens; the next request may cost 17.*to go on"):
            asyncio.run(stage())
        assert len(server.seen) == 10
        assert spent(tmp_path) == 90
        more = CachedChat(make_chat(server, tmp_path, max_tokens=150), tmp_path / "answers.sqlite")
        replies = complete_all(more, questions)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert (more.ledger.n_cached, len(server.seen)) == (10, 15)
    assert spent(tmp_path) == 135


def test_money_is_counted_at_the_listed_price(tmp_path: Path) -> None:
    # 7 prompt tokens at 1000 a million and 2 of the answer at 2000: .007 + .004 = .011.
    prices = [{"model": "toy", "prompt": 1000.0, "completion": 2000.0}]
    with LoopbackServer(Served(chat=Rule())) as server:
        chat = make_chat(server, tmp_path, prices=prices, max_money=0.05)
        complete_all(chat, [ask("a"), ask("b")])
    assert chat.meter.money == pytest.approx(0.022)
    assert (chat.meter.n_attempts, chat.meter.charged_prompt_tokens) == (2, 14)


def test_what_a_server_may_charge_for_counts_in_full(tmp_path: Path) -> None:
    # A broken answer costs nothing; one that never arrived may have been written, for up to 17 tokens.
    limits = Limits(n_attempts=1)
    for kind, cost in (("broken", 0), ("drop", 17), ("malformed", 17)):
        with LoopbackServer(Served(chat=Rule()), Faults(share=1.0, kinds=(kind,))) as server:
            complete_all(make_chat(server, tmp_path / kind, limits=limits, max_tokens=100), [ask("a")])
        assert spent(tmp_path / kind) == cost


def test_redirects_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer(Served(chat=Rule())) as target, LoopbackServer(Served(chat=Rule())) as server:
        there = {"Location": f"{target.base_url}/chat/completions"}
        monkeypatch.setattr(server, "respond", lambda handler, raw: handler.respond(307, b"", there))
        [reply] = complete_all(make_chat(server, tmp_path), [ask("a")])
    assert "HTTP 307" in str(reply)
    assert target.seen == []


def test_a_proxy_of_the_environment_does_not_carry_off_what_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LoopbackServer(Served(chat=Rule())) as server, LoopbackServer(Served()) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
        [reply] = complete_all(make_chat(server, tmp_path), [ask("a")])
    assert isinstance(reply, Reply)
    assert proxy.seen == []


def test_what_leaves_the_machine_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Endpoint, "is_loopback", False)
    with LoopbackServer(Served(chat=Rule())) as server:
        complete_all(make_chat(server, tmp_path, allow_remote=True), [ask("a"), ask("b")])
    assert capfd.readouterr().err == (
        "sending excerpts of the corpus, activations and explanations to "
        f"{server.base_url} (model toy), as allow_remote allows\n"
    )
