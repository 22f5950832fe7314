"""From texts to tokens: candidates as they stand behind other text, and templates that tell the date."""

from __future__ import annotations

import pytest
from tiny_models import make_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from latentese.errors import SettingError
from latentese.lm.chat_format import ChatFormat
from latentese.lm.protocol import MarkRequest, Message, Request

DIGITS = tuple("0123456789")
ANSWERS = (" yes", " no")
MERGES = [("e", "s"), ("y", "es"), ("▁", "yes"), ("n", "o"), ("▁", "no")]
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_llama2_tokenizer() -> LlamaTokenizer:
    """SentencePiece's way: a text begins with a space, which is a token of its own before most characters."""
    tokens = ["<unk>", "<s>", "</s>", "▁", "\t", "\n", *map(chr, range(33, 127)), *map("".join, MERGES)]
    return LlamaTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=MERGES)


def make_qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level tokens that may begin with a tab: here `\\tno` and `\\n\\n` are tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=275, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["yes\tno\tno\n\nno yes no"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("candidates", [DIGITS, ANSWERS, ("yes", "no")])
def test_a_space_that_begins_a_text_is_no_part_of_a_candidate(candidates: tuple[str, ...]) -> None:
    tokenizer = make_llama2_tokenizer()
    firsts = tokenizer.convert_ids_to_tokens(ChatFormat(tokenizer).first_tokens(candidates))
    assert firsts == {DIGITS: [*DIGITS], ANSWERS: ["▁yes", "▁no"], ("yes", "no"): ["yes", "no"]}[candidates]


def test_a_candidate_is_the_token_that_follows_the_mark_in_the_whole_text() -> None:
    tokenizer = make_llama2_tokenizer()
    form = ChatFormat(tokenizer)
    marked = form.marked(MarkRequest((Message("user", "a\t5"),), (2,), DIGITS))
    whole = form.marked(MarkRequest((Message("user", "a\t5"),), (3,), DIGITS))
    [following] = whole.own[len(marked.own) :]
    assert following == form.first_tokens(DIGITS)[5]


@pytest.mark.parametrize("make", [make_tokenizer, make_qwen_tokenizer])
def test_other_tokenizers_write_a_candidate_as_it_is_alone(make: type) -> None:
    tokenizer = make()
    form = ChatFormat(tokenizer)
    for candidate in (*DIGITS, *ANSWERS, "yes", "no", "the", " the", "\n", "\t", "\n\n", " ", "日", "é"):
        assert form.first_tokens((candidate,)) == (form.encode_text(candidate)[0],), candidate
    if make is make_qwen_tokenizer:
        assert {"ĉno", "ĊĊ"} <= tokenizer.get_vocab().keys()


def test_candidates_that_begin_with_the_same_token_are_refused() -> None:
    with pytest.raises(SettingError, match=r"^candidates="):
        ChatFormat(make_llama2_tokenizer()).first_tokens(("10", "1"))


MESSAGES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
LLAMA_3_2 = (
    "{%- if strftime_now is defined %}{%- set today = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set today = '26 Jul 2024' %}{%- endif %}{{ 'Today: ' + today + '\n' }}" + MESSAGES
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LLAMA_3_2, "Today: 26 Jul 2024\n"),
        ("{{ strftime_now('%Y-%m-%d') }} " + MESSAGES, "2024-07-26 "),
        ("{{ strftime_now(format='%A, %B %-d, %Y, %H:%M') }} " + MESSAGES, "Friday, July 26, 2024, 00:00 "),
        ("{{ strftime_now('%d') | int - 1 }} " + MESSAGES, "25 "),
        ("{% macro day() %}{{ strftime_now('%a') }}{% endmacro %}{{ day() }} " + MESSAGES, "Fri "),
        ("\n  {% set day = strftime_now('%d') %}\n" + MESSAGES, "\n"),
    ],
)
def test_a_template_that_tells_the_date_tells_the_same_every_day(template: str, expected: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    prompt = ChatFormat(tokenizer).prompt(Request((Message("user", "hi"),), 3))
    assert tokenizer.decode(prompt.shared + prompt.own) == f"{expected}user: hi\n"


def test_of_several_templates_the_default_is_written() -> None:
    tokenizer, plain = make_tokenizer(), make_tokenizer()
    plain.chat_template = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
    tokenizer.chat_template = {"default": plain.chat_template, "tool_use": "{{ tools }}"}
    request = Request((Message("user", "hello"),), 5)
    assert ChatFormat(tokenizer).prompt(request) == ChatFormat(plain).prompt(request)
    tokenizer.chat_template = {"rag": "a", "tool_use": "b"}
    with pytest.raises(SettingError, match=r"chat_template=\['rag', 'tool_use'\].*named default"):
        ChatFormat(tokenizer)
