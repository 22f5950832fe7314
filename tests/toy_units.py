"""Small units with a known explanation, as records: what simulators, scorers and refinement are tried on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from latentese.records import Context, Example, Explanation, Kind, Simulation, Split


def make_context(number: int, text: str, split: Split = "test", document: int | None = None) -> Context:
    """One token per word, the space in front; position 0 does not count."""
    first, *rest = text.split(" ")
    tokens = (first, *(f" {word}" for word in rest))
    keep = (False,) + (True,) * len(rest)
    return Context(number, tokens, keep, number if document is None else document, "toy", split)


def make_example(
    context: Context, fires_on: Collection[str], kind: Kind = "top", act: float = 4.0, unit: int = 1
) -> Example:
    """The unit fires on these words."""
    acts = tuple(
        act if keep and token.strip(" .,") in fires_on else 0.0
        for token, keep in zip(context.tokens, context.keep, strict=True)
    )
    return Example(unit, context, kind, acts)


def make_explanation(text: str | None, unit: int = 1, explainer: str = "reader", **other: object) -> Explanation:
    """A first explanation."""
    fields = {"model": "m", "prompt_sha256": "", "examples": ()} | other
    return Explanation(f"{unit}.{explainer}.0", unit, explainer, 0, text, **fields)  # type: ignore[arg-type]


class WordListSimulator:
    """Expects 1 on the words that the explanation names, and 0 elsewhere."""

    name = "words"

    def reads(self, explanation: Explanation) -> bool:
        return explanation.text is not None

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        words = set((explanation.text or "").split())
        return [
            Simulation(context.context, tuple(float(token.strip(" .,") in words) for token in context.tokens))
            for context in contexts
        ]
