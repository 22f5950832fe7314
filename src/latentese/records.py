"""What the rooms hand to each other: frozen records, in the field's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Split = Literal["train", "explain", "calibrate", "select", "test"]
SPLITS: tuple[Split, ...] = ("train", "explain", "calibrate", "select", "test")

Kind = Literal["top", "quantile", "random", "near_miss"]
KINDS: tuple[Kind, ...] = ("top", "quantile", "random", "near_miss")


@dataclass(frozen=True)
class Context:
    """A window of one document: what the subject reads at once."""

    context: int
    """Row in the contexts artifact."""
    tokens: tuple[str, ...]
    """Text of each token; joined, they are the window's text. Padding tokens are ''."""
    keep: tuple[bool, ...]
    """Which positions count: not position 0, not padding."""
    document: int
    source: str
    split: Split

    @property
    def text(self) -> str:
        """The window's text."""
        return "".join(self.tokens)


@dataclass(frozen=True)
class Unit:
    """What is explained: an SAE latent or an MLP neuron, with its statistics on `explain` documents."""

    unit: int
    density: float
    """Share of counted tokens on which the unit fires."""
    max_act: float
    mean_act: float
    """Mean activation over the tokens on which it fires."""
    threshold: float
    """The unit fires above this: 0 for a latent, a fixed quantile for a signed unit."""


@dataclass(frozen=True)
class Example:
    """One context with one unit's activations."""

    unit: int
    context: Context
    kind: Kind
    acts: tuple[float, ...]
    """One activation per token, 0 where the unit does not fire."""

    @property
    def max_act(self) -> float:
        """The unit's largest activation in this context."""
        return max(self.acts, default=0.0)


@dataclass(frozen=True)
class Usage:
    """What an answer of a language model cost, in its own tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add up what two answers cost."""
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True)
class Candidate:
    """One of several explanations of a unit that were drawn, of which the best was kept."""

    text: str | None
    value: float | None
    """How well it did on held-out `explain` examples; None where that is not defined, or there is no text."""
    error: str | None = None


@dataclass(frozen=True)
class Explanation:
    """What a unit responds to, in words, and where the words come from."""

    explanation: str
    """Identity: `{unit}.{explainer}.{revision}`."""
    unit: int
    explainer: str
    """Name of the explainer in the configuration, or of the refinement arm that wrote it."""
    revision: int
    """0 for a first explanation; a revision's parent is named in `parent`."""
    text: str | None
    """None when the language model gave no usable answer: see `error`."""
    model: str
    prompt_sha256: str
    examples: tuple[int, ...]
    """Contexts shown to the explainer."""
    table: tuple[tuple[str, float], ...] = ()
    """For a token table: token text and its mean activation; simulators of tables read this."""
    patterns: tuple[tuple[tuple[str | None, ...], float], ...] = ()
    """For N2G: token texts that end in the one on which the unit fires, None for any one token; and the activation.

    Beside a table: its conditions, where they decide in its place."""
    candidates: tuple[Candidate, ...] = ()
    """What was drawn, this one included, in the order of sample numbers."""
    chosen_on: tuple[int, ...] = ()
    """Contexts of `explain` documents on which this one did best: of none of them was the document shown."""
    parent: str | None = None
    error: str | None = None
    usage: Usage = Usage()

    @property
    def is_in_words(self) -> bool:
        """Whether there is a text that says something."""
        return bool(self.text and self.text.strip())


@dataclass(frozen=True)
class Simulation:
    """What a simulator expects of a unit in one context, from its explanation alone."""

    context: int
    expected: tuple[float, ...] | None
    """One expected activation per token, on the simulator's own scale; None when it failed."""
    error: str | None = None
    usage: Usage = field(default=Usage(), compare=False)
    """Of the language model, kept answers too, and those that could not be used; nothing where none came."""


@dataclass(frozen=True)
class Judgement:
    """One context judged: truth beside simulation."""

    context: int
    true_acts: tuple[float, ...]
    """Activations at the counted positions only."""
    expected_acts: tuple[float, ...] | None
    error: str | None = None
    usage: Usage = Usage()


@dataclass(frozen=True)
class Verdict:
    """One yes-or-no question about one context, answered from an explanation: truth beside the answer."""

    context: int
    truth: bool
    answer: float | None
    """How far it is a yes, on the scorer's own scale: a probability, a similarity; None when there is no answer."""
    error: str | None = None
