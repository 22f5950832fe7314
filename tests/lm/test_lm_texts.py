"""How likely a given text is, token by token: in process, through servers, kept, and estimated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from served_models import make_lm
from tiny_models import make_tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from latentese.errors import AnswerError, SettingError
from latentese.lm.cached import CachedLM
from latentese.lm.chat_format import ChatFormat
from latentese.lm.dry import DryLM
from latentese.lm.local import LocalLM
from latentese.lm.marks import Echo, MarkReading, NextToken, PromptLogprobs
from latentese.lm.places import Place, text_logprobs
from latentese.lm.prompts import TextPrompt, TokenPrompts
from latentese.lm.protocol import MarkReply, MarkRequest, Message, Reply, Request, TextReply, TextRequest
from latentese.lm.testing.models import FolderModel
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Usage

TEXT = "the river 12 the 日本 <|endoftext|> mill"
REQUEST = TextRequest((Message("user", "Rivers:"), Message("assistant", TEXT)), n_shared=1)


@dataclass(frozen=True)
class Folder:
    """A model source that is a folder."""

    path: Path

    @property
    def name(self) -> str:
        return f"tiny-{self.path.name}"

    def folder(self) -> Path:
        return self.path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(make_tiny_llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=512, initializer_range=0.3))


@pytest.fixture(scope="module")
def expected(tiny: Folder) -> TextReply:
    return asyncio.run(LocalLM(tiny, "float32").token_logprobs(REQUEST))


def test_log_probabilities_are_those_of_one_whole_pass(tiny: Folder, expected: TextReply) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    model = AutoModelForCausalLM.from_pretrained(tiny.path)
    prompt = ChatFormat(tokenizer).text(REQUEST)
    ids = torch.tensor([[*prompt.shared, *prompt.own]])
    with torch.no_grad():
        rows = model(ids).logits[0].log_softmax(-1)
    each = rows[torch.arange(ids.shape[1] - 1), ids[0, 1:]][-prompt.n_text :]
    assert sum(expected.logprobs) == pytest.approx(float(each.sum()), abs=1e-3)
    # The first ends are single tokens, so their values are single ones too.
    assert expected.logprobs[:3] == pytest.approx(each[:3].tolist(), abs=1e-4)
    assert expected.usage == Usage(ids.shape[1])


def test_ends_spell_the_text(expected: TextReply) -> None:
    assert expected.ends[-1] == len(TEXT)
    assert all(low < high for low, high in pairwise((0, *expected.ends)))
    # The two characters of Japan are several tokens each, which count as one; control tokens are cut like text.
    at = TEXT.index("日")
    assert {at + 1, at + 2} <= set(expected.ends)
    assert any(TEXT.index("<") < end < TEXT.index(">") for end in expected.ends)


def test_what_is_shared_changes_no_number(tiny: Folder, expected: TextReply) -> None:
    alone = asyncio.run(LocalLM(tiny, "float32").token_logprobs(replace(REQUEST, n_shared=0)))
    assert alone.ends == expected.ends
    assert alone.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_marked_texts_and_answers_are_given_beside_it(tiny: Folder, expected: TextReply) -> None:
    lm = LocalLM(tiny, "float32")

    async def all_at_once() -> tuple[TextReply, MarkReply, Reply, TextReply]:
        marks = MarkRequest((Message("user", "the river"),), (4,), ("r",))
        question = Request((Message("user", "the river"),), max_tokens=3)
        return await asyncio.gather(
            lm.token_logprobs(REQUEST),
            lm.next_token_logprobs(marks),
            lm.complete(question),
            lm.token_logprobs(replace(REQUEST, messages=(*REQUEST.messages[:1], Message("assistant", "the mill")))),
        )

    first, marks, reply, other = asyncio.run(all_at_once())
    assert first == expected
    assert (len(marks.logprobs), reply.usage.completion_tokens, other.ends[-1]) == (1, 3, 8)


def test_a_text_too_long_is_a_failed_answer(tiny: Folder) -> None:
    long = replace(REQUEST, messages=(*REQUEST.messages[:1], Message("assistant", "b 1 " * 400)))
    with pytest.raises(AnswerError, match=r"^prompt and answer take \d+ tokens, at most 512 for tiny-"):
        asyncio.run(LocalLM(tiny, "float32").token_logprobs(long))


def test_a_beginning_too_long_for_any_text_is_refused(tiny: Folder) -> None:
    long = replace(REQUEST, messages=(Message("user", "b 1 " * 400), REQUEST.messages[1]))
    with pytest.raises(SettingError, match=r"^tokens of shared messages and answer=\d+ .*at most 512 for tiny-"):
        asyncio.run(LocalLM(tiny, "float32").token_logprobs(long))


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(SettingError, match="some text to read"):
        TextRequest((Message("user", "a"), Message("assistant", "")))


@pytest.mark.parametrize("marks", [Echo(3), PromptLogprobs(3)], ids=["echo", "prompt_logprobs"])
def test_a_server_tells_what_the_model_in_process_does(
    tiny: Folder, expected: TextReply, tmp_path: Path, marks: MarkReading
) -> None:
    with LoopbackServer(Served(completions=FolderModel(tiny.path))) as server:
        lm = make_lm(server, tmp_path, marks, prompts=TokenPrompts(tiny))
        found = asyncio.run(lm.token_logprobs(REQUEST))
    assert len(server.seen) == 1
    assert found.ends == expected.ends
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-3)
    assert found.usage.prompt_tokens == expected.usage.prompt_tokens


@pytest.mark.parametrize("marks", [Echo(3), PromptLogprobs(3)], ids=["echo", "prompt_logprobs"])
def test_a_text_that_the_server_cuts_is_told_by_offsets(tiny: Folder, tmp_path: Path, marks: MarkReading) -> None:
    with LoopbackServer(Served(completions=FolderModel(tiny.path))) as server:
        found = asyncio.run(make_lm(server, tmp_path, marks).token_logprobs(REQUEST))
    assert found.ends[-1] == len(TEXT)
    assert len(found.ends) == len(found.logprobs) > 10
    assert all(low < high for low, high in pairwise((0, *found.ends)))
    assert max(found.logprobs) < 0


def test_likeliest_tokens_alone_do_not_tell(tiny: Folder, tmp_path: Path) -> None:
    with LoopbackServer(Served(completions=FolderModel(tiny.path))) as server:
        with pytest.raises(SettingError, match="Echo or PromptLogprobs"):
            asyncio.run(make_lm(server, tmp_path, NextToken(5)).token_logprobs(REQUEST))
        assert server.seen == []


def test_a_server_that_cannot_echo_fails_the_question(tiny: Folder, tmp_path: Path) -> None:
    served = Served(completions=FolderModel(tiny.path), offers=("logprobs",))
    with LoopbackServer(served) as server, pytest.raises(AnswerError, match="echo is not supported"):
        asyncio.run(make_lm(server, tmp_path, Echo(5)).token_logprobs(REQUEST))


def test_a_token_that_begins_before_the_text_is_its_first() -> None:
    # "Q: ab" cut as "Q", ":", " a", "b" with the text "ab": " a" ends one character into it.
    places = [Place(t, {}, v) for t, v in (("Q", None), (":", -9.0), (" a", -1.0), ("b", -2.0), ("!", -8.0))]
    assert text_logprobs(places, TextPrompt("Q: ab", 3)) == ((1, 2), (-1.0, -2.0))


@pytest.mark.parametrize("logprob", [None, float("-inf")])
def test_a_token_without_a_number_fails_the_question(logprob: float | None) -> None:
    places = [Place("Q", {}, None), Place("a", {}, logprob), Place("!", {}, -1.0)]
    with pytest.raises(AnswerError, match="does not tell"):
        text_logprobs(places, TextPrompt("Qa", 1))
    with pytest.raises(AnswerError, match="of 3 tokens, expected 4"):
        text_logprobs(places, TextPrompt([1, 2, 3], 1, ((1, 1), (2, 2))))


@dataclass
class Reader:
    """Says -1.5 of every character."""

    name: str = "reader"
    asked: list[object] = field(default_factory=list)

    async def complete(self, request: Request) -> Reply:
        raise NotImplementedError

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        raise NotImplementedError

    async def token_logprobs(self, request: TextRequest) -> TextReply:
        self.asked.append(request)
        n = len(request.messages[-1].content)
        return TextReply(tuple(range(1, n + 1)), (-1.5,) * n, Usage(n))


def test_a_text_is_read_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    reader = Reader()
    first = asyncio.run(CachedLM(reader, tmp_path / "a.sqlite").token_logprobs(REQUEST))
    again = CachedLM(reader, tmp_path / "a.sqlite")
    assert asyncio.run(again.token_logprobs(REQUEST)) == first
    assert again.kept_text(REQUEST) == first
    assert again.kept_text(replace(REQUEST, n_shared=0)) is None
    assert len(reader.asked) == 1


def test_an_estimate_counts_a_text_once_and_asks_nothing(tmp_path: Path) -> None:
    reader = Reader()
    dry = DryLM(CachedLM(reader, tmp_path / "a.sqlite"))
    reply = asyncio.run(dry.token_logprobs(REQUEST))
    asyncio.run(dry.token_logprobs(REQUEST))
    estimate = dry.take()
    assert (estimate.n_requests, estimate.n_kept, estimate.completion_tokens) == (1, 1, 1)
    assert reply.ends[-1] == len(TEXT)
    assert reader.asked == []
