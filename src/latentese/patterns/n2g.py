"""N2G: a unit as a set of token patterns, found by trying which tokens its activation can do without.

For each firing (Foote et al. 2023, in the short form of Gao et al. 2024, section 4):

    suffix    the shortest run of tokens up to the firing one that keeps half of the activation
    pattern   of the suffix, the tokens whose padding costs half; any one token may stand in the place of the others

The patterns form a trie that is walked backwards from a token. It predicts whether the unit fires there, and how
strongly. Trying needs the unit's activations on changed texts, from a function that is given: the subject's, or any
stand-in. Reading a trie needs nothing but texts of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from latentese.errors import SettingError

TokenIds = tuple[int, ...]

Strength = Callable[[Sequence[TokenIds]], Sequence[float]]
"""The unit's activation at the last token of each text of token ids, 0 where it is silent."""


@dataclass(frozen=True)
class N2GSettings:
    """How a firing becomes a pattern."""

    share: float = 0.5
    """A suffix must keep this share of the firing's activation; padding a token that matters leaves no more than it."""
    max_tokens: int = 32
    """A firing that needs a longer suffix gives no pattern."""
    lengths_at_once: int = 8
    """Suffix lengths tried in one call, for all firings together: cost, not result."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise SettingError("n2g.share", self.share, "between 0 and 1")
        for name in ("max_tokens", "lengths_at_once"):
            if getattr(self, name) < 1:
                raise SettingError(f"n2g.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class Firing:
    """A text that ends in a token on which the unit fires."""

    token_ids: TokenIds
    texts: tuple[str, ...]
    """Text of each token."""
    act: float
    """The unit's activation at the last token."""


@dataclass(frozen=True)
class Pattern:
    """Tokens that end in the one on which the unit fires."""

    tokens: tuple[str | None, ...]
    """Texts in reading order; None stands for any one token, and is neither first nor last."""
    act: float
    """Expected activation at the last token."""
    n_firings: int = 1
    """Firings it was found in."""

    @property
    def text(self) -> str:
        """The pattern on one line, each token quoted: `' New' * ' City'`."""
        return " ".join("*" if token is None else repr(token) for token in self.tokens)


@dataclass
class _Node:
    """A place in the trie: what may stand before, and the pattern that may begin here."""

    before: dict[str | None, _Node] = field(default_factory=dict)
    pattern: Pattern | None = None


@dataclass(frozen=True)
class PatternTrie:
    """What a unit is expected to do on any text, from patterns."""

    patterns: tuple[Pattern, ...]
    """No two with the same tokens; strongest first."""

    def expected(self, tokens: Sequence[str]) -> tuple[float, ...]:
        """Simulate the unit on a text: one expected activation per token, 0 where no pattern ends."""
        found = (self.match(tokens, position) for position in range(len(tokens)))
        return tuple(pattern.act if pattern else 0.0 for pattern in found)

    def match(self, tokens: Sequence[str], position: int) -> Pattern | None:
        """Find the pattern that ends at a position: of several, the one that names most tokens, then the longest."""
        ending = self.ending(tokens, position)
        return max(ending, key=lambda pattern: (_n_named(pattern), len(pattern.tokens)), default=None)

    def ending(self, tokens: Sequence[str], position: int) -> Iterator[Pattern]:
        """Find all patterns that end at a position."""
        return self._walk(self._root, tokens, position)

    def text(self, n_patterns: int = 10) -> str:
        """Write the strongest patterns as lines: the pattern, and the activation to expect."""
        return "\n".join(f"{pattern.text}\t{pattern.act:.3g}" for pattern in self.patterns[:n_patterns])

    @cached_property
    def _root(self) -> _Node:
        root = _Node()
        for pattern in self.patterns:
            node = root
            for token in reversed(pattern.tokens):
                node = node.before.setdefault(token, _Node())
            node.pattern = pattern
        return root

    def _walk(self, node: _Node, tokens: Sequence[str], position: int) -> Iterator[Pattern]:
        """Patterns below `node` whose remaining tokens end at `position`."""
        if position < 0:
            return
        for token in (tokens[position], None):
            child = node.before.get(token)
            if child is not None:
                if child.pattern is not None:
                    yield child.pattern
                yield from self._walk(child, tokens, position - 1)


