"""Puzzles small enough to work out by hand, and judges that are scripted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentese.puzzles.files import read_puzzles
from latentese.puzzles.puzzle import Puzzle
from latentese.records import Context, Explanation, Simulation

FIRING = ("a red cat", "the red hen", "my red hat", "no red ink", "big red bus", "old red car")
SILENT = ("a tall cat", "the blue hen", "my green hat", "no ink here")

TOY = """\
[[puzzle]]
name = "red"
kind = "lexical"
true = "red"
false = ["blue", "cat", "nothing"]
fires = [{{ on = '\\bred\\b', act = 4 }}]
texts = {texts}
"""


def write_toy(folder: Path, *replaced: tuple[str, str], texts: Sequence[str] = FIRING + SILENT) -> Path:
    """Write a file with the toy puzzle, some of its text replaced."""
    text = TOY.format(texts=list(texts))
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "toy.toml"
    file.write_text(text, encoding="utf-8")
    return file


def toy_puzzle(folder: Path) -> Puzzle:
    (puzzle,) = read_puzzles([write_toy(folder)])
    return puzzle


@dataclass
class ScriptedSimulator:
    """Expects what is told for a word on every token that is this word, of the words an explanation holds."""

    acts: Mapping[str, float]
    name: str = "scripted"
    mute: str = "no such text"
    """It has no answer to contexts that hold this."""

    def reads(self, explanation: Explanation) -> bool:
        return explanation.text is not None

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        return [self._simulate(explanation.text or "", context) for context in contexts]

    def _simulate(self, text: str, context: Context) -> Simulation:
        if self.mute in context.text:
            return Simulation(context.context, None, "mute")
        words = set(text.split())
        expected = (self.acts.get(word, 1.0) if (word := token.strip()) in words else 0.0 for token in context.tokens)
        return Simulation(context.context, tuple(expected))
