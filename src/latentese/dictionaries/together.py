"""Which processes train a dictionary: as many as `torchrun` started, dividing what the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from latentese.dictionaries.data_parallel import TokensDivided
from latentese.dictionaries.latent_parallel import LatentsDivided
from latentese.dictionaries.processes import Alone, Processes
from latentese.dictionaries.team import joined_team, team_size
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import SettingError

DIVISIONS = {"tokens": TokensDivided, "latents": LatentsDivided}


@contextmanager
def training_together(settings: TrainSettings) -> Iterator[Processes]:
    """Join the other processes, where there are any.

    Raises SettingError when a batch's tokens cannot be divided equally.
    """
    n_processes = team_size()
    if n_processes == 1:
        yield Alone()
        return
    if settings.divide == "tokens" and settings.batch_tokens % n_processes:
        raise SettingError("training.batch_tokens", settings.batch_tokens, f"a multiple of {n_processes} processes")
    with joined_team(settings.device) as team:
        yield DIVISIONS[settings.divide](team)
