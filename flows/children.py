"""Child processes of the flow, and their end.

In a module of its own, because Prefect loads a flow's file twice when it is deployed: there must be one registry.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()
_ended = threading.Event()


def run_child(
    command: Sequence[str], on_line: Callable[[str], None], env: Mapping[str, str], folder: Path | None = None
) -> int:
    """Run a command in a session of its own, hand on each finished line, and return its exit code.

    `folder` is where it runs; here, if it is None.

    Where a person watches a terminal, the child gets one too, so it shows progress bars. What a bar writes over and
    over goes straight to the terminal; its last state alone is handed on.
    """
    watched = sys.stderr.isatty()
    with _lock:
        if _ended.is_set():  # a task that waited in its runner when the flow was stopped
            return -signal.SIGTERM
        ours, theirs = pty.openpty() if watched else os.pipe()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
        )
        _running.add(child)
    os.close(theirs)
    try:
        _forward(ours, on_line, watched)
        return child.wait()
    finally:
        _kill(child)
        os.close(ours)
        with _lock:
            _running.discard(child)


@contextmanager
def ending_children() -> Iterator[None]:
    """End every running child with all its own children when the block ends by an error, Ctrl-C or a signal.

    None is started afterwards, until another such block begins. Goes inside a task runner's block: the runner waits for
    its tasks, and those for their children.
    """
    _ended.clear()
    try:
        yield
    except BaseException:
        _ended.set()
        _kill_all()
        raise


def _kill_all() -> None:
    with _lock:
        children = list(_running)
    for child in children:
        _kill(child)


def _forward(source: int, on_line: Callable[[str], None], watched: bool) -> None:
    pending = b""
    while chunk := _read(source):
        *parts, pending = (pending + chunk).replace(b"\r\n", b"\n").split(b"\n")
        for part in parts:
            on_line(_last_state(part))
        if watched and b"\r" in pending:
            sys.stderr.write("\r\x1b[K" + _last_state(pending))
            sys.stderr.flush()
        if watched and parts:
            sys.stderr.write("\r\x1b[K")
    if pending.strip():
        on_line(_last_state(pending))


def _read(source: int) -> bytes:
    try:
        return os.read(source, 1 << 16)
    except OSError:  # how a terminal says that its other side is closed
        return b""


def _last_state(part: bytes) -> str:
    """Give the text that a terminal would show of a line rewritten with carriage returns, without its colours."""
    states = [ANSI.sub("", state).rstrip() for state in part.decode("utf-8", "replace").split("\r")]
    return next((state for state in reversed(states) if state), "")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """DVC does not pass a signal on to its stage, so the whole session is signalled."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
