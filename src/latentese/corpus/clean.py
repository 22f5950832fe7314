"""Plain text out of wiki mark-up and HTML: what a person would read, nothing of the machinery."""

from __future__ import annotations

import html
import re

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_DROPPED_ELEMENT = re.compile(
    r"<(ref|math|gallery|timeline|score|syntaxhighlight|source|nowiki|code|pre|chem|imagemap|hiero)\b"
    r"(?:[^>]*/>|[^>]*>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
_TABLE = re.compile(r"\{\|(?:(?!\{\|).)*?\n?\|\}", re.DOTALL)
_LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
_BROKEN_MEDIA = re.compile(r"\[\[(?:file|image):.*?\]\]", re.IGNORECASE)  # captions with brackets of their own
_EXTERNAL_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]+[ \t]*([^\]]*)\]")
_MEDIA_PREFIX = re.compile(
    r":?\s*(?:file|image|media|category|wikt|wiktionary|wikisource|commons|[a-z]{2,3}(?:-[a-z]+)*)\s*:", re.IGNORECASE
)
_QUOTES = re.compile(r"'{2,}")
_MAGIC_WORD = re.compile(r"__[A-Z]+__")
_STRUCTURE_LINE = re.compile(r"^[ \t]*[=*#:;|!{}].*$", re.MULTILINE)
_EMPTY_BRACKETS = re.compile(r" ?\([\s,;]*\)")
_SPACE_BEFORE = re.compile(r"[ \t]+([,.;:!?])(?=\s|$)")
_BLANK_LINES = re.compile(r"\n\s*\n")
_SPACES = re.compile(r"[ \t\u00a0]+")
_BREAK = re.compile(r"<(?:br|/p|/li|/h\d|/tr)\b[^<>]*>", re.IGNORECASE)

# Sections that hold lists of works and links rather than prose; they end an article.
_LAST_SECTIONS = re.compile(
    r"^==\s*(?:see also|references|notes|footnotes|further reading|external links|bibliography|sources|citations)\s*==",
    re.MULTILINE | re.IGNORECASE,
)


def strip_wikitext(text: str) -> str:
    """Prose of a wiki article: no templates, tables, references, lists, headings or links' mark-up."""
    end = _LAST_SECTIONS.search(text)
    text = text[: end.start()] if end else text
    text = _COMMENT.sub("", text)
    text = _DROPPED_ELEMENT.sub("", text)
    text = _until_stable(_TEMPLATE, "", text)
    text = _until_stable(_TABLE, "", text)
    text = _EXTERNAL_LINK.sub(r"\1", text)
    text = _until_stable(_LINK, _link_text, text)
    text = _BROKEN_MEDIA.sub("", text)
    text = _TAG.sub("", text)
    text = _QUOTES.sub("", text)
    text = _MAGIC_WORD.sub("", text)
    text = _STRUCTURE_LINE.sub("", text)
    # Only now: an escaped "&lt;ref&gt;" in an article is meant to be read, not to be mark-up.
    text = html.unescape(text)
    text = _EMPTY_BRACKETS.sub("", text)
    return tidy_spaces(text)


def strip_html(text: str) -> str:
    """Text of an HTML fragment; paragraphs and breaks become line ends."""
    return tidy_spaces(html.unescape(_TAG.sub("", _BREAK.sub("\n", text))))


def tidy_spaces(text: str) -> str:
    """One space between words, none before punctuation, at most one blank line, none at the ends."""
    text = _SPACES.sub(" ", text)
    text = _SPACE_BEFORE.sub(r"\1", text)
    text = "\n".join(line.strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _until_stable(pattern: re.Pattern[str], replacement: object, text: str) -> str:
    """Replace from the innermost outwards until nothing changes: mark-up nests."""
    n_replaced = 1
    while n_replaced:
        text, n_replaced = pattern.subn(replacement, text)  # type: ignore[call-overload]
    return text


def _link_text(link: re.Match[str]) -> str:
    """Return what a reader sees of `[[target|shown]]`; nothing of a picture, a category or a sister language."""
    target, _, shown = link[1].partition("|")
    if _MEDIA_PREFIX.match(target):
        return ""
    return shown.rpartition("|")[2] if shown else target.removeprefix(":")
