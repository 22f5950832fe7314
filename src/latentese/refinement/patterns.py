"""Refinement without a language model: token tables and N2G patterns, put right by their counterexamples.

    false positive    the pattern that expected most is lengthened by the token before it: behind that token the unit
                      is expected to do what it did
    false negative    where nothing expects the firing, it becomes a branch of its own; where a pattern expects too
                      little, that pattern is lengthened

Then everything is fitted again to all that was shown (`patterns.backed_off`). The control with random contexts in
the place of counterexamples is `controls.RandomExamples`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from latentese.explainers.base import explanation_id
from latentese.explainers.n2g import N2GExplainer, as_data, say_patterns
from latentese.patterns.backed_off import Tokens, backed_off_acts, base_of, lengthened
from latentese.patterns.characters import on_first_tokens
from latentese.patterns.n2g import Pattern, PatternTrie
from latentese.patterns.token_table import TableSettings, build_table
from latentese.reading.base import Reader
from latentese.records import Example, Explanation, Unit
from latentese.refinement.base import Counterexample, Evidence, Shown, contexts_of

N_NAMED = 10
"""Patterns named in the text of an explanation, and conditions."""


@dataclass(frozen=True)
class TableRevision:
    """Revises a token table: entries anew from all that was shown, and conditions on the tokens before."""

    name: str = "revision"
    table: TableSettings = field(default_factory=TableSettings)

    def shows(self, evidence: Evidence) -> Shown:
        """Name the counterexamples of both kinds."""
        return _counterexamples_shown(evidence)

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent`: its conditions stay, and each counterexample may add one."""
        # A table has no entry for the rest of a split character: what the unit does there, it does on the first token.
        examples = [on_first_tokens(example) for example in _all_shown(evidence)]
        found = [replace(item, example=on_first_tokens(item.example)) for item in evidence.counterexamples]
        entries: list[Tokens] = [(token,) for token, _ in build_table(examples, self.table).entries]
        old: list[Tokens] = [tokens for tokens, _ in parent.patterns]
        known = [*((token,) for token, _ in parent.table), *old]
        wanted = with_conditions([*entries, *old], known, found)
        trie = backed_off_acts(wanted, examples, self.table.n_prior)
        single = [pattern for pattern in trie.patterns if len(pattern.tokens) == 1]
        longer = PatternTrie(tuple(pattern for pattern in trie.patterns if len(pattern.tokens) > 1))
        named = ", ".join(repr(pattern.tokens[0]) for pattern in single[:N_NAMED])
        return replace(
            _child(unit, parent, evidence, self.name, revision),
            text=f"tokens: {named}{_say_conditions(trie)}" if single else None,
            table=tuple((pattern.tokens[0] or "", pattern.act) for pattern in single),
            patterns=as_data(longer),
            error=None if single else "no token on which the unit fires",
        )


@dataclass(frozen=True)
class PatternRevision:
    """Revises N2G patterns; a firing that no pattern expects is shortened and padded as `explainer` does it."""

    explainer: N2GExplainer
    name: str = "revision"

    def with_reader(self, reader: Reader) -> Self:
        """Give the same arm with a reader."""
        return replace(self, explainer=self.explainer.with_reader(reader))

    def shows(self, evidence: Evidence) -> Shown:
        """Name the counterexamples of both kinds."""
        return _counterexamples_shown(evidence)

    async def propose(self, unit: Unit, parent: Explanation, evidence: Evidence, revision: int) -> Explanation:
        """Revise `parent`: its patterns stay, longer ones and branches join them."""
        known: list[Tokens] = [tokens for tokens, _ in parent.patterns]
        branches = self._branches(unit, evidence.counterexamples)
        wanted = with_conditions([*known, *branches], known, evidence.counterexamples)
        trie = backed_off_acts(wanted, _all_shown(evidence), self.explainer.n_prior)
        text = say_patterns(trie, N_NAMED)
        return replace(
            _child(unit, parent, evidence, self.name, revision),
            text=f"{text}{_say_conditions(trie)}" if text else None,
            patterns=as_data(trie),
            error=None if text else "no pattern on which the unit fires",
        )

    def _branches(self, unit: Unit, found: Iterable[Counterexample]) -> list[Tokens]:
        """Find the patterns behind the strongest firing of each false negative."""
        missed = [item.example for item in found if item.kind == "false_negative"]
        if not missed:
            return []
        explainer = replace(self.explainer, n_firings=len(missed))
        return [pattern.tokens for pattern in explainer.find(unit, explainer.firings(missed)).patterns]


