"""The built-in probe tasks, one by one.

Each definition says what a positive is, and among which tokens. All can be told from the text, so that any corpus does.
A token is asked about what it completes, since a causal model has not read on: "-ing" about the token that ends the
word. Words are matched as they are spelt, in any language. Code is what the settings call code, and is read as Python;
a context that begins inside a string of several lines is misread there. `coin` is a control: nothing tells it.
"""

from __future__ import annotations

import keyword

import numpy as np

from latentese.evaluation import word_lists as words
from latentese.evaluation.labels import (
    Label,
    Labels,
    Passage,
    among,
    holds_first,
    holds_last,
    in_code,
    in_prose,
    lies_in,
    stands_between,
    token_begins,
    token_is,
)
from latentese.evaluation.tasks import Task

LETTER = r"[^\W\d_]"
CAPITAL, SMALL = "[A-ZÀ-ÖØ-Þ]", "[a-zß-öø-ÿ]"
APOSTROPHE = "['\u2019]"

# What follows must be there: a word cut by the context's end may go on.
WORD_END = holds_last(rf"{LETTER}(?!{APOSTROPHE}{LETTER})(?=[\W\d_])")
WORD_BEGIN = holds_first(rf"(?<!{LETTER}){LETTER}")
DIGIT = token_is(r"\s*\d+")

QUOTATION_BEGIN, QUOTATION_END = r'(?<![^\s(\[—-])["“„«](?=\S)', r'(?<=\S)["”“»](?!\w)'

OPERATOR = r"[-+*/%@&|^~<>=]|//|\*\*|<<|>>|[-+*/=!<>:]=|->"


def _any(listed: str) -> str:
    """Pattern of any of these words, whole and spelt so."""
    return rf"\b(?:{'|'.join(listed.split())})\b"


def _quoted(mark: str) -> str:
    """Pattern of a Python string between such marks, of one line or of several."""
    return rf"{mark * 3}[\s\S]*?(?:{mark * 3}|\Z)|{mark}(?:\\.|[^{mark}\\\n])*{mark}"


STRING = "|".join(map(_quoted, "'\""))
PYTHON = rf"(?P<string>{STRING})|(?P<comment>#[^\n]*)"


def _quarter(first: int) -> Label:
    """Positive: a token in this quarter, 0 to 3, of its context's tokens with a text."""

    def label(passage: Passage) -> Labels:
        rank = np.cumsum(passage.has_text) - 1
        quarter = 4 * rank // max(1, passage.has_text.sum())
        return passage.labels(quarter == first)

    return label


def _seen_before(passage: Passage) -> Labels:
    seen: set[str] = set()
    positive = np.zeros(len(passage.context.tokens), dtype=bool)
    for position, token in enumerate(passage.context.tokens):
        positive[position] = token in seen
        seen.add(token)
    return passage.labels(positive)


def _coin(passage: Passage) -> Labels:
    tossed = np.random.default_rng(passage.context.context).integers(2, size=len(passage.context.tokens))
    return passage.labels(tossed == 1)


CONTROL = Task("coin", "A coin tossed for the token showed heads; among all tokens. A control.", _coin)


def _of_token(name: str, positive: str, label: Label) -> Task:
    return Task(name, f"{positive}; among all tokens.", label)


