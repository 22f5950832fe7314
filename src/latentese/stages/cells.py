"""Train the cells of a sweep: several dictionaries side by side on the same tokens, each an artifact of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.dictionaries.training import train_many
from latentese.stages.train import CachedTokens, TrainTokens, check_width, dictionary_draft, publish_dictionary
from latentese.store.artifact import Draft
from latentese.store.shards import Activations


def train_cells(
    activations: Path,
    dictionaries: Mapping[str, Dictionary],
    settings: TrainSettings,
    folder: Path,
    published: Callable[[str], None],
) -> None:
    """Write the artifact `<folder>/<cell>/dictionary` of each, which is what stage `train` would write.

    `published` hears of each as soon as it is there. Interrupted, training goes on from its checkpoints in
    `<folder>/.scratch`; a dictionary whose training had ended is only written.
    """
    source = CachedTokens(Activations(activations))
    for dictionary in dictionaries.values():
        check_width(dictionary, source)
    with ExitStack() as stack:
        drafts = {
            name: stack.enter_context(dictionary_draft(folder / name / "dictionary", source, dictionary, settings))
            for name, dictionary in dictionaries.items()
        }
        work = folder / ".scratch" / "checkpoints"
        logs = _fit_(source, dictionaries, settings, work, drafts)
        for name, dictionary in dictionaries.items():
            publish_dictionary(drafts[name], dictionary, logs[name])
            published(name)
            _forget(work, name)


def _fit_(
    source: TrainTokens,
    dictionaries: Mapping[str, Dictionary],
    settings: TrainSettings,
    work: Path,
    drafts: Mapping[str, Draft],
) -> dict[str, list[StepLog]]:
    """Fit those that are trainable; the log of each, empty where there is nothing to fit.

    A checkpoint is named by its cell and by its draft, which knows inputs, settings and code: another's is not resumed.
    """
    names = {name: f"{name}@{draft.path.name}" for name, draft in drafts.items()}
    for name, checkpoint in names.items():
        _forget(work, name, but=checkpoint)
    cell_of = {checkpoint: name for name, checkpoint in names.items()}
    trainable = {names[name]: each for name, each in dictionaries.items() if isinstance(each, Trainable)}
    logs: dict[str, list[StepLog]] = {name: [] for name in dictionaries}
    if not trainable:
        return logs
    tokens = source.shuffled(settings.order)
    with tqdm(total=settings.n_tokens, unit="tok", unit_scale=True, desc="train", disable=None) as bar:
        for checkpoint, entry in train_many(trainable, tokens, settings, work):
            logs[cell_of[checkpoint]].append(entry)
            bar.set_postfix(cell=cell_of[checkpoint], fvu=f"{entry.fvu:.3f}", refresh=False)
            bar.update(max(0, entry.n_tokens - bar.n))
    return logs


def _forget(work: Path, cell: str, but: str = "") -> None:
    """Remove a cell's checkpoints, but for the one named, and the folder of one whose writing was killed."""
    for path in work.iterdir() if work.is_dir() else ():
        if path.stem.startswith(f"{cell}@") and path.stem != but:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
