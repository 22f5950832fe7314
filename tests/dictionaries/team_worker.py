"""What each of several processes runs in the tests of training together: every case, results in files by rank.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python team_worker.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from planted_tokens import plant

from latentese.dictionaries.base import Trainable
from latentese.dictionaries.data_parallel import TokensDivided
from latentese.dictionaries.latent_parallel import LatentsDivided, TopKPart
from latentese.dictionaries.pca import PCA
from latentese.dictionaries.processes import Processes
from latentese.dictionaries.team import Team, joined_team
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.dictionaries.training import train_dictionary
from latentese.store.shards import write_shard

N_TOKENS = 2560
SETTINGS = {
    "plain": TrainSettings(
        n_tokens=256 * 12,
        batch_tokens=256,
        lr=3e-3,
        dead_after_tokens=600,
        checkpoint_tokens=256 * 5,
        sample_tokens=1024,
    ),
}
SETTINGS["whole"] = TrainSettings(**{**asdict(SETTINGS["plain"]), "ema": 0.9, "clip_norm": 0.05, "log_every": 5})
DICTIONARIES = {
    "topk": lambda: TopK(32, 96, 3, norm="none", k_aux=8),
    "multi": lambda: TopK(32, 96, 3, multi_coef=0.125),
    "pca": lambda: PCA(32, 7),
}
DIVISIONS = {"tokens": TokensDivided, "latents": LatentsDivided}
CASES = [
    ("tokens", "topk", "plain"),
    ("tokens", "multi", "whole"),
    ("tokens", "pca", "plain"),
    ("latents", "topk", "plain"),
    ("latents", "multi", "whole"),
]


def made(name: str) -> Trainable:
    """A dictionary, most of whose latents cannot fire at first: AuxK has something to do."""
    dictionary = DICTIONARIES[name]()
    if isinstance(dictionary, TopK):
        with torch.no_grad():
            dictionary.b_enc[10:] = -2.0
    return dictionary


def run(dictionary: Trainable, settings: str, checkpoint: Path, *processes: Processes) -> Iterator[StepLog]:
    return train_dictionary(dictionary, plant(N_TOKENS), SETTINGS[settings], checkpoint, *processes)


def stop(logs: Iterator[StepLog]) -> None:
    """Take logs, and go away after step 7 or the next that is logged: the checkpoint of step 5 is left."""
    for log in logs:
        if log.step >= 7:
            return


def train_case(case: tuple[str, str, str], folder: Path, team: Team) -> None:
    """Train without a stop, with one after step 7, and on from the checkpoint of one process."""
    division, name, settings = case
    processes = DIVISIONS[division](team)
    place = folder / "-".join(case)
    whole = made(name)
    logs = list(run(whole, settings, place / "whole", processes))
    stop(run(made(name), settings, place / "cut", processes))
    cut = made(name)
    logs_of_cut = list(run(cut, settings, place / "cut", processes))
    assert logs_of_cut == logs
    taken_over = made(name)
    list(run(taken_over, settings, place / "by-one", processes))
    (place / f"logs-{team.rank}.json").write_text(json.dumps([asdict(log) for log in logs]))
    for kind, dictionary in {"whole": whole, "cut": cut, "taken-over": taken_over}.items():
        if division == "tokens" or team.rank == 0:
            write_shard(dictionary.state_dict(), place / f"{kind}-{team.rank}.safetensors")
        else:
            assert all(parameter.is_meta for parameter in dictionary.parameters())


def stop_case(folder: Path, team: Team) -> None:
    """Train together for some steps, for one process to go on."""
    for division, processes in DIVISIONS.items():
        stop(run(made("topk"), "plain", folder / f"stopped-{division}", processes(team)))


def choice_case(folder: Path, team: Team) -> None:
    """Candidates of two processes with equal values among them."""
    part = TopKPart(TopK(4, 8, 2), team)
    values = torch.tensor([[[5.0, 1.0], [2.0, 2.0], [0.0, 0.0]], [[3.0, 4.0], [2.0, 2.0], [1.0, 0.0]]])[team.rank]
    indices = torch.tensor([[[0, 1], [3, 1], [0, 1]], [[0, 1], [0, 2], [2, 3]]])[team.rank]
    two, three = part._chosen((values, indices), [2, 3])
    write_shard({"two": two.byte(), "three": three.byte()}, folder / f"chosen-{team.rank}.safetensors")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined_team("cpu") as team:
        for case in CASES:
            train_case(case, folder, team)
        stop_case(folder, team)
        choice_case(folder, team)
        assert team.told_by_first("größer" if team.rank == 0 else "") == "größer"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
