"""What nested patterns are worth on text: each leans on the longest pattern that it lengthens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.records import Example

Tokens = tuple[str | None, ...]


def backed_off_acts(patterns: Collection[Tokens], examples: Iterable[Example], n_prior: float) -> PatternTrie:
    """Expect of each pattern the unit's mean activation where it ends, drawn towards what it lengthens.

        expected(p) = (sum(acts where p ends) + n_prior * expected(base(p))) / (number of those places + n_prior)

    base(p) is the longest pattern that p ends in, and 0 where there is none. Only counted positions of examples count.
    A place counts for every pattern that ends there: a pattern goes on saying what the unit does behind tokens that
    were never seen, however many longer ones decide in the places that were. Left out is what would change no
    expectation: a pattern that never ends in the examples, and one that expects 0 and lengthens none.
    """
    total: defaultdict[Tokens, float] = defaultdict(float)
    count: defaultdict[Tokens, int] = defaultdict(int)
    trie = PatternTrie(tuple(Pattern(tokens, 0.0) for tokens in dict.fromkeys(patterns)))
    for example in examples:
        for position, (keep, act) in enumerate(zip(example.context.keep, example.acts, strict=True)):
            for pattern in trie.ending(example.context.tokens, position) if keep else ():
                total[pattern.tokens] += act
                count[pattern.tokens] += 1
    expected: dict[Tokens, float] = {}
    for tokens in sorted(count, key=len):
        leans_on = base_of(tokens, expected)
        if total[tokens] > 0 or leans_on is not None:
            prior = n_prior * (0.0 if leans_on is None else expected[leans_on])
            expected[tokens] = (total[tokens] + prior) / (count[tokens] + n_prior)
    found = [Pattern(tokens, act, count[tokens]) for tokens, act in expected.items()]
    return PatternTrie(tuple(sorted(found, key=lambda pattern: (-pattern.act, pattern.text))))


def base_of(tokens: Tokens, patterns: Mapping[Tokens, float]) -> Tokens | None:
    """Find the longest of the patterns that these tokens end in; None where there is none."""
    ends = (tokens[first:] for first in range(1, len(tokens)))
    return next((end for end in ends if end in patterns), None)


def lengthened(tokens: Tokens, texts: tuple[str, ...], position: int) -> Tokens | None:
    """Put before a pattern that ends at a position of a text what stands there; None where nothing does."""
    before = position - len(tokens)
    return (texts[before], *tokens) if before >= 0 and texts[before] else None
