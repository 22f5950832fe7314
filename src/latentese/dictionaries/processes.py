"""Who trains a dictionary: one process alone, or several together (`data_parallel`, `latent_parallel`)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from latentese.dictionaries.base import Learner, Trainable
from latentese.dictionaries.token_order import TokenSource
from latentese.dictionaries.train_state import TrainState, read_state, take_over_, tensors_of, write_state


class Processes(Protocol):
    """The processes that train one dictionary, as one of them sees them."""

    def learner(self, dictionary: Trainable) -> Learner:
        """Return what this process trains; raises SettingError for a dictionary that cannot be divided so."""

    def share(self, source: TokenSource) -> TokenSource:
        """Return what this process reads of every batch."""

    def save(self, state: TrainState, path: Path) -> None:
        """Write one checkpoint of the whole training."""

    def load_(self, state: TrainState, path: Path) -> None:
        """Bring this process's `state`, fresh from `begin`, to where `path` was written."""

    def finish_(self, dictionary: Trainable, state: TrainState) -> None:
        """Bring the trained weights into `dictionary`: in the first process at least."""

    def told_by_first(self, text: str = "") -> str:
        """Return the text that the first process passes."""


class Alone:
    """One process trains the whole dictionary on whole batches."""

    def learner(self, dictionary: Trainable) -> Learner:
        """Return the dictionary itself."""
        return dictionary

    def share(self, source: TokenSource) -> TokenSource:
        """Return all of it."""
        return source

    def save(self, state: TrainState, path: Path) -> None:
        """See `train_state`."""
        write_state(dict(tensors_of(state)), state.made_from, path)

    def load_(self, state: TrainState, path: Path) -> None:
        """See `train_state`."""
        take_over_(state, read_state(path, state.made_from))

    def finish_(self, dictionary: Trainable, state: TrainState) -> None:
        """Do nothing: it was trained in place."""

    def told_by_first(self, text: str = "") -> str:
        """Return it."""
        return text
