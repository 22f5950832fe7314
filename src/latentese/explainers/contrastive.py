"""Show beside the firing examples near misses: contexts that look alike, and in which the unit stays silent.

    TokenActivationExplainer(chat, "contrastive", ContrastedExcerpts(), ContrastChoice())

asks what the first have that the second lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from latentese.errors import SettingError
from latentese.explainers.prompt import ExplainPrompt
from latentese.explainers.rendering import MarkedExcerpts, Window, plain
from latentese.explainers.selection import ExampleChoice
from latentese.explainers.worked_contrast import CONTRAST_PROMPT
from latentese.patterns.characters import shown_acts
from latentese.records import Context, Example

ALIKE_SHARE = 0.4
"""A token is one of the unit's from this share of its example's largest activation."""


@dataclass(frozen=True)
class ContrastChoice:
    """Firing examples as ever, and behind them silent ones that look most like them.

    A silent context looks alike where it holds a token on which the unit fires elsewhere: those come first, near misses
    before random contexts. Then come other near misses, by their pre-activation as sampled; random contexts in which
    nothing looks alike are not shown.
    """

    firing: ExampleChoice = field(default_factory=ExampleChoice)
    n_silent: int = 4

    def __post_init__(self) -> None:
        if self.n_silent < 1:
            raise SettingError("choice.n_silent", self.n_silent, "at least 1; without any, use token_activation")

    def of(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Choose among a unit's examples; silent ones only beside firing ones."""
        firing = self.firing.of(examples)
        if not firing:
            return ()
        documents = {example.context.document for example in firing}
        own = own_tokens(firing)
        silent = [e for e in examples if e.kind in ("near_miss", "random") and e.max_act <= 0]
        # A silent part of a shown document may be about the same things: another document is a fairer contrast.
        others = [e for e in silent if e.context.document not in documents]
        alike = [example for example in others if find_alike(example.context, own) is not None]
        alike.sort(key=lambda example: example.kind == "random")
        rest = [example for example in others if example.kind == "near_miss" and example not in alike]
        return (*firing, *(alike + rest)[: self.n_silent])


@dataclass(frozen=True)
class ContrastedExcerpts:
    """Excerpts with marks under `Fires:`, excerpts without any under `Silent:`, then what is marked, counted.

    Of a silent context the part around its token most like the unit's is shown, or its beginning.
    """

    prompt: ExplainPrompt = CONTRAST_PROMPT
    firing: MarkedExcerpts = field(default_factory=MarkedExcerpts)
    """How firing examples are written; its own prompt is not used."""

    def render(self, examples: Sequence[Example]) -> str:
        """Write firing examples, then silent ones where there are any."""
        fired = [example for example in examples if example.max_act > 0]
        silent = [example for example in examples if example.max_act <= 0]
        *excerpts, marked = self.firing.render(fired).split("\n")
        own = own_tokens(fired)
        lines = ["Fires:", *excerpts]
        if silent:
            lines += ["Silent:", *(self._excerpt(example.context, own) for example in silent)]
        return "\n".join([*lines, marked])

    def _excerpt(self, context: Context, own: Counter[str]) -> str:
        window = self.firing.window
        found = find_alike(context, own)
        kept = _around(window, window.n_before if found is None else found, len(context.tokens))
        return f"- {plain(''.join(context.tokens[position] for position in kept)).strip()}"


def own_tokens(firing: Sequence[Example]) -> Counter[str]:
    """Count the texts of the tokens on which the unit fires strongly, bare of spaces and case."""
    return Counter(text for example in firing for text in _strong_texts(example) if text)


def _strong_texts(example: Example) -> list[str]:
    acts = shown_acts(example)
    least = ALIKE_SHARE * max(acts.values(), default=0.0)
    return [bare(example.context.tokens[position]) for position, act in acts.items() if act > 0 and act >= least]


def find_alike(context: Context, own: Counter[str]) -> int | None:
    """Position of the token that is most often one of the unit's elsewhere, the first of equals; None without any."""
    counts = [own[bare(token)] if keep else 0 for token, keep in zip(context.tokens, context.keep, strict=True)]
    most = max(counts, default=0)
    return counts.index(most) if most > 0 else None


def bare(token: str) -> str:
    """Take the spaces around a token off, and its capitals."""
    return token.strip().lower()


def _around(window: Window, position: int, n_tokens: int) -> range:
    return range(max(0, position - window.n_before), min(n_tokens, position + window.n_after + 1))
