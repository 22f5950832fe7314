"""Between our dictionary artifacts and other libraries' checkpoints: no stage of the pipeline, but as plain to call."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from latentese.dictionaries import checkpoints
from latentese.dictionaries.formats.base import Meaning
from latentese.dictionaries.formats.load import freeze, read_checkpoint, write_checkpoint
from latentese.errors import ArtifactError
from latentese.schemas import TRAIN_LOG
from latentese.store.artifact import open_draft
from latentese.store.files import write_json
from latentese.store.tables import write_table


def import_checkpoint(format: str, path: Path, out: Path) -> Meaning:
    """Write a checkpoint as the dictionary artifact `out`, what it meant in `meaning.json` beside the weights."""
    _check_new(out)
    imported = read_checkpoint(format, path)
    dictionary = freeze(imported)
    with open_draft(out, "dictionary", {}, {**checkpoints.describe(dictionary), "training": None}) as draft:
        checkpoints.save(dictionary, draft.path)
        write_json(vars(imported.meaning), draft.path / "meaning.json")
        write_table(pl.DataFrame(schema=TRAIN_LOG), TRAIN_LOG, draft.path / "train_log.parquet")
        draft.publish({"n_units": dictionary.n_units, "d_model": dictionary.d_model, "n_steps": 0})
    return imported.meaning


def export_dictionary(format: str, path: Path, out: Path) -> None:
    """Write the dictionary artifact at `path` as the folder `out`, whole or not at all, in another library's format."""
    _check_new(out)
    dictionary = checkpoints.load(path)
    part = out.with_name(f"{out.name}.part")
    try:
        write_checkpoint(format, dictionary, part)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_new(out: Path) -> None:
    """Refuse to write over anything."""
    if out.exists():
        raise ArtifactError(out, "exists already; name a new folder")
