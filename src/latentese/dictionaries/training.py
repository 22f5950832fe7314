"""Train any dictionary on a source of tokens, one trainer for all; or several of them in one pass over the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from latentese.dictionaries.base import Loss, Trainable
from latentese.dictionaries.processes import Alone, Processes
from latentese.dictionaries.token_order import TokenSource
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog, TrainState, begin, described
from latentese.errors import SettingError
from latentese.weights.devices import check_device

StepLogger = Callable[[StepLog], None]
"""Receives each logged step; a tracker's only way in."""
ALONE = Alone()


def train_dictionary(
    dictionary: Trainable,
    source: TokenSource,
    settings: TrainSettings,
    checkpoint: Path,
    processes: Processes = ALONE,
) -> Iterator[StepLog]:
    """Fit `dictionary` in place, yielding the log as it grows.

    `checkpoint` is one file, written every `checkpoint_tokens`. Where it exists, training goes on from it: the logs
    before it are yielded again, so curves are whole, and the weights become, bit for bit, those of a run that was
    never interrupted. Where several processes train together, each makes this same call.
    """
    name = "the dictionary"
    for _, log in _train({name: dictionary}, source, settings, {name: checkpoint}, processes):
        yield log


def train_many(
    dictionaries: Mapping[str, Trainable], source: TokenSource, settings: TrainSettings, checkpoint_folder: Path
) -> Iterator[tuple[str, StepLog]]:
    """Fit several dictionaries in place on the same batches, read once; yields each one's log under its name.

    Each has an optimiser, a log and a checkpoint `<name>.safetensors` of its own, and a learning rate scaled with its
    own number of latents where `settings.lr` is None. It becomes, bit for bit, what `train_dictionary` makes of it
    alone: interrupted or not, and whatever else is in the grid, so a finished grid may also be given further members.
    In memory are all weights with their optimisers, and one dictionary's gradients and one buffer of tokens at a time.
    """
    for name in dictionaries:
        if not name or Path(name).name != name:
            raise SettingError("dictionaries", name, "names that can be names of files")
    checkpoints = {name: checkpoint_folder / f"{name}.safetensors" for name in dictionaries}
    yield from _train(dictionaries, source, settings, checkpoints, ALONE)


def _train(
    dictionaries: Mapping[str, Trainable],
    source: TokenSource,
    settings: TrainSettings,
    checkpoints: Mapping[str, Path],
    processes: Processes,
) -> Iterator[tuple[str, StepLog]]:
    states = _begin_all(dictionaries, source, settings, checkpoints, processes)
    for state in states.values():
        yield from ((state.name, log) for log in state.logs)
    # A kill may have come when only some had written their checkpoints: those wait until the others are there.
    first = min((state.step for state in states.values()), default=settings.n_steps)
    batches = processes.share(source).batches(settings.batch_tokens, start=first * settings.batch_tokens)
    for step in range(first, settings.n_steps):
        acts = next(batches).to(settings.device)
        for state in (state for state in states.values() if state.step == step):
            loss = _step_(state, acts, settings)
            if settings.logs_at(state.step):
                state.logs.append(_log(state, loss, settings))
                yield state.name, state.logs[-1]
            if settings.saves_at(state.step):
                _check_weights(state, settings)
                processes.save(state, checkpoints[state.name])
    for name, state in states.items():
        _keep_average_(state, settings)
        processes.finish_(dictionaries[name], state)


def _begin_all(
    dictionaries: Mapping[str, Trainable],
    source: TokenSource,
    settings: TrainSettings,
    checkpoints: Mapping[str, Path],
    processes: Processes,
) -> dict[str, TrainState]:
    """Make the state of each from its checkpoint; those without one start from one sample."""
    check_device("training.device", settings.device)
    states = {}
    for name, dictionary in dictionaries.items():
        learner = processes.learner(dictionary.to(settings.device))
        states[name] = begin(name, learner, settings, described(dictionary, settings))
    new = [name for name in dictionaries if not checkpoints[name].is_file()]
    if new:
        sample = source.sample(settings.sample_tokens, settings.seed).to(settings.device)
        for name in new:
            states[name].dictionary.prepare_(sample)
    for name in states.keys() - set(new):
        processes.load_(states[name], checkpoints[name])
    return states


def _step_(state: TrainState, acts: Tensor, settings: TrainSettings) -> Loss:
    """One optimiser step on a batch [batch_tokens, d_model], or this process's share of it."""
    dictionary, lr = state.dictionary, settings.lr_at(state.step, state.dictionary.n_units)
    loss = dictionary.loss(acts, state.silent_tokens >= settings.dead_after_tokens)
    state.step += 1
    if not loss.total.isfinite():
        raise _diverged(state, "loss", lr)
    loss.total.backward()  # type: ignore[no-untyped-call]
    dictionary.before_step_()
    if settings.clip_norm is not None:
        dictionary.clip_gradients_(settings.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    # Now, not before the next step: several dictionaries in training would hold all their gradients at once.
    state.optimizer.zero_grad(set_to_none=True)
    dictionary.after_step_()
    state.silent_tokens += settings.batch_tokens
    state.silent_tokens[loss.fired.to(settings.device)] = 0
    _add_to_average_(state, settings)
    return loss


def _log(state: TrainState, loss: Loss, settings: TrainSettings) -> StepLog:
    """Put the step just done into figures."""
    n_dead = int((state.silent_tokens >= settings.dead_after_tokens).sum())
    n_tokens, lr = state.step * settings.batch_tokens, settings.lr_at(state.step - 1, state.dictionary.n_units)
    return StepLog(state.step, n_tokens, loss.fvu.item(), loss.l0.item(), n_dead, loss.aux.item(), lr)


def _check_weights(state: TrainState, settings: TrainSettings) -> None:
    """Raise SettingError before weights that are not numbers take the place of a good checkpoint."""
    # One NaN or infinity makes the sum one too.
    if not all(bool(parameter.sum().isfinite()) for parameter in state.dictionary.parameters()):
        raise _diverged(state, "weights", settings.lr_at(state.step - 1, state.dictionary.n_units))


def _diverged(state: TrainState, what: str, lr: float) -> SettingError:
    return SettingError("training.lr", lr, f"lower: {what} of {state.name} no longer finite at step {state.step}")


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
