"""The numbers of a toy study: a small corpus, and planted units that fire on the words of their concepts.

Some concepts are hostile on purpose: mark-up, template syntax, control characters, a string without a break.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

CTX_LEN = 28
N_CONTEXTS = {"train": 8, "explain": 40, "calibrate": 6, "select": 16, "test": 40}
HOSTILE_HTML = "</script><img src=x onerror=alert(1)>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 9
EDGES = [2.0 ** (half / 2) for half in range(-20, 21)]
N_BINS = len(EDGES) - 1


@dataclass(frozen=True)
class Concept:
    """What a planted unit fires on, and what explainers say of it."""

    words: tuple[str, ...]
    first: str | None
    revised: str | None = None
    accepted: bool = False
    skill: float = 0.9
    """Share of the simulation that follows the truth; the rest is noise."""


CONCEPTS = (
    Concept(("river", "rivers", "stream", "delta", "estuary"), "rivers and other running water", skill=0.95),
    Concept(("March", "April", "October"), "dates", "names of months, in any sentence that dates an event", True, 0.45),
    Concept(("France", "Spain", "Brazil", "Austria"), "names of countries", skill=0.88),
    Concept(("court", "judge", "verdict", "appeal"), "legal proceedings and the people who decide them", skill=0.8),
    Concept(("def", "return", "import"), "Python keywords", "keywords that open a line of Python code", False, 0.5),
    Concept((HOSTILE_HTML, "<b>bold</b>"), f"markup such as {HOSTILE_HTML}", skill=0.7),
    Concept(("{{7*7}}", "{%raw%}", "${jndi}"), "templates: {{ 7*7 }} and {% include 'x' %}", skill=0),
    Concept(
        ("שלום", "a\u200bb", "\u202egpj.exe"), "text that runs \u202ebackwards\u202c, or hides\u200b\u2028", skill=0.75
    ),
    Concept((LONG,), f"one word without end, {LONG}", skill=0.85),
    Concept(("perhaps", "maybe"), None),
    Concept(("\n", "\x00", "\t"), "line ends,\nnull bytes\x00and tabs", "line breaks", True, 0.3),
    Concept(("minister", "parliament"), "politics", "members of parliament addressing the chair", False, 0.15),
)
TEMPLATES = (
    "The {} near the old town was mentioned in {} of that year, and the {} followed.",
    "Members said that {} would change how the {} works; nobody asked about {}.",
    "In the north, {} and {} are common, while {} is rare.",
    "After the vote on {}, a second {} was held under the new {}.",
    "We found {} in the notes: it stands beside {} and below {}.",
)
UNITS = {"latents": (3, 17, 45, 204, 377, 512, 608, 777, 901, 1203, 1571, 2040), "neurons": tuple(range(5, 1500, 125))}


@dataclass(frozen=True)
class ToyContext:
    """One window of the toy corpus."""

    context: int
    document: int
    source: str
    split: str
    tokens: list[str]

    @property
    def keep(self) -> list[bool]:
        """Position 0 and padding count nowhere."""
        return [position > 0 and token != "" for position, token in enumerate(self.tokens)]


def toy_contexts() -> list[ToyContext]:
    """Three planted words per context, two contexts per document."""
    contexts: list[ToyContext] = []
    for split, n_contexts in N_CONTEXTS.items():
        for i in range(n_contexts):
            words = [_word(i + slot * 5, i + i // 12 + slot) for slot in range(3)]
            text = TEMPLATES[i % len(TEMPLATES)].format(*words)
            tokens = _tokens(text)[:CTX_LEN]
            tokens += [""] * (CTX_LEN - len(tokens))
            source = ("encyclopedia", "speeches", "code")[i % 3]
            contexts.append(ToyContext(len(contexts), len(contexts) // 2, source, split, tokens))
    return contexts


def _word(concept: int, turn: int) -> str:
    """One word of a concept, each in its turn."""
    words = CONCEPTS[concept % len(CONCEPTS)].words
    return words[turn % len(words)]


def _tokens(text: str) -> list[str]:
    """Cut at the planted words, and elsewhere before spaces and punctuation, as byte-pair tokenizers do."""
    planted = sorted({word for concept in CONCEPTS for word in concept.words}, key=len, reverse=True)
    pattern = "|".join(f" ?{re.escape(word)}" for word in planted)
    return [piece for piece in re.findall(rf"{pattern}| ?\w+|[^\w\s]|\s", text) if piece]


class PlantedTarget:
    """Numbers of one target: activations, simulations and scores of its planted units."""

    def __init__(self, name: str, contexts: list[ToyContext]) -> None:
        self.name = name
        self.contexts = contexts
        self.units = UNITS[name]
        self.threshold = 0.4 if name == "neurons" else 0.0
        self.rng = np.random.default_rng(len(name))

    def concept(self, unit: int) -> Concept:
        return CONCEPTS[self.units.index(unit)]

    def acts(self, unit: int, context: ToyContext) -> list[float]:
        words = self.concept(unit).words
        scale = 1.0 + self.units.index(unit) / 5
        strength = [scale * (1.0 + (context.context * 7 + position * 3) % 10 / 10) for position in range(CTX_LEN)]
        fires = [
            token.removeprefix(" ") in words and keep for token, keep in zip(context.tokens, context.keep, strict=True)
        ]
        return [act if on else 0.0 for act, on in zip(strength, fires, strict=True)]

    def expected(self, unit: int, context: ToyContext, skill: float) -> list[float]:
        if self.concept(unit).skill == 0:
            return [0.0] * CTX_LEN  # a simulator that sees nothing: the score is not defined
        truth = np.array(self.acts(unit, context))
        peak = truth.max() or 1.0
        noise = self.rng.random(CTX_LEN) ** 6
        return [float(value) for value in np.round(skill * truth / peak + (1 - skill) * noise, 4)]

    def of_split(self, split: str) -> list[ToyContext]:
        return [context for context in self.contexts if context.split == split]

    def examples(self, unit: int, split: str) -> list[tuple[ToyContext, str]]:
        ranked = sorted(self.of_split(split), key=lambda context: -max(self.acts(unit, context)))
        active = [context for context in ranked if max(self.acts(unit, context)) > 0]
        silent = [context for context in ranked if context not in active]
        kinds = [(context, "top") for context in active[:5]] + [(context, "quantile") for context in active[5:8]]
        return kinds + [(context, "random") for context in silent[:3]] + [(c, "near_miss") for c in silent[3:5]]
