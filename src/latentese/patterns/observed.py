"""What patterns are worth on text: the mean activation where each ends, silence included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.records import Example

Tokens = tuple[str | None, ...]


def observed_acts(trie: PatternTrie, examples: Iterable[Example], n_prior: float) -> PatternTrie:
    """Expect of each pattern what the unit did where it decided, on the counted positions of examples.

        expected(pattern) = sum(acts where the trie chooses it) / (number of those places + n_prior)

    The activation of the firing that a pattern was found in says nothing of the places where the same tokens stand and
    the unit is silent. Patterns that never decide are left out. Strongest first, equal ones ordered by their text.
    """
    total: defaultdict[Tokens, float] = defaultdict(float)
    count: defaultdict[Tokens, int] = defaultdict(int)
    for example in examples:
        for position, (keep, act) in enumerate(zip(example.context.keep, example.acts, strict=True)):
            chosen = trie.match(example.context.tokens, position) if keep else None
            if chosen is not None:
                total[chosen.tokens] += act
                count[chosen.tokens] += 1
    observed = [
        Pattern(tokens, total[tokens] / (count[tokens] + n_prior), count[tokens])
        for tokens in count
        if total[tokens] > 0
    ]
    return PatternTrie(tuple(sorted(observed, key=lambda pattern: (-pattern.act, pattern.text))))