OF_TOKENS = (
    _of_token("digit", "A token of digits alone", DIGIT),
    _of_token("punctuation", "A token of punctuation alone", token_is(r"\s*[^\w\s]+")),
    _of_token("comma", "A token that ends with a comma", token_is(r".*,")),
    _of_token("full_stop", "A token that ends with a full stop", token_is(r".*\.")),
    _of_token("question_mark", "A token with a question or exclamation mark", token_is(r".*[?!].*")),
    _of_token("colon", "A token that ends with a colon or a semicolon", token_is(r".*[:;]")),
    _of_token("dash", "A hyphen or a dash, standing for itself", token_is("\\s*[-\u2013\u2014]+")),
    _of_token("quotation_mark", "A token with a double quotation mark", token_is(r'.*["“”„«»].*')),
    _of_token("opening_bracket", "A token with an opening bracket of any kind", token_is(r".*[(\[{].*")),
    _of_token("closing_bracket", "A token with a closing bracket of any kind", token_is(r".*[)\]}].*")),
    _of_token("currency", "A token with a sign of a currency or of percent", token_is(r".*[$€£¥%].*")),
    _of_token("line_break", "A token with a line break", token_is(r".*\n.*")),
    _of_token("white_space", "A token of white space alone", token_is(r"\s+")),
    _of_token("single_letter", "A token of one letter", token_is(rf"\s*{LETTER}")),
    _of_token("long_token", "A token of eight letters or more", token_is(rf"\s*{LETTER}{{8,}}")),
    _of_token("accent", "A token with a letter outside ASCII", token_is(rf".*(?![a-zA-Z]){LETTER}.*")),
    Task(
        "capital",
        "A token that begins a word with a capital; among tokens that begin a word.",
        among(WORD_BEGIN, token_is(rf"\W*{CAPITAL}.*")),
    ),
    Task(
        "word_piece",
        "A token that goes on with a word begun before; among tokens that begin with a letter or with a space and one.",
        among(token_begins(rf" ?{LETTER}"), token_begins(rf"(?<={LETTER}){LETTER}")),
    ),
    Task(
        "even_digit",
        "A token of digits that ends with an even one; among tokens of digits.",
        among(DIGIT, token_is(r"\s*\d*[02468]")),
    ),
    Task(
        "decimal",
        "A token of digits behind a decimal point; among tokens of digits.",
        among(DIGIT, lies_in(r"(?<=\d)\.\d+")),
    ),
    Task(
        "year",
        "The end of a number from 1000 to 2099 in four digits; among tokens of digits.",
        among(DIGIT, holds_last(r"(?<![\d.,])(?:1\d|20)\d\d(?!\d|[.,]\d)")),
    ),
)


def _of_word(name: str, positive: str, pattern: str) -> Task:
    domain = among(WORD_END, holds_last(pattern))
    return Task(name, f"Completes {positive}; among tokens that complete a word.", domain)


OF_WORDS = (
    _of_word("capitalised", "a word with a capital first and small letters after it", rf"\b{CAPITAL}{SMALL}+\b"),
    _of_word("all_capitals", "a word of two or more letters, all capitals", rf"\b{CAPITAL}{{2,}}\b"),
    _of_word("hyphenated", "a word with a hyphen in it", rf"{LETTER}-{LETTER}+\b"),
    _of_word("short_word", "a word of one or two letters", rf"\b{LETTER}{{1,2}}\b"),
    _of_word("long_word", "a word of ten letters or more", rf"\b{LETTER}{{10,}}\b"),
    _of_word(
        "plural", "a word of four letters or more in -s, but not -ss, -us or -is", rf"\b{LETTER}{{2,}}(?![sui])\ws\b"
    ),
    _of_word("ing", "a word of five letters or more in -ing", rf"\b{LETTER}{{2,}}ing\b"),
    _of_word("ed", "a word of four letters or more in -ed", rf"\b{LETTER}{{2,}}ed\b"),
    _of_word("ly", "a word of four letters or more in -ly", rf"\b{LETTER}{{2,}}ly\b"),
    _of_word("abstract_noun", "a word in -tion, -ment, -ness or -ity", rf"\b{LETTER}+(?:tion|ment|ness|ity)\b"),
    _of_word("article", "an article (the, a, an)", f"(?i){_any(words.ARTICLES)}"),
    _of_word("pronoun", "a personal pronoun (I, she, them, itself, ...)", f"(?i){_any(words.PRONOUNS)}"),
    _of_word("possessive", "a possessive (my, its, theirs, ...)", f"(?i){_any(words.POSSESSIVES)}"),
    _of_word("demonstrative", "this, that, these or those", f"(?i){_any(words.DEMONSTRATIVES)}"),
    _of_word("preposition", "a preposition (of, in, between, ...)", f"(?i){_any(words.PREPOSITIONS)}"),
    _of_word("conjunction", "a conjunction (and, because, unless, ...)", f"(?i){_any(words.CONJUNCTIONS)}"),
    _of_word("auxiliary", "a form of be, have or do", f"(?i){_any(words.AUXILIARIES)}"),
    _of_word("modal", "a modal verb (can, would, must, ...)", f"(?i){_any(words.MODALS)}"),
    _of_word("negation", "a negation (not, nobody, don't, ...)", rf"(?i){_any(words.NEGATIONS)}|\b\w+n{APOSTROPHE}t\b"),
    _of_word(
        "question_word", "a question word, asking or relative (who, how, ...)", f"(?i){_any(words.QUESTION_WORDS)}"
    ),
    _of_word("number_word", "a number in letters (two, twenty, million, ...)", f"(?i){_any(words.NUMBER_WORDS)}"),
    _of_word("ordinal", "an ordinal in letters, or last", f"(?i){_any(words.ORDINALS)}"),
    _of_word("date_word", "the name of a month or a weekday, with its capital", _any(words.DATES)),
    _of_word("direction", "a direction of the compass (north, western, ...)", f"(?i){_any(words.DIRECTIONS)}"),
    _of_word("country", "the name of a country, one of some hundred", _any(words.COUNTRIES)),
)

