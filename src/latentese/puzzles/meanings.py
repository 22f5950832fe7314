r"""Meanings to plant in real text: each is said in words, and told from the text by rules.

    [[meaning]]
    name = "ending_tion"
    kind = "lexical"                          # one of the kinds of puzzles
    true = "words that end in '-tion'"
    fires = [{ on = '\b\w+tion\b', act = 7 }]   # as in puzzles

The packaged ones fit the packaged text; of another corpus, its owner knows what occurs in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentese.errors import ArtifactError, SettingError
from latentese.explainers.base import explanation_id
from latentese.puzzles.files import read_tables
from latentese.puzzles.puzzle import KINDS
from latentese.puzzles.rules import Rule
from latentese.records import Example, Explanation, Unit

PACKAGED = Path(__file__).with_name("planted")


@dataclass(frozen=True)
class Meaning:
    """What a planted direction stands for."""

    name: str
    kind: str
    true: str
    fires: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"meaning {self.name!r}: kind", self.kind, f"one of {', '.join(KINDS)}")
        if not isinstance(self.true, str) or not self.true.strip() or not self.fires:
            raise SettingError(f"meaning {self.name!r}", self.true, "a sentence, and at least one rule in `fires`")


def packaged_meanings() -> list[Path]:
    """List the files that come with the package."""
    return sorted(PACKAGED.glob("*.toml"))


def read_meanings(files: Iterable[Path]) -> list[Meaning]:
    """Read and check all meanings of some files; names differ. Raises ArtifactError naming the file."""
    meanings: dict[str, Meaning] = {}
    for file in files:
        for fields in read_tables(file, "meaning"):
            try:
                meaning = _meaning(fields)
            except (SettingError, TypeError, KeyError) as error:
                problem = str(error) if isinstance(error, SettingError) else f"meaning {fields.get('name')!r}: {error}"
                raise ArtifactError(file, problem) from error
            if meaning.name in meanings:
                raise ArtifactError(file, f"there is another meaning called {meaning.name!r}")
            meanings[meaning.name] = meaning
    return list(meanings.values())


def _meaning(fields: Mapping[str, Any]) -> Meaning:
    rules = tuple(Rule(**rule) for rule in fields["fires"])
    return Meaning(**{**fields, "fires": rules})


@dataclass(frozen=True)
class TrueSentences:
    """An explainer that knows the answer: what a unit's planted meaning is in words."""

    sentences: Mapping[int, str]
    """Of each unit; a unit that is none of these has no known meaning."""
    name: str = "planted"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        """Say the sentence; it is made from no example."""
        text = self.sentences.get(unit.unit)
        return Explanation(
            explanation=explanation_id(unit.unit, self.name, 0),
            unit=unit.unit,
            explainer=self.name,
            revision=0,
            text=text,
            model="none",
            prompt_sha256="",
            examples=(),
            error=None if text else "nothing known was planted in this unit",
        )


@dataclass(frozen=True)
class Recovered:
    """What a dictionary made of a planted direction."""

    unit: int
    """The nearest latent."""
    cosine: float
    found: bool
    """Whether it is near enough, and has no nearer direction than this one."""
