"""Everything that training needs to go on as if it had never stopped, in one safetensors file (no pickle)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from latentese.dictionaries.base import Trainable
from latentese.dictionaries.train_settings import TrainSettings
from latentese.store.shards import write_shard

BETAS = (0.9, 0.999)
EPS = 6.25e-10
"""Adam's constants, after Gao et al. 2024."""


@dataclass(frozen=True)
class StepLog:
    """One optimiser step: a row of `schemas.TRAIN_LOG`."""

    step: int
    """Steps done, from 1."""
    n_tokens: int
    """Tokens seen."""
    fvu: float
    l0: float
    n_dead: int
    """Latents silent for longer than `dead_after_tokens`."""
    aux_loss: float
    lr: float


@dataclass
class TrainState:
    """A dictionary in training."""

    dictionary: Trainable
    optimizer: torch.optim.Adam
    average: dict[str, Tensor]
    """Running sum of `ema`: one tensor per parameter; empty without it."""
    silent_tokens: Tensor
    """[n_units] int64: tokens since each unit last fired."""
    step: int = 0
    """Steps done."""
    logs: list[StepLog] = field(default_factory=list)


def begin(dictionary: Trainable, settings: TrainSettings) -> TrainState:
    """Make the state before the first step."""
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=0.0, betas=BETAS, eps=EPS, fused=True)
    averaged = dictionary.named_parameters() if settings.ema is not None else ()
    average = {name: torch.zeros_like(parameter) for name, parameter in averaged}
    return TrainState(dictionary, optimizer, average, torch.zeros(dictionary.n_units, dtype=torch.int64))


def save_state(state: TrainState, path: Path) -> None:
    """Write the whole state, or nothing."""
    write_shard(dict(_tensors(state)), path)


def load_state_(state: TrainState, path: Path) -> None:
    """Bring `state`, fresh from `begin`, to where `path` was written."""
    saved = load_file(path)
    weights = {name.removeprefix("weights."): value for name, value in saved.items() if name.startswith("weights.")}
    state.dictionary.load_state_dict(weights)
    for name, parameter in state.dictionary.named_parameters():
        state.optimizer.state[parameter] = {
            "step": saved[f"optimizer.{name}.step"],
            # The layout of the parameter, not of the file: the fused step walks both in memory order.
            "exp_avg": torch.empty_like(parameter).detach().copy_(saved[f"optimizer.{name}.exp_avg"]),
            "exp_avg_sq": torch.empty_like(parameter).detach().copy_(saved[f"optimizer.{name}.exp_avg_sq"]),
        }
    for name, average in state.average.items():
        average.copy_(saved[f"average.{name}"])
    state.silent_tokens.copy_(saved["silent_tokens"])
    state.step = int(saved["step"])
    state.logs = [
        StepLog(int(step), int(n_tokens), fvu, l0, int(n_dead), aux, lr)
        for step, n_tokens, fvu, l0, n_dead, aux, lr in saved["logs"].tolist()
    ]


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    yield "step", torch.tensor(state.step)
    yield "silent_tokens", state.silent_tokens
    yield (
        "logs",
        torch.tensor([astuple(log) for log in state.logs], dtype=torch.float64).reshape(-1, len(fields(StepLog))),
    )
    for name, value in state.dictionary.state_dict().items():
        yield f"weights.{name}", value
    for name, value in state.average.items():
        yield f"average.{name}", value
    for name, parameter in state.dictionary.named_parameters():
        for key, value in state.optimizer.state[parameter].items():
            yield f"optimizer.{name}.{key}", value
