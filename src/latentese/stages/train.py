"""Stage `train`: fit a dictionary to the activations of the `train` documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from tqdm import tqdm

from latentese.dictionaries import checkpoints
from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.processes import Alone, Processes
from latentese.dictionaries.token_order import OrderSettings, ShuffledTokens, TokenSource
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog, steps_done
from latentese.dictionaries.training import StepLogger, train_dictionary
from latentese.errors import SettingError
from latentese.schemas import TRAIN_LOG
from latentese.store.artifact import Artifact, Draft, open_draft
from latentese.store.shards import Activations
from latentese.store.tables import write_table

ALONE = Alone()


class TrainTokens(Protocol):
    """What a dictionary is fitted to."""

    @property
    def inputs(self) -> Mapping[str, Artifact]:
        """Artifacts that the tokens come from."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else they depend on."""

    @property
    def width(self) -> int:
        """Width of the activations."""

    def shuffled(self, order: OrderSettings) -> TokenSource:
        """Make ready to read them."""


@dataclass(frozen=True)
class CachedTokens:
    """The `train` activations that stage `collect` has kept."""

    activations: Activations

    @property
    def inputs(self) -> Mapping[str, Artifact]:
        """The cache."""
        return {"activations": self.activations.artifact}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing: the cache says it all."""
        return {}

    @property
    def width(self) -> int:
        """Width of the cache."""
        return self.activations.width

    def shuffled(self, order: OrderSettings) -> TokenSource:
        """Map the cache."""
        return ShuffledTokens(self.activations, "train", order)


@dataclass(frozen=True)
class Fit:
    """A dictionary, what it is fitted to, and how: the same in all processes that take part."""

    tokens: TrainTokens
    dictionary: Dictionary
    settings: TrainSettings
    processes: Processes = ALONE


def train(activations: Path, dictionary: Dictionary, settings: TrainSettings, out: Path, log: StepLogger) -> Path:
    """Write the dictionary artifact from an activations artifact, see `fit_dictionary`."""
    return fit_dictionary(Fit(CachedTokens(Activations(activations)), dictionary, settings), out, log)


def fit_dictionary(fit: Fit, out: Path, log: StepLogger) -> Path:
    """Write the dictionary artifact; a dictionary that needs no training is written as it is, with an empty log.

    `log` receives every logged step; after an interruption, those before it once more. Where several processes train
    together, this is what the first does, and the others `assist`.
    """
    dictionary = fit.dictionary
    check_width(dictionary, fit.tokens)
    with dictionary_draft(out, fit.tokens, dictionary, fit.settings) as draft:
        checkpoint = draft.path / "work" / "checkpoint.safetensors"
        logs = _shown(fit, dictionary, checkpoint, log) if isinstance(dictionary, Trainable) else []
        publish_dictionary(draft, dictionary, logs)
    return out


def assist(fit: Fit) -> None:
    """Take part in `fit_dictionary` of another process: it writes, this one only computes."""
    check_width(fit.dictionary, fit.tokens)
    if isinstance(fit.dictionary, Trainable):
        for _ in _steps(fit, fit.dictionary, Path(fit.processes.told_by_first())):
            pass


def check_width(dictionary: Dictionary, tokens: TrainTokens) -> None:
    """Refuse a dictionary of another width than the activations'."""
    if dictionary.d_model != tokens.width:
        raise SettingError("dictionary.d_model", dictionary.d_model, f"{tokens.width}, the width of the activations")


def dictionary_draft(
    out: Path, tokens: TrainTokens, dictionary: Dictionary, settings: TrainSettings
) -> AbstractContextManager[Draft]:
    """Open the draft of a dictionary artifact."""
    name = f"{type(dictionary).__module__}.{type(dictionary).__qualname__}"
    trained = asdict(settings) if isinstance(dictionary, Trainable) else None
    recorded = {"class": name, "args": dictionary.args, "training": trained, **tokens.settings}
    return open_draft(out, "dictionary", tokens.inputs, recorded)


def publish_dictionary(draft: Draft, dictionary: Dictionary, logs: Sequence[StepLog]) -> None:
    """Write weights and log, and publish."""
    checkpoints.save(dictionary, draft.path)
    rows = [astuple(entry) for entry in logs]
    write_table(pl.DataFrame(rows, schema=TRAIN_LOG, orient="row"), TRAIN_LOG, draft.path / "train_log.parquet")
    n_steps = logs[-1].step if logs else 0
    draft.publish({"n_units": dictionary.n_units, "d_model": dictionary.d_model, "n_steps": n_steps})


def _steps(fit: Fit, dictionary: Trainable, checkpoint: Path) -> Iterator[StepLog]:
    source = fit.tokens.shuffled(fit.settings.order)
    return train_dictionary(dictionary, source, fit.settings, checkpoint, fit.processes)


def _shown(fit: Fit, dictionary: Trainable, checkpoint: Path, log: StepLogger) -> list[StepLog]:
    """Train with a progress bar; returns the whole log."""
    fit.processes.told_by_first(str(checkpoint.resolve()))
    n_tokens, n_done = (n * fit.settings.batch_tokens for n in (fit.settings.n_steps, steps_done(checkpoint)))
    logs: list[StepLog] = []
    # What an interrupted run did counts as done, not as done in no time: tokens per second are of this run.
    with tqdm(total=n_tokens, initial=n_done, unit="tok", unit_scale=True, desc="train", disable=None) as bar:
        for entry in _steps(fit, dictionary, checkpoint):
            logs.append(entry)
            log(entry)
            dead = f"{entry.n_dead / dictionary.n_units:.1%}"
            bar.set_postfix(fvu=f"{entry.fvu:.3f}", l0=f"{entry.l0:.1f}", dead=dead, refresh=False)
            bar.update(max(0, entry.n_tokens - bar.n))
    return logs
