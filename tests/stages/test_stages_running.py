"""Stages run their questions from a program and from a notebook alike."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from scored_study import write_study
from toy_units import WordListSimulator

from latentese.errors import AnswerError
from latentese.stages import running
from latentese.stages.running import run_async
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise AnswerError("negative")
    return 2 * number


def in_a_notebook(number: int) -> int:
    async def cell() -> int:
        return run_async(double(number))

    return asyncio.run(cell())


@pytest.mark.parametrize("call", [lambda number: run_async(double(number)), in_a_notebook])
def test_what_a_coroutine_returns_or_raises(call) -> None:  # type: ignore[no-untyped-def]
    assert call(21) == 42
    with pytest.raises(AnswerError, match="negative"):
        call(-1)


def test_an_interruption_cancels_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(threading.current_thread().name)

    class Interrupted(running.ThreadPoolExecutor):
        """Its results are waited for until the user presses Ctrl-C."""

        def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            future = super().submit(*args, **kwargs)

            def interrupted() -> None:
                time.sleep(0.05)
                raise KeyboardInterrupt

            monkeypatch.setattr(future, "result", interrupted)
            return future

    async def cell() -> None:
        run_async(endless())

    monkeypatch.setattr(running, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    assert ended != [threading.current_thread().name]
    assert len(ended) == 1


def test_a_stage_gives_the_same_bytes_in_a_notebook(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")

    def run(out: str) -> dict[str, bytes]:
        folders = (study.contexts, study.examples, study.explanations)
        made = score(*folders, {"words": WordListSimulator()}, ScoreSettings(n_boot=20), tmp_path / out)
        return {file.name: file.read_bytes() for file in sorted(made.iterdir())}

    async def cell() -> dict[str, bytes]:
        return run("notebook")

    assert asyncio.run(cell()) == run("program")