def build_trie(patterns: Iterable[Pattern]) -> PatternTrie:
    """Merge patterns with the same tokens: their activations are averaged over the firings they were found in."""
    merged: dict[tuple[str | None, ...], Pattern] = {}
    for pattern in patterns:
        other = merged.get(pattern.tokens, Pattern(pattern.tokens, 0.0, 0))
        n = other.n_firings + pattern.n_firings
        act = (other.act * other.n_firings + pattern.act * pattern.n_firings) / n
        merged[pattern.tokens] = Pattern(pattern.tokens, act, n)
    return PatternTrie(tuple(sorted(merged.values(), key=lambda pattern: (-pattern.act, pattern.text))))


def find_patterns(
    firings: Sequence[Firing], strength: Strength, pad_id: int, settings: N2GSettings
) -> list[Pattern | None]:
    """Find the pattern behind each firing; None where no suffix of `max_tokens` keeps enough of the activation.

    Every text that `strength` is asked about begins with one `pad_id`: a subject's activations at its first position
    are unlike all others, and count nowhere.
    """
    suffixes = _shortest_suffixes(firings, strength, pad_id, settings)
    padded = {
        (i, position): _padded_at(firings[i].token_ids[-suffix.n_tokens :], position, pad_id)
        for i, suffix in suffixes.items()
        for position in range(suffix.n_tokens - 1)
    }
    left = dict(zip(padded, _ask(list(padded.values()), strength, pad_id), strict=True))
    found: list[Pattern | None] = [None] * len(firings)
    for i, suffix in suffixes.items():
        found[i] = _pattern(firings[i], suffix, [left[i, j] for j in range(suffix.n_tokens - 1)], settings)
    return found


@dataclass(frozen=True)
class _Suffix:
    """The last tokens of a firing that keep enough of its activation."""

    n_tokens: int
    act: float


def _shortest_suffixes(
    firings: Sequence[Firing], strength: Strength, pad_id: int, settings: N2GSettings
) -> dict[int, _Suffix]:
    """Suffix of each firing that has one, by the firing's place."""
    found: dict[int, _Suffix] = {}
    for first in range(1, settings.max_tokens + 1, settings.lengths_at_once):
        lengths = range(first, min(first + settings.lengths_at_once, settings.max_tokens + 1))
        wanted = [(i, firing) for i, firing in enumerate(firings) if i not in found]
        tries = [(i, n) for i, firing in wanted for n in lengths if n <= len(firing.token_ids)]
        acts = _ask([firings[i].token_ids[-n:] for i, n in tries], strength, pad_id)
        for (i, n), act in zip(tries, acts, strict=True):
            if i not in found and act >= settings.share * firings[i].act:
                found[i] = _Suffix(n, act)
    return found


def _ask(texts: Sequence[TokenIds], strength: Strength, pad_id: int) -> list[float]:
    """Activations at the ends of texts behind one `pad_id`; equal texts are asked about once."""
    distinct = list(dict.fromkeys(texts))
    acts = strength([(pad_id, *text) for text in distinct]) if distinct else []
    known = dict(zip(distinct, acts, strict=True))
    return [known[text] for text in texts]


def _padded_at(token_ids: TokenIds, position: int, pad_id: int) -> TokenIds:
    return (*token_ids[:position], pad_id, *token_ids[position + 1 :])


def _pattern(firing: Firing, suffix: _Suffix, left: Sequence[float], settings: N2GSettings) -> Pattern:
    """Keep the suffix's tokens that matter; left: what padding each token before the last leaves of the activation."""
    texts = firing.texts[-suffix.n_tokens :]
    matters = [act <= settings.share * suffix.act for act in left]
    tokens = [text if kept else None for text, kept in zip(texts, matters, strict=False)]
    first = matters.index(True) if True in matters else len(matters)
    return Pattern((*tokens[first:], texts[-1]), firing.act)


def _n_named(pattern: Pattern) -> int:
    return sum(token is not None for token in pattern.tokens)