def with_conditions(
    patterns: Sequence[Tokens], known: Sequence[Tokens], found: Sequence[Counterexample]
) -> list[Tokens]:
    """Add conditions to patterns; a firing at which one decides that is not among the `known` needs none."""
    trie, old = _trie(patterns), set(known)
    deciding = [trie.match(item.example.context.tokens, _place(item)) for item in found]
    unexplained = [
        item
        for item, pattern in zip(found, deciding, strict=True)
        if item.kind == "false_positive" or pattern is None or pattern.tokens in old
    ]
    return [*patterns, *conditions(patterns, unexplained)]


def conditions(patterns: Iterable[Tokens], counterexamples: Iterable[Counterexample]) -> list[Tokens]:
    """Lengthen, for each counterexample, the pattern that decides where it matters most, or begin one there.

    That is where a false positive is expected to fire most, and where a false negative fires most.
    """
    known = list(patterns)
    found: list[Tokens] = []
    for item in counterexamples:
        # Of what this round found already, the longest may be the one to lengthen.
        trie = _trie([*known, *found])
        texts, position = item.example.context.tokens, _place(item)
        pattern = trie.match(texts, position)
        if pattern is not None:
            longer = lengthened(pattern.tokens, texts, position)
            found += [] if longer is None else [longer]
        elif item.kind == "false_negative":
            found.append((texts[position],))
    return list(dict.fromkeys(found))


def _place(item: Counterexample) -> int:
    """Position at which the unit does most, or, where it is silent, is expected to do most."""
    values = item.example.acts if item.kind == "false_negative" else item.expected
    return int(np.argmax(np.where(item.example.context.keep, values, -np.inf)))


def _trie(patterns: Iterable[Tokens]) -> PatternTrie:
    return PatternTrie(tuple(Pattern(tokens, 0.0) for tokens in dict.fromkeys(patterns)))


def _counterexamples_shown(evidence: Evidence) -> Shown:
    found = evidence.counterexamples
    return Shown(contexts_of(found, "false_positive"), contexts_of(found, "false_negative"))


def _all_shown(evidence: Evidence) -> list[Example]:
    return [*evidence.originals, *evidence.earlier, *(item.example for item in evidence.counterexamples)]


def _say_conditions(trie: PatternTrie) -> str:
    """Name the longer patterns that expect least of what they lengthen, and how much."""
    acts = {pattern.tokens: pattern.act for pattern in trie.patterns}
    bases = [(pattern, base_of(pattern.tokens, acts)) for pattern in trie.patterns]
    less = [(pattern, acts[base] - pattern.act) for pattern, base in bases if base is not None]
    less = sorted((pair for pair in less if pair[1] > 0), key=lambda pair: (-pair[1], pair[0].text))
    named = "; ".join(f"{pattern.text} ({pattern.act:.2g})" for pattern, _ in less[:N_NAMED])
    return f"; less at: {named}" if named else ""


def _child(unit: Unit, parent: Explanation, evidence: Evidence, name: str, revision: int) -> Explanation:
    """Begin an explanation: all but its content."""
    return Explanation(
        explanation=explanation_id(unit.unit, name, revision),
        unit=unit.unit,
        explainer=name,
        revision=revision,
        text=None,
        model="none",
        prompt_sha256="",
        examples=tuple(example.context.context for example in _all_shown(evidence)),
        parent=parent.explanation,
    )
