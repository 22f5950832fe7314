"""What would be asked is counted, once each, and nothing is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from served_models import Rule, ask, complete_all, make_chat, make_lm

from latentese.explainers.answer import read_reply
from latentese.lm.cached import CachedChat, CachedLM
from latentese.lm.dry import DryChat, DryLM, Estimate
from latentese.lm.forks import forked_logprobs
from latentese.lm.marks import Echo, NextToken
from latentese.lm.protocol import ForkRequest, JsonRequest, MarkReply, MarkRequest, Message
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.refinement.sentences import SentenceWriter

PRICES = [{"model": "toy", "prompt": 1_000_000.0, "completion": 2_000_000.0}]
MARKS = MarkRequest((Message("user", "a\tb\tc\t"),), (2, 4, 6), ("0", "1"))


def test_kept_questions_are_answered_and_others_counted_once(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        cached = CachedChat(make_chat(server, tmp_path, prices=PRICES), tmp_path / "answers.sqlite")
        [kept] = complete_all(cached, [ask("kept")])
        dry = DryChat(cached)
        replies = complete_all(dry, [ask("kept"), ask("one"), ask("three"), ask("one")])
        assert len(server.seen) == 1
    assert replies[0] == kept
    assert replies[1] == replies[3] != replies[2]
    # "one" and "three": 1 and 2 tokens, 8 around each, 8 of each answer; prompts at 1 and answers at 2 a token.
    assert dry.take() == Estimate(n_kept=2, n_requests=2, prompt_tokens=19, completion_tokens=16, money=51.0)
    complete_all(dry, [ask("one")])
    assert dry.take() == Estimate(n_kept=1)
    assert dry.name == cached.name


def test_a_schema_counts_as_what_is_read(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        dry = DryChat(CachedChat(make_chat(server, tmp_path, prices=PRICES), tmp_path / "answers.sqlite"))
        schema = '{"type": "array"}'
        asyncio.run(dry.complete(JsonRequest((Message("user", "one"),), 8, json_schema=schema)))
        assert server.seen == []
    # 3 bytes are a token, 2 words and 7 signs are 9, and 8 around them.
    assert dry.take() == Estimate(0, n_requests=1, prompt_tokens=18, completion_tokens=8, money=34.0)


def test_a_guess_reads_as_an_explanation_and_as_all_the_sentences_wanted(tmp_path: Path) -> None:
    """Without sentences an arm that shows them would end there, and what it proposes would not be counted."""
    with LoopbackServer(Served(chat=Rule())) as server:
        dry = DryChat(CachedChat(make_chat(server, tmp_path), tmp_path / "answers.sqlite"))
        writer = SentenceWriter(dry, n_sentences=10)
        one, other = (asyncio.run(writer.ask(words)) for words in ("rivers", "lakes"))
        assert server.seen == []
    assert len(writer.read(one)) == len(set(writer.read(one) + writer.read(other))) // 2 == 10
    assert read_reply(one, "the word", max_words=5).startswith("1. guess ")
    assert dry.take().n_requests == 2


def test_a_marked_text_takes_as_many_requests_as_its_reading(tmp_path: Path) -> None:
    with LoopbackServer(Served()) as server:
        for marks, n_requests in ((Echo(5), 1), (NextToken(5), 3)):
            dry = DryLM(CachedLM(make_lm(server, tmp_path, marks), tmp_path / "answers.sqlite"))
            reply = asyncio.run(dry.next_token_logprobs(MARKS))
            assert [len(row) for row in reply.logprobs] == [2, 2, 2]
            # 3 letters and 3 tabs are 6 tokens, 8 around them, and one of an answer: of each request.
            assert dry.take() == Estimate(0, n_requests, 14 * n_requests, n_requests, None)
        assert server.seen == []


FORKS = ForkRequest((Message("user", "abc"),), (1, 2, 3), ("x", "y", "z"), ("0", "1"))


class Together:
    """Reads forks together; it is never asked."""

    name = "together"

    async def forked_logprobs(self, request: ForkRequest) -> MarkReply:
        raise AssertionError


def test_forks_are_one_question_where_they_are_read_together(tmp_path: Path) -> None:
    with LoopbackServer(Served()) as server:
        served = make_lm(server, tmp_path, Echo(5))
        for lm, n_requests in ((served, 3), (Together(), 1)):
            dry = DryLM(CachedLM(lm, tmp_path / "answers.sqlite"))  # type: ignore[arg-type]
            reply = asyncio.run(forked_logprobs(dry, FORKS))
            assert [len(row) for row in reply.logprobs] == [2, 2, 2]
            estimate = dry.take()
            assert estimate.n_requests == n_requests
            # Each message is a token, and 8 around it: 4 together, 2 of each fork alone.
            assert estimate.prompt_tokens == (4 + 4 * 8 if n_requests == 1 else 3 * 2 + 3 * 2 * 8)
        assert server.seen == []


def test_estimates_add_up() -> None:
    assert Estimate(1, 2, 3, 4, 0.5) + Estimate(1, 1, 1, 1, None) == Estimate(2, 3, 4, 5, 0.5)
    assert (Estimate() + Estimate()).money is None
