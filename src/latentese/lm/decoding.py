"""Answers being written side by side in a fixed number of rows; a row that becomes free takes the next request."""

from __future__ import annotations

from latentese.lm.chat_format import Prompt
from latentese.lm.engine import Engine, Rows
from latentese.lm.sampling import Answer


class Decoder:
    """Up to `n_rows` answers that, with their prompts, fit into `n_slots`."""

    def __init__(self, engine: Engine, n_rows: int, n_slots: int) -> None:
        self._engine = engine
        self._rows = Rows(engine.prefix(), n_rows, n_slots)
        self._answers: list[Answer | None] = [None] * n_rows

    @property
    def has_room(self) -> bool:
        """Whether another answer can begin."""
        return None in self._answers

    @property
    def is_idle(self) -> bool:
        """Whether no answer is being written."""
        return not any(self._answers)

    def begin(self, prompt: Prompt, answer: Answer) -> None:
        """Read a prompt and choose the answer's first token; the answer takes a row unless that ended it."""
        prefix = self._engine.prefix(prompt.shared, prompt.begins)
        read = self._engine.read(prefix, prompt.own)
        answer.append(self._engine.logits(read.hidden[-1:])[0])
        if not answer.has_ended:
            row = self._answers.index(None)
            self._rows.place(row, prefix, read.kv)
            self._answers[row] = answer

    def step(self) -> list[Answer]:
        """Write one token of every answer; returns those that ended."""
        logits = self._engine.decode_step(self._rows, [answer.ids[-1] if answer else 0 for answer in self._answers])
        ended = []
        for row, answer in enumerate(self._answers):
            if answer is None:
                continue
            answer.append(logits[row])
            if answer.has_ended:
                ended.append(answer)
                self._rows.free(row)
                self._answers[row] = None
        return ended