OF_PLACES = (
    _of_token("in_parentheses", "Behind it a parenthesis is open", stands_between(r"\(", r"\)")),
    _of_token(
        "line_start",
        "Holds the first character of a line that is not white space",
        holds_first(r"(?<=\n)[^\S\n]*(\S)", 1),
    ),
    _of_token("after_comma", "Begins directly behind a comma", token_begins(r"(?<=,)")),
    _of_token("after_digit", "Begins directly behind a digit", token_begins(r"(?<=\d)")),
    _of_token("first_quarter", "Is in the first quarter of its context", _quarter(0)),
    _of_token("last_quarter", "Is in the last quarter of its context", _quarter(3)),
    _of_token("address", "Lies in a web or e-mail address", lies_in(r"(?:https?://|www\.)\S+|[\w.+-]+@[\w-]+\.[\w.]+")),
    Task(
        "in_quotation",
        "Behind it a quotation in double marks is open; among tokens of prose.",
        in_prose(stands_between(QUOTATION_BEGIN, QUOTATION_END, nests=False)),
    ),
    Task(
        "sentence_start",
        "Begins a word behind the end of a sentence; among tokens of prose that begin a word.",
        in_prose(among(WORD_BEGIN, holds_first(rf"[.!?][\"”)]?\s+({LETTER})", 1))),
    ),
    Task(
        "after_article",
        "Begins a word behind the, a or an; among tokens that begin a word.",
        among(WORD_BEGIN, holds_first(rf"(?i){_any(words.ARTICLES)} ({LETTER})", 1)),
    ),
    Task(
        "seen_before",
        "Has stood in its context before; among tokens of three letters or more.",
        among(token_is(rf"\s*{LETTER}{{3,}}"), _seen_before),
    ),
)


def _of_code(name: str, positive: str, pattern: str) -> Task:
    domain = in_code(among(WORD_END, holds_last(pattern)))
    return Task(name, f"Completes {positive}; among tokens of code that complete a word.", domain)


def _in_code(name: str, positive: str, label: Label) -> Task:
    return Task(name, f"{positive}; among tokens of code.", in_code(label))


OF_CODE = (
    _of_code("python_keyword", "a keyword of Python", _any(" ".join(keyword.kwlist))),
    _of_code("python_builtin", "the name of a built-in function or class", _any(words.BUILTINS)),
    _of_code("python_definition", "the name of a function or class where it is defined", r"\b(?:def|class)\s+\w+\b"),
    _of_code("python_attribute", "a name directly behind a point", r"(?<=[\w)\]])\.\w+\b"),
    _of_code("python_call", "a name directly before an opening parenthesis", rf"{LETTER}(?=\()"),
    _of_code("python_self", "the name self", r"\bself\b"),
    _in_code("python_comment", "Lies in a comment", lies_in(PYTHON, "comment")),
    _in_code("python_string", "Lies in a string", lies_in(PYTHON, "string")),
    _in_code("python_operator", "An operator alone", token_is(rf"\s*(?:{OPERATOR})")),
    _in_code("python_indent", "White space at the head of a line", lies_in(r"(?<=\n)[^\S\n]+(?=\S)")),
)

TEXT_TASKS: tuple[Task, ...] = (*OF_TOKENS, *OF_WORDS, *OF_PLACES, *OF_CODE)
