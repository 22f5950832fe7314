"""Runs that are killed with SIGKILL at every step, and in the middle of writing a checkpoint: FOLDER.

Each is a child of this process, forked before torch has threads. One line per run says what it was and whether what
was left of it went on to the bytes of an undisturbed run.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from planted_tokens import plant
from team_worker import DIVISIONS, made
from test_dictionaries_training_many import grid

from latentese.dictionaries.base import Trainable
from latentese.dictionaries.processes import Alone, Processes
from latentese.dictionaries.team import joined_team
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary, train_many

N_STEPS = 7
SETTINGS = TrainSettings(
    n_tokens=256 * N_STEPS, batch_tokens=256, lr=3e-3, dead_after_tokens=600, checkpoint_tokens=512, sample_tokens=512
)
"""Checkpoints after steps 2, 4, 6 and 7."""
Run = Callable[[Path], Iterable[object]]


def one(folder: Path, processes: Processes = Alone()) -> Iterable[object]:  # noqa: B008 (a constant)
    return train_dictionary(made("topk"), plant(1024), SETTINGS, folder / "checkpoint", processes)


def many(folder: Path) -> Iterable[object]:
    members: dict[str, Trainable] = grid()
    return train_many(dict(list(members.items())[:3]), plant(1024), SETTINGS, folder)


def together(division: str) -> Run:
    def run(folder: Path) -> Iterable[object]:
        with joined_team("cpu") as team:
            yield from one(folder, DIVISIONS[division](team))

    return run


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def take(run: Run, folder: Path, stop_after: int | None) -> None:
    """Take logs until the kill: after so many of them, or in the writing of the second checkpoint, or never."""
    if stop_after == 0:
        plain, writes = os.fsync, iter(range(99))
        os.fsync = lambda file: die() if next(writes) == 1 else plain(file)  # type: ignore[assignment]
    for number, _ in enumerate(run(folder), start=1):
        if number == stop_after:
            die()


def fork(run: Run, folder: Path, stop_after: int | None, environment: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        try:
            take(run, folder, stop_after)
        except BaseException:  # the other process of a team, when one is killed
            os._exit(1)
        os._exit(0)
    return child


def outcome(run: Run, folder: Path, stop_after: int | None, size: int) -> list[int]:
    """Run in so many processes, of which the last is killed, and return what became of them."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(size)}
    stops = [None] * (size - 1) + [stop_after]
    children = [fork(run, folder, stop, {**shared, "RANK": str(rank)}) for rank, stop in enumerate(stops)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def try_kills(name: str, run: Run, stops: Iterable[int], folder: Path, size: int = 1) -> None:
    whole = folder / f"{name}-whole"
    assert outcome(run, whole, None, size) == [0] * size
    for stop_after in stops:
        cut = folder / f"{name}-{stop_after}"
        assert outcome(run, cut, stop_after, size)[-1] == -signal.SIGKILL
        left = len(files(cut))
        assert outcome(run, cut, None, size) == [0] * size
        same = files(cut) == files(whole)
        print(f"{name} {stop_after}: {'same' if same else 'OTHER BYTES'}, {left} files were left", flush=True)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    list(one(folder / "first"))  # loops are compiled here, not in every child
    try_kills("one", one, range(N_STEPS + 1), folder)
    try_kills("many", many, [0, 5, 8, 12, 17, 21], folder)
    for division in DIVISIONS:
        try_kills(division, together(division), [3, 6], folder, size=2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
