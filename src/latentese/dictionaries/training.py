"""Train any dictionary on a source of tokens, one trainer for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from latentese.dictionaries.base import Loss, Trainable
from latentese.dictionaries.token_order import TokenSource
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog, TrainState, begin, load_state_, save_state
from latentese.errors import SettingError

StepLogger = Callable[[StepLog], None]
"""Receives each logged step; a tracker's only way in."""


def train_dictionary(
    dictionary: Trainable, source: TokenSource, settings: TrainSettings, checkpoint: Path
) -> Iterator[StepLog]:
    """Fit `dictionary` in place, yielding the log as it grows.

    `checkpoint` is one file, written every `checkpoint_tokens`. Where it exists, training goes on from it: the logs
    before it are yielded again, so curves are whole, and the weights become, bit for bit, those of a run that was
    never interrupted.
    """
    state = begin(dictionary, settings)
    if checkpoint.is_file():
        load_state_(state, checkpoint)
    else:
        dictionary.prepare_(source.sample(settings.sample_tokens, settings.seed))
    yield from state.logs
    batches = source.batches(settings.batch_tokens, start=state.step * settings.batch_tokens)
    steps_between = max(1, settings.checkpoint_tokens // settings.batch_tokens)
    while state.step < settings.n_steps:
        log = _step_(state, next(batches), settings)
        if log.step % settings.log_every == 0 or log.step in (1, settings.n_steps):
            state.logs.append(log)
            yield log
        if state.step % steps_between == 0 or state.step == settings.n_steps:
            save_state(state, checkpoint)
    _keep_average_(state, settings)


def _step_(state: TrainState, acts: Tensor, settings: TrainSettings) -> StepLog:
    """One optimiser step on a batch [batch_tokens, d_model]."""
    dictionary, lr = state.dictionary, settings.lr_at(state.step, state.dictionary.n_units)
    loss = dictionary.loss(acts, state.silent_tokens >= settings.dead_after_tokens)
    if not loss.total.isfinite():
        raise SettingError("training.lr", lr, f"lower: the loss stopped being a number at step {state.step + 1}")
    state.optimizer.zero_grad(set_to_none=True)
    loss.total.backward()  # type: ignore[no-untyped-call]
    dictionary.before_step_()
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    dictionary.after_step_()
    state.silent_tokens += len(acts)
    state.silent_tokens[loss.fired] = 0
    state.step += 1
    _add_to_average_(state, settings)
    return _log(state, loss, settings, lr)


def _log(state: TrainState, loss: Loss, settings: TrainSettings, lr: float) -> StepLog:
    n_dead = int((state.silent_tokens >= settings.dead_after_tokens).sum())
    n_tokens = state.step * settings.batch_tokens
    return StepLog(state.step, n_tokens, loss.fvu.item(), loss.l0.item(), n_dead, loss.aux.item(), lr)


@torch.no_grad()
def _add_to_average_(state: TrainState, settings: TrainSettings) -> None:
    if settings.ema is not None:
        for name, parameter in state.dictionary.named_parameters():
            state.average[name].lerp_(parameter, 1 - settings.ema)


@torch.no_grad()
def _keep_average_(state: TrainState, settings: TrainSettings) -> None:
    """Replace the weights by their average, corrected for its start at zero."""
    if settings.ema is not None:
        for name, parameter in state.dictionary.named_parameters():
            parameter.copy_(state.average[name] / (1 - settings.ema**state.step))
        state.dictionary.after_step_()
