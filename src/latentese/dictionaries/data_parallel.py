"""Several processes train one dictionary, each on its share of every batch; gradients are averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentese.dictionaries.base import Learner, Loss, Trainable
from latentese.dictionaries.losses import divided_batch
from latentese.dictionaries.pca import PCA
from latentese.dictionaries.processes import Alone
from latentese.dictionaries.team import Team
from latentese.dictionaries.token_order import TokenSource
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_state import TrainState
from latentese.errors import SettingError


@dataclass(frozen=True)
class TokensDivided(Alone):
    """Every process has all weights, and an equal share of each batch's tokens.

    Starting weights are the first process's. Losses and gradients are means over the shares, and a unit has fired if it
    did in any of them; so every process makes the step that one alone would make on the whole batch, up to rounding.
    A checkpoint is the one of a single process: training may go on with another number of them.
    """

    team: Team

    def learner(self, dictionary: Trainable) -> Learner:
        """Return the dictionary, taught by all processes; its weights stay where they are."""
        if not isinstance(dictionary, TopK | PCA):
            allowed = f"1: how {type(dictionary).__name__} learns depends on more of a batch than means over tokens"
            raise SettingError("processes that divide tokens", self.team.size, allowed)
        return _Taught(dictionary, self.team)

    def share(self, source: TokenSource) -> TokenSource:
        """Return this process's share of every batch."""
        return ShareOfTokens(source, self.team)

    def save(self, state: TrainState, path: Path) -> None:
        """Let the first process write: all have the same."""
        if self.team.rank == 0:
            super().save(state, path)

    def told_by_first(self, text: str = "") -> str:
        """See `Team`."""
        return self.team.told_by_first(text)


@dataclass(frozen=True)
class ShareOfTokens:
    """One process's share of each batch: the rank-th of as many equal runs of rows as there are processes."""

    source: TokenSource
    team: Team

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless shares [batch_tokens / processes, width] of the batches of `batch_tokens`."""
        n_rows = batch_tokens // self.team.size
        first = self.team.rank * n_rows
        return (batch[first : first + n_rows] for batch in self.source.batches(batch_tokens, start))

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw the whole sample."""
        return self.source.sample(n_tokens, seed)


class _Taught:
    """A dictionary whose loss is its own tokens', and whose gradients and figures are all processes'."""

    def __init__(self, dictionary: Trainable, team: Team) -> None:
        self._dictionary, self._team = dictionary, team
        self.n_units = dictionary.n_units
        self.parameters, self.named_parameters = dictionary.parameters, dictionary.named_parameters
        self.state_dict, self.load_state_dict = dictionary.state_dict, dictionary.load_state_dict
        self.clip_gradients_, self.after_step_ = dictionary.clip_gradients_, dictionary.after_step_

    def prepare_(self, sample: Tensor) -> None:
        """Start from the first process's weights and constants."""
        self._dictionary.prepare_(sample)
        self._team.share_first_([*self._dictionary.parameters(), *self._dictionary.buffers()])

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a share [batch_tokens / processes, d_model], with its own gradient and the whole batch's value."""
        with divided_batch(self._team.gather):
            loss = self._dictionary.loss(acts, dead)
        figures = torch.stack([loss.total.detach(), loss.fvu, loss.aux, loss.l0])
        total, fvu, aux, l0 = self._team.add_(figures) / self._team.size
        fired = self._team.add_(loss.fired.to(acts.device, torch.int32)) > 0
        return Loss(loss.total + (total - loss.total.detach()), fvu, aux, l0, fired)

    def before_step_(self) -> None:
        """Average gradients over processes."""
        for parameter in self._dictionary.parameters():
            if parameter.grad is not None:
                self._team.add_(parameter.grad).div_(self._team.size)
        self._dictionary.before_step_()
