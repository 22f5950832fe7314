"""Stage `train`: fit a dictionary to the activations of the `train` documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple
from pathlib import Path

import polars as pl
from tqdm import tqdm

from latentese.dictionaries import checkpoints
from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.token_order import ShuffledTokens
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog, steps_done
from latentese.dictionaries.training import StepLogger, train_dictionary
from latentese.errors import SettingError
from latentese.schemas import TRAIN_LOG
from latentese.store.artifact import Draft, open_draft
from latentese.store.shards import Activations
from latentese.store.tables import write_table


def train(activations: Path, dictionary: Dictionary, settings: TrainSettings, out: Path, log: StepLogger) -> Path:
    """Write the dictionary artifact; a dictionary that needs no training is written as it is, with an empty log.

    `log` receives every logged step; after an interruption, those before it once more.
    """
    source = Activations(activations)
    check_width(dictionary, source)
    with dictionary_draft(out, source, dictionary, settings) as draft:
        logs = (
            _fit_(dictionary, source, settings, draft.path / "work", log) if isinstance(dictionary, Trainable) else []
        )
        publish_dictionary(draft, dictionary, logs)
    return out


def check_width(dictionary: Dictionary, source: Activations) -> None:
    """Refuse a dictionary of another width than the activations'."""
    if dictionary.d_model != source.width:
        allowed = f"{source.width}, the width of {source.artifact.path}"
        raise SettingError("dictionary.d_model", dictionary.d_model, allowed)


def dictionary_draft(
    out: Path, source: Activations, dictionary: Dictionary, settings: TrainSettings
) -> AbstractContextManager[Draft]:
    """Open the draft of a dictionary artifact."""
    name = f"{type(dictionary).__module__}.{type(dictionary).__qualname__}"
    trained = asdict(settings) if isinstance(dictionary, Trainable) else None
    recorded = {"class": name, "args": dictionary.args, "training": trained}
    return open_draft(out, "dictionary", {"activations": source.artifact}, recorded)


def publish_dictionary(draft: Draft, dictionary: Dictionary, logs: Sequence[StepLog]) -> None:
    """Write weights and log, and publish."""
    checkpoints.save(dictionary, draft.path)
    rows = [astuple(entry) for entry in logs]
    write_table(pl.DataFrame(rows, schema=TRAIN_LOG, orient="row"), TRAIN_LOG, draft.path / "train_log.parquet")
    n_steps = logs[-1].step if logs else 0
    draft.publish({"n_units": dictionary.n_units, "d_model": dictionary.d_model, "n_steps": n_steps})


def _fit_(
    dictionary: Trainable, source: Activations, settings: TrainSettings, work: Path, log: StepLogger
) -> list[StepLog]:
    tokens, checkpoint = ShuffledTokens(source, "train", settings.order), work / "checkpoint.safetensors"
    n_tokens, n_done = (n * settings.batch_tokens for n in (settings.n_steps, steps_done(checkpoint)))
    logs: list[StepLog] = []
    # What an interrupted run did counts as done, not as done in no time: tokens per second are of this run.
    with tqdm(total=n_tokens, initial=n_done, unit="tok", unit_scale=True, desc="train", disable=None) as bar:
        for entry in train_dictionary(dictionary, tokens, settings, checkpoint):
            logs.append(entry)
            log(entry)
            dead = f"{entry.n_dead / dictionary.n_units:.1%}"
            bar.set_postfix(fvu=f"{entry.fvu:.3f}", l0=f"{entry.l0:.1f}", dead=dead, refresh=False)
            bar.update(max(0, entry.n_tokens - bar.n))
    return logs
