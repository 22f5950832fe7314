"""Nothing is asked twice: in one run, over runs, by several processes, and after kill -9."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from served_models import Rule, ask, complete_all, make_chat

from latentese.errors import AnswerError, LatenteseError
from latentese.lm.answers import AnswerStore
from latentese.lm.cached import CachedChat, CachedLM
from latentese.lm.database import Database
from latentese.lm.forks import forked_logprobs
from latentese.lm.protocol import ForkRequest, MarkReply, MarkRequest, Message, Reply, Request
from latentese.lm.testing.faults import Faults
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Usage

QUESTION = Request((Message("user", 'a "quoted"\tquestion\u2028'),), max_tokens=5)
MARKS = MarkRequest((Message("user", "a\t"),), (2,), ("0", "1"))
FORKS = ForkRequest((Message("user", "one mute two"),), (3, 8, 12), ("1\t", "2\t", "3\t"), ("0", "1"))


@dataclass
class Echo:
    """Answers with the question and its place among those asked."""

    name: str = "echo"
    asked: list[object] = field(default_factory=list)

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        await asyncio.sleep(0)
        return Reply(f"{request.messages[-1].content}#{len(self.asked)}", Usage(3, 2), "stop")

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        self.asked.append(request)
        return MarkReply(((-0.1, -2.345678901234567),), Usage(4))


def test_an_answered_request_is_not_asked_again_in_another_run(tmp_path: Path) -> None:
    first = asyncio.run(CachedLM(Echo(), tmp_path / "a.sqlite").complete(QUESTION))
    again = Echo()
    lm = CachedLM(again, tmp_path / "a.sqlite")
    assert asyncio.run(lm.complete(QUESTION)) == first
    assert again.asked == []
    assert (lm.ledger.n_requests, lm.ledger.n_cached, lm.ledger.prompt_tokens) == (1, 1, 0)


def test_marked_texts_come_back_bit_for_bit(tmp_path: Path) -> None:
    asked = asyncio.run(CachedLM(Echo(), tmp_path / "a.sqlite").next_token_logprobs(MARKS))
    kept = asyncio.run(CachedLM(Echo(), tmp_path / "a.sqlite").next_token_logprobs(MARKS))
    assert asked == kept == MarkReply(((-0.1, -2.345678901234567),), Usage(4))


@dataclass
class Forker(Echo):
    """Is given all forks together."""

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        self.asked.append(request)
        return MarkReply(tuple((-float(mark), -1.0) for mark in request.marks), Usage(9))


@dataclass
class Mute(Echo):
    """Reads each fork alone, and has no answer to one of them."""

    is_mute: bool = True

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        self.asked.append(request)
        if self.is_mute and request.messages[0].content.endswith("mute"):
            raise AnswerError("it is mute")
        return MarkReply(((-float(len(request.messages[0].content)), -1.0),), Usage(3))


def test_forks_read_together_are_kept_together(tmp_path: Path) -> None:
    asked = asyncio.run(forked_logprobs(CachedLM(Forker(), tmp_path / "a.sqlite"), FORKS))
    again = Forker()
    assert asyncio.run(forked_logprobs(CachedLM(again, tmp_path / "a.sqlite"), FORKS)) == asked
    assert asked == MarkReply(((-3.0, -1.0), (-8.0, -1.0), (-12.0, -1.0)), Usage(9))
    assert again.asked == []


def test_forks_asked_about_alone_are_kept_alone(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="mute"):
        asyncio.run(forked_logprobs(CachedLM(Mute(), tmp_path / "a.sqlite"), FORKS))
    again = Mute(is_mute=False)
    answered = asyncio.run(forked_logprobs(CachedLM(again, tmp_path / "a.sqlite"), FORKS))
    assert answered == MarkReply(((-3.0, -1.0), (-8.0, -1.0), (-12.0, -1.0)), Usage(9))
    assert again.asked == [FORKS.alone[1]]


def test_every_field_of_a_request_and_the_model_make_another_question(tmp_path: Path) -> None:
    echo = Echo()
    others = [
        replace(QUESTION, messages=(Message("system", "b"), *QUESTION.messages)),
        replace(QUESTION, messages=(Message("user", "b"),)),
        replace(QUESTION, max_tokens=6),
        replace(QUESTION, temperature=1.0),
        replace(QUESTION, stop=("\n",)),
        replace(QUESTION, sample_idx=1),
        replace(QUESTION, messages=(Message("user", "x"), *QUESTION.messages), n_shared=1),
    ]

    async def ask_all() -> None:
        lm = CachedLM(echo, tmp_path / "a.sqlite")
        for request in (QUESTION, *others):
            await lm.complete(request)
        await CachedLM(Echo(name="other", asked=echo.asked), tmp_path / "a.sqlite").complete(QUESTION)

    asyncio.run(ask_all())
    assert len(echo.asked) == len(others) + 2


def test_identical_requests_under_way_are_asked_once(tmp_path: Path) -> None:
    echo = Echo()
    lm = CachedLM(echo, tmp_path / "a.sqlite")

    async def thrice() -> list[Reply]:
        return await asyncio.gather(*(lm.complete(QUESTION) for _ in range(3)))

    replies = asyncio.run(thrice())
    assert len(set(replies)) == len(echo.asked) == 1
    assert (lm.ledger.n_requests, lm.ledger.n_cached, lm.ledger.completion_tokens) == (3, 2, 2)


def test_a_failure_is_that_of_all_who_wait_and_is_not_kept(tmp_path: Path) -> None:
    faults = Faults(share=1.0, kinds=("malformed",))
    with LoopbackServer(Served(chat=Rule()), faults) as server:
        lm = CachedChat(make_chat(server, tmp_path), tmp_path / "a.sqlite")
        failed = complete_all(lm, [ask("a")] * 3)
        assert [str(failure) for failure in failed] == ["not JSON: '<html><h1>All is well</h1>'"] * 3
        assert len(server.seen) == 1
        assert (lm.ledger.n_requests, lm.ledger.n_failed, lm.ledger.n_cached) == (3, 3, 0)
        faults.share = 0.0
        answered = complete_all(lm, [ask("a")] * 3)
        assert answered == [Reply("about a", Usage(7, 2), "stop")] * 3
        assert len(server.seen) == 2


async def ask_thrice(lm: CachedChat, server: LoopbackServer, given_up: int) -> list[Reply | BaseException]:
    """Ask the same three times at once, and give one up while the server is at it."""
    asked = [asyncio.create_task(lm.complete(ask("a"))) for _ in range(3)]
    while not server.seen:
        await asyncio.sleep(0.01)
    asked[given_up].cancel()
    return await asyncio.gather(*asked, return_exceptions=True)


def test_who_waits_for_a_question_that_is_given_up_has_it_asked_again(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule(), seconds=0.3)) as server:
        lm = CachedChat(make_chat(server, tmp_path), tmp_path / "a.sqlite")
        first, *others = asyncio.run(ask_thrice(lm, server, given_up=0))
    assert isinstance(first, asyncio.CancelledError)
    assert others == [Reply("about a", Usage(7, 2), "stop")] * 2
    assert len(server.seen) == 2


def test_who_gives_up_waiting_leaves_the_question_to_the_others(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule(), seconds=0.3)) as server:
        lm = CachedChat(make_chat(server, tmp_path), tmp_path / "a.sqlite")
        one, given_up, other = asyncio.run(ask_thrice(lm, server, given_up=1))
    assert isinstance(given_up, asyncio.CancelledError)
    assert one == other == Reply("about a", Usage(7, 2), "stop")
    assert len(server.seen) == 1


def test_the_first_of_two_answers_is_kept(tmp_path: Path) -> None:
    one, other = AnswerStore(tmp_path / "a.sqlite"), AnswerStore(tmp_path / "a.sqlite")
    assert one.put("m", "k", {"q": 1}, "first") == "first"
    assert other.put("m", "k", {"q": 1}, "second") == "first"
    assert other.get("m", "k", {"q": 2}) is None


def _put_many(path: Path, worker: int, ready: multiprocessing.synchronize.Event) -> None:
    ready.wait()
    store = AnswerStore(path)
    for i in range(20):
        store.put("m", "k", [worker, i], f"{worker}.{i}")


def test_several_processes_open_and_write_one_new_file(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    ready = spawn.Event()
    workers = [spawn.Process(target=_put_many, args=(tmp_path / "a.sqlite", w, ready)) for w in range(4)]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = AnswerStore(tmp_path / "a.sqlite")
    assert all(store.get("m", "k", [w, i]) == f"{w}.{i}" for w in range(4) for i in range(20))


def _put_until_killed(path: Path) -> None:
    store = AnswerStore(path)
    for i in range(10):
        store.put("m", "k", i, str(i))
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_class_of_a_request_is_a_part_of_its_key(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")
    store.put("model", "Request", {"text": "a"}, "chat")
    assert store.get("model", "TextRequest", {"text": "a"}) is None
    assert store.get("model", "Request", {"text": "a"}) == "chat"


def test_a_change_is_written_ahead_and_on_the_disk_before_it_counts(tmp_path: Path) -> None:
    with Database(tmp_path / "a.sqlite", "").read() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_answers_survive_kill_9(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_put_until_killed, args=(tmp_path / "a.sqlite",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = AnswerStore(tmp_path / "a.sqlite")
    assert [store.get("m", "k", i) for i in range(11)] == [*map(str, range(10)), None]
    [(check,)] = sqlite3.connect(tmp_path / "a.sqlite").execute("PRAGMA integrity_check").fetchall()
    assert check == "ok"


def test_a_file_that_is_no_cache_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("not a database, " * 100)
    with pytest.raises(LatenteseError, match=r"a\.sqlite: cannot be used"):
        AnswerStore(tmp_path / "a.sqlite").get("m", "k", 1)
