"""Children are forwarded line by line, a progress bar as its last state, and none outlives a cancelled flow."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.children import ending_children, run_child

PATIENCE_SECONDS = 600


def python(code: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    return run_child([sys.executable, "-c", code], lines.append, os.environ), lines


def test_lines_and_exit_code_are_handed_on() -> None:
    code, lines = python("import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)")
    assert (code, sorted(lines)) == (3, ["one", "two"])


def test_progress_bar_is_its_last_state() -> None:
    _, lines = python(r"import sys; sys.stderr.write('\r 1%\r 50%\r100% done\nafter\n')")
    assert lines == ["100% done", "after"]


def test_last_line_without_an_end_is_not_lost() -> None:
    _, lines = python("import sys; sys.stdout.write('no newline')")
    assert lines == ["no newline"]


def test_colours_are_removed() -> None:
    _, lines = python(r"print('\x1b[31mred\x1b[0m')")
    assert lines == ["red"]


def test_an_interruption_ends_children_before_their_pool_is_waited_for_and_starts_no_more(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    inner = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(max_workers=1) as pool, ending_children():
        ended, waiting = pool.submit(python, outer), pool.submit(python, "print('started')")
        wait_until(lambda: pid_file.is_file() and pid_file.read_text() != "")
        raise KeyboardInterrupt
    code, _ = ended.result()
    assert code == -signal.SIGTERM
    assert waiting.result() == (-signal.SIGTERM, [])
    wait_until(lambda: not is_running(int(pid_file.read_text())))

    with ending_children():
        assert python("print('again')") == (0, ["again"])


def wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than an entry that nobody has collected."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
