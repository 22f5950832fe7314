"""From messages to token ids: the tokenizer's chat template around contents that stay text.

The template is rendered around placeholders, and contents are encoded apart from it with control tokens switched off:
whatever a content holds (`<|im_end|>`, `<s>`), it cannot end its message, so text from a corpus is never an order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from latentese.errors import SettingError
from latentese.lm.protocol import ForkRequest, JsonRequest, MarkRequest, Message, Request, TextRequest

# Private-use characters: no template holds them, and contents are never rendered.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For base models, whose tokenizers have no template: such a model continues a transcript."""

_DATE = {
    "%Y": "2024", "%y": "24", "%m": "07", "%b": "Jul", "%B": "July", "%d": "26", "%-d": "26", "%a": "Fri",
    "%A": "Friday", "%H": "00", "%M": "00", "%S": "00",
}  # fmt: skip
# Templates such as Llama 3.2's write what day it is, but an answer must not depend on the day it is asked. This macro
# hides the function that tells them, and gives the date that Llama's template has where there is no such function. (An
# argument of apply_chat_template cannot: a function becomes text there.) The line break goes with the block before it.
_FIXED_DATE = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace({code!r}, {value!r})" for code, value in _DATE.items())
    + " }}{% endmacro %}\n"
)

_ANCHORS = ("\t", "\n")
"""Characters that hardly any token has together with what follows them."""


@dataclass(frozen=True)
class Prompt:
    """Token ids of a conversation, cut where the shared leading messages end."""

    shared: tuple[int, ...]
    own: tuple[int, ...]
    begins: tuple[int, ...] = ()
    """Between these, what some conversations begin alike with behind the shared messages."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All of them, in order."""
        return (*self.shared, *self.begins, *self.own)


@dataclass(frozen=True)
class MarkedPrompt:
    """Token ids up to the last mark, and where in `own` the marks are read."""

    shared: tuple[int, ...]
    own: tuple[int, ...]
    read_at: tuple[int, ...]
    """Index in `own` of the last token before each mark."""


