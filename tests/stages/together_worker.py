"""What each process of `torchrun` runs in the test of stage `train`: ACTIVATIONS OUT DIVISION."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from test_stages_train import SETTINGS, toy_topk

from latentese.dictionaries.processes import Processes
from latentese.dictionaries.team import Team
from latentese.dictionaries.together import training_together
from latentese.stages.train import CachedTokens, Fit, assist, fit_dictionary
from latentese.store.shards import Activations


def rank_of(processes: Processes) -> int:
    team = getattr(processes, "team", None)
    assert isinstance(team, Team)
    return team.rank


def main(activations: str, out: str, division: str) -> None:
    torch.set_num_threads(1)
    settings = replace(SETTINGS, divide=division)
    with training_together(settings) as processes:
        fit = Fit(CachedTokens(Activations(Path(activations))), toy_topk(), settings, processes)
        if rank_of(processes) == 0:
            fit_dictionary(fit, Path(out), lambda entry: print("logged", entry.step))
        else:
            assist(fit)


if __name__ == "__main__":
    main(*sys.argv[1:])
