"""Running a stage's questions from wherever the stage is called: a program, or a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return what it returns.

    Where an event loop is running already, as in a notebook, it runs in a thread of its own; an interruption of the
    caller cancels it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return _run_in_thread(coroutine)


def _run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    started: Future[asyncio.AbstractEventLoop] = Future()

    def run() -> T:
        with asyncio.Runner() as runner:
            started.set_result(runner.get_loop())
            return runner.run(coroutine)

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run)
        loop = started.result()
        try:
            return ended.result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(_cancel_all, loop)
            raise


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