@dataclass(frozen=True)
class Fork:
    """A continuation of a prompt from somewhere inside it."""

    n_before: int
    """How many of the prompt's own tokens stand before it."""
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ForkedPrompt:
    """Token ids of a conversation up to the last mark, and of what comes instead of its end."""

    shared: tuple[int, ...]
    own: tuple[int, ...]
    forks: tuple[Fork, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens that are read."""
        return len(self.shared) + len(self.own) + sum(len(fork.ids) for fork in self.forks)

    @property
    def n_longest(self) -> int:
        """Tokens of the longest of the conversations."""
        return len(self.shared) + max(fork.n_before + len(fork.ids) for fork in self.forks)


@dataclass(frozen=True)
class TextPrompt:
    """Token ids of a conversation up to the end of its last message, and where in the text its tokens end."""

    shared: tuple[int, ...]
    own: tuple[int, ...]
    """At least one token stands before the text."""
    ends: tuple[tuple[int, int], ...]
    """Offset in the text, and how many tokens of the text end at or before it; both rising."""

    @property
    def n_text(self) -> int:
        """Tokens of the text, the last ones of `own`."""
        return self.ends[-1][1]


class ChatFormat:
    """How one tokenizer writes conversations."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        template = _template_of(tokenizer)
        self._template: str = _FIXED_DATE + template if "strftime_now" in template else template

    def prompt(self, request: Request) -> Prompt:
        """Encode a conversation up to where the answer begins."""
        around = self._around(request.messages)
        shared, own = self._encode_parts(around, request.messages, request.n_shared)
        last = request.messages[-1]
        tail = () if last.role == "assistant" else self._encode_template(around[-1])
        cut = request.n_shared_characters if isinstance(request, JsonRequest) else 0
        begins = self.encode_text(last.content[:cut]) if cut else ()
        return Prompt(shared, (*own, *self.encode_text(last.content[cut:]), *tail), begins)

    def marked(self, request: MarkRequest) -> MarkedPrompt:
        """Encode a conversation up to the last mark, so that a token ends at every mark."""
        shared, own = self._encode_parts(self._around(request.messages), request.messages, request.n_shared)
        ids, ends = self._encode_to_marks(request.messages[-1].content, request.marks)
        return MarkedPrompt(shared, (*own, *ids), tuple(len(own) + end - 1 for end in ends))

    def forked(self, request: ForkRequest) -> ForkedPrompt:
        """Encode a conversation up to the last mark, and what each fork has instead of its end.

        Every conversation is cut into the tokens that it has alone. A text cut short may end in other tokens than the
        same text going on has there, so a fork leaves where they begin to differ, at its mark or somewhat before it.
        """
        content = request.messages[-1].content
        around = self._around((*request.messages, Message("assistant", request.answers[0])))
        shared, own = self._encode_parts(around, request.messages, request.n_shared)
        turn = self._encode_template(around[len(request.messages)])
        whole = self.encode_text(content[: request.marks[-1]])
        forks = []
        for mark, answer in zip(request.marks, request.answers, strict=True):
            ids = self.encode_text(content[:mark])
            n_same = next((i for i, pair in enumerate(zip(ids, whole, strict=False)) if pair[0] != pair[1]), len(ids))
            forks.append(Fork(len(own) + n_same, (*ids[n_same:], *turn, *self.encode_text(answer))))
        return ForkedPrompt(shared, (*own, *whole), tuple(forks))

    def text(self, request: TextRequest) -> TextPrompt:
        """Encode a conversation up to the end of its last message, which is cut as the tokenizer likes."""
        shared, own = self._encode_parts(self._around(request.messages), request.messages, request.n_shared)
        if not own:  # what comes before the text says how likely its first token is
            shared, own = shared[:-1], shared[-1:]
        if not own:
            raise SettingError("messages", len(request.messages), "something that stands before the text to read")
        content = request.messages[-1].content
        ids, n_before = self._encode_cut(content, [len(content)])
        return TextPrompt(shared, (*own, *ids), tuple(sorted((end, n) for end, n in n_before.items() if end)))

    def first_tokens(self, candidates: Sequence[str]) -> tuple[int, ...]:
        """First token of each candidate; raises SettingError when two begin with the same token."""
        firsts = tuple(self._first_token(candidate) for candidate in candidates)
        if len(set(firsts)) < len(firsts):
            raise SettingError("candidates", tuple(candidates), "texts that begin with different tokens of this model")
        return firsts

    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end of text, and what the template writes after an assistant's message."""
        around = self._around((Message("user", ""), Message("assistant", ""), Message("user", "")))
        after = self._encode_template(around[2])[:1]
        # A template may put plain text there, such as a line break, which does not end an answer.
        closing = [token for token in after if token in set(self._tokenizer.all_special_ids)]
        return frozenset(token for token in (self._tokenizer.eos_token_id, *closing) if token is not None)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Encode text in which control tokens are text too."""
        return tuple(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer's tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _first_token(self, candidate: str) -> int:
        """First token of a text that goes on from another.

        Alone, it begins a text, and there tokenizers such as Llama 2's put a space before it, as a token of its own.
        """
        for anchor in _ANCHORS:
            encoded = self._encode_offsets(anchor + candidate)
            behind = [(token, start) for token, start, end in encoded if end > len(anchor)]
            if behind and behind[0][1] >= len(anchor):
                return behind[0][0]
        return self.encode_text(candidate)[0]

    def _encode_parts(
        self, around: Sequence[str], messages: Sequence[Message], n_shared: int
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Encode all that stands before the last content: the shared part, and what follows it."""
        parts = [self._encode_template(around[0])]
        for message, after in zip(messages[:-1], around[1:], strict=False):
            parts.append((*self.encode_text(message.content), *self._encode_template(after)))
        shared = tuple(token for part in parts[: n_shared + 1] for token in part)
        return shared, tuple(token for part in parts[n_shared + 1 :] for token in part)

    def _encode_template(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _around(self, messages: Sequence[Message]) -> list[str]:
        """Texts that the template writes before, between and after the contents: one more than there are messages."""
        turns = [{"role": message.role, "content": f"{_OPEN}{i}{_CLOSE}"} for i, message in enumerate(messages)]
        last = messages[-1].role
        try:
            rendered = self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, add_generation_prompt=last != "assistant"
            )
        except TemplateError as error:
            roles = [message.role for message in messages]
            raise SettingError("messages", roles, f"roles that the model's chat template takes ({error})") from error
        pieces = _PLACEHOLDER.split(rendered)
        if pieces[1::2] != [str(i) for i in range(len(messages))]:
            raise SettingError("chat_template", rendered[:80], "a template that writes every message once, in order")
        return pieces[::2]

    def _encode_to_marks(self, text: str, marks: Sequence[int]) -> tuple[list[int], list[int]]:
        """Encode `text` up to the last mark; returns the ids and how many of them stand before each mark.

        Where a token would run across a mark, the text is encoded in two parts, cut there.
        """
        cuts: set[int] = {marks[-1]}
        while True:
            ids, n_before = self._encode_cut(text, sorted(cuts))
            crossed = [mark for mark in marks if mark not in n_before]
            if not crossed:
                return ids, [n_before[mark] for mark in marks]
            cuts.update(crossed)

    def _encode_cut(self, text: str, cuts: Sequence[int]) -> tuple[list[int], dict[int, int]]:
        """Encode the parts between cuts; returns the ids and, for each offset at which a token ends, their number."""
        ids: list[int] = []
        n_before: dict[int, int] = {}
        for low, high in zip((0, *cuts), cuts, strict=False):
            for token, _, end in self._encode_offsets(text[low:high]):
                ids.append(token)
                n_before[low + end] = len(ids)
            n_before[high] = len(ids)
        return ids, n_before

    def _encode_offsets(self, text: str) -> list[tuple[int, int, int]]:
        """Encode text as `encode_text` does, with the character offsets at which each token begins and ends."""
        encoded = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        return [(token, *span) for token, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]


def _template_of(tokenizer: Any) -> str:
    """Of several templates the default one; raises SettingError where none of them is."""
    if not tokenizer.chat_template:
        return PLAIN_TEMPLATE
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        allowed = "one template, or several of which one is named default"
        raise SettingError("chat_template", sorted(tokenizer.chat_template), allowed) from error
    return template
