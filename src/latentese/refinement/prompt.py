"""The revision prompt: an explanation, where the unit reacts, and where the explanation is wrong, in short excerpts.

Written for small models: few lines, one kind of mark per meaning, a short answer that continues a given beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentese.explainers.prompt import ExplainPrompt, Worked
from latentese.explainers.rendering import MarkedExcerpts, plain
from latentese.records import Example
from latentese.refinement.base import Counterexample, CounterexampleKind, Evidence

FIRES = "Reacts to the words marked <<so>>:"
MISSED = "Reacts here too, which the description misses:"
SILENT = "Does not react to the words marked {{so}}, although the description covers them:"
MAX_DESCRIPTION = 300
"""Characters of a description that are shown."""

REVISION_PROMPT = ExplainPrompt(
    system=(
        "You improve short descriptions of what one neuron of a language model reacts to. You see the current "
        "description, excerpts in which the neuron reacts to the words marked <<so>>, and excerpts that show where the "
        "description is wrong. Write a better description in at most fifteen words. It must cover the words marked "
        "<<so>> and leave out the words marked {{so}}. Where it is about particular words, quote a few of them."
    ),
    worked=(
        Worked(
            f"Current description: musical instruments\n"
            f"{SILENT}\n- the {{{{trumpet}}}} was heard from the hall\n- a {{{{drum}}}} in the night\n"
            f"{FIRES}\n- he tuned the old <<violin>> before\n- a solo for <<cello>> and piano\n"
            f"{MISSED}\n- she drew the <<bow>> slowly over the strings",
            "bowed string instruments and their parts, such as 'violin', 'cello', 'bow'",
        ),
        Worked(
            f"Current description: the city of Oslo\n{FIRES}\n"
            "- trains from <<Oslo>> to the coast\n- the mayor of <<Oslo>> said\n"
            f"{MISSED}\n- flew home to <<Helsinki>> in May\n- the harbour of <<Copenhagen>> froze",
            "Nordic capital cities, such as 'Oslo', 'Helsinki', 'Copenhagen'",
        ),
        Worked(
            f"Current description: words about money\n"
            f"{SILENT}\n- he left the {{{{bank}}}} at noon\n- her {{{{salary}}}} had not changed\n"
            f"{FIRES}\n- the price rose to <<$>> 40\n- we paid <<€>> 3 for it",
            "currency signs before an amount, such as '$' and '€'",
        ),
    ),
    answer="Better description:",
)


def render_evidence(description: str, evidence: Evidence, n_originals: int, rendering: MarkedExcerpts) -> str:
    """Write the question about one unit; sections without an excerpt are left out."""
    missed = _of_kind(evidence.counterexamples, "false_negative")
    silent = _of_kind(evidence.counterexamples, "false_positive")
    sections = [
        # What it must cover comes last: a small model describes what it read last.
        (SILENT, [_expected_excerpt(item, rendering) for item in silent]),
        (FIRES, [_excerpt(example, rendering) for example in evidence.originals[:n_originals]]),
        (MISSED, [_excerpt(item.example, rendering) for item in missed]),
    ]
    lines = [f"Current description: {one_line(description)}"]
    for title, excerpts in sections:
        lines += [title, *excerpts] if excerpts else []
    return "\n".join(lines)


def _of_kind(counterexamples: Sequence[Counterexample], kind: CounterexampleKind) -> list[Counterexample]:
    return [item for item in counterexamples if item.kind == kind]


def _expected_excerpt(item: Counterexample, rendering: MarkedExcerpts) -> str:
    """Write an excerpt in which the words expected to fire are marked {{so}}."""
    expected = [value if keep else 0.0 for value, keep in zip(item.expected, item.example.context.keep, strict=True)]
    # The excerpt's own text holds no << or >>, so every one of them is a mark.
    return _excerpt(_with_acts(item.example, expected), rendering).replace("<<", "{{").replace(">>", "}}")


def _excerpt(example: Example, rendering: MarkedExcerpts) -> str:
    """Write an excerpt whose own text holds no {{ or }}, which are marks here."""
    return _without_braces(rendering.excerpt(example))


def _without_braces(text: str) -> str:
    for brace in ("{", "}"):
        while brace * 2 in text:
            text = text.replace(brace * 2, f"{brace} {brace}")
    return text


def _with_acts(example: Example, acts: Sequence[float]) -> Example:
    return replace(example, acts=tuple(acts))


def one_line(description: str) -> str:
    """Write a description on one line of bounded length that holds no marks."""
    return _without_braces(plain(" ".join(description.split())))[:MAX_DESCRIPTION]
