"""Everything that training needs to go on as if it had never stopped, in one safetensors file (no pickle)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentese.dictionaries.base import Learner, Trainable
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import ArtifactError
from latentese.store.files import canonical_json
from latentese.store.shards import write_shard
from latentese.store.tensors import TensorSpec, write_tensors

BETAS = (0.9, 0.999)
EPS = 6.25e-10
"""Adam's constants, after Gao et al. 2024."""
MADE_FROM = "made_from"
"""Note in a checkpoint's header: of which dictionary it is, and under which settings it was trained."""


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
    """Latents silent for `dead_after_tokens` or longer."""
    aux_loss: float
    lr: float


@dataclass
class TrainState:
    """A dictionary in training."""

    name: str
    """What errors call it."""
    dictionary: Learner
    """The dictionary, or this process's part of it."""
    optimizer: torch.optim.Adam
    average: dict[str, Tensor]
    """Running sum of `ema`: one tensor per parameter; empty without it."""
    silent_tokens: Tensor
    """[n_units] int64: tokens since each unit last fired."""
    made_from: Mapping[str, Any]
    """Settings by name, the dictionary's and the training's: a checkpoint of others is not resumed."""
    step: int = 0
    """Steps done."""
    logs: list[StepLog] = field(default_factory=list)


def begin(name: str, dictionary: Learner, settings: TrainSettings, made_from: Mapping[str, Any]) -> TrainState:
    """Make the state before the first step."""
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=0.0, betas=BETAS, eps=EPS, fused=True)
    averaged = dictionary.named_parameters() if settings.ema is not None else ()
    average = {name: torch.zeros_like(parameter) for name, parameter in averaged}
    silent_tokens = torch.zeros(dictionary.n_units, dtype=torch.int64, device=settings.device)
    return TrainState(name, dictionary, optimizer, average, silent_tokens, made_from)


def described(dictionary: Trainable, settings: TrainSettings) -> Mapping[str, Any]:
    """Name the settings that a checkpoint belongs to, as it will say them when it is read."""
    args = {f"dictionary.{name}": value for name, value in dictionary.args.items()}
    training = {f"training.{name}": value for name, value in asdict(settings).items()}
    made_from = {"dictionary": type(dictionary).__qualname__} | args | training
    as_read: Mapping[str, Any] = json.loads(canonical_json(made_from))
    return as_read


def write_state(tensors: Mapping[str, Tensor], made_from: Mapping[str, Any], path: Path) -> None:
    """Write a whole state, or nothing."""
    write_shard(dict(tensors), path, {MADE_FROM: canonical_json(made_from)})


def write_state_in_pieces(
    specs: Mapping[str, TensorSpec], pieces: Iterable[tuple[str, Tensor]], made_from: Mapping[str, Any], path: Path
) -> None:
    """Write a whole state, or nothing, with one tensor in memory at a time."""
    write_tensors(specs, pieces, path, {MADE_FROM: canonical_json(made_from)})


def read_state(path: Path, made_from: Mapping[str, Any]) -> dict[str, Tensor]:
    """Map the tensors of a checkpoint.

    Raises ArtifactError for a file that is no checkpoint, or one of another dictionary or of other settings.
    """
    tensors, found = _read(path)
    for name, now in made_from.items():
        if found.get(name) != now:
            problem = f"was begun with {name}={found.get(name)!r}, not {now!r}; remove it to start again"
            raise ArtifactError(path, problem)
    return tensors


def tensors_of(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Yield what is saved of a state, by name; what belongs to a parameter has its name between two dots."""
    yield "step", torch.tensor(state.step)
    yield "silent_tokens", state.silent_tokens
    logs = torch.tensor([astuple(log) for log in state.logs], dtype=torch.float64)
    yield "logs", logs.reshape(-1, len(fields(StepLog)))
    for name, value in state.dictionary.state_dict().items():
        yield f"weights.{name}", value
    for name, value in state.average.items():
        yield f"average.{name}", value
    for name, parameter in state.dictionary.named_parameters():
        for key, value in state.optimizer.state[parameter].items():
            yield f"optimizer.{name}.{key}", value


def take_over_(state: TrainState, saved: Mapping[str, Tensor]) -> None:
    """Bring `state`, fresh from `begin`, to where such tensors were saved."""
    weights = {name.removeprefix("weights."): value for name, value in saved.items() if name.startswith("weights.")}
    state.dictionary.load_state_dict(weights)
    for name, parameter in state.dictionary.named_parameters():
        state.optimizer.state[parameter] = {
            "step": saved[f"optimizer.{name}.step"].to(parameter.device),
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


def steps_done(path: Path) -> int:
    """Read how far the run had come that wrote this checkpoint; 0 where there is none."""
    return int(_read(path)[0]["step"]) if path.is_file() else 0


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Map a checkpoint's tensors, and read what it was made from."""
    try:
        with safe_open(path, framework="pt") as file:
            made_from: Mapping[str, Any] = json.loads(file.metadata()[MADE_FROM])
            return {name: file.get_tensor(name) for name in file.keys()}, made_from  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(path, "not a checkpoint of training, or damaged; remove it to start again") from error
