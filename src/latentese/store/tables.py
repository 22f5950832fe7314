"""Tables: parquet under a schema, and JSON lines of frozen records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from latentese.errors import ArtifactError
from latentese.records import Candidate, Explanation, Usage
from latentese.schemas import check
from latentese.store.files import whole_file, write_text


def write_table(df: pl.DataFrame, schema: pl.Schema, path: Path) -> None:
    """Write `df` as parquet at `path`, whole or not at all; refuse another schema."""
    check(df, schema, path)
    with whole_file(path) as part:
        df.write_parquet(part, compression="zstd", statistics=False)


def read_table(path: Path, schema: pl.Schema) -> pl.DataFrame:
    """Read a parquet table and check its schema."""
    if not path.is_file():
        raise ArtifactError(path, "missing; run the stage that writes it again")
    try:
        df = pl.read_parquet(path)
    except (pl.exceptions.ComputeError, OSError) as error:
        raise ArtifactError(path, f"not a readable parquet table ({str(error).splitlines()[0]})") from error
    return check(df, schema, path)


def write_explanations(explanations: Iterable[Explanation], path: Path) -> None:
    """Write one explanation per line, whole or not at all."""
    lines = [json.dumps(asdict(explanation), ensure_ascii=False, sort_keys=True) for explanation in explanations]
    write_text("".join(f"{line}\n" for line in lines), path)


def read_explanations(path: Path) -> list[Explanation]:
    """Read explanations written by `write_explanations`."""
    if not path.is_file():
        raise ArtifactError(path, "missing; run the stage that writes it again")
    # Split on "\n" alone: explanations may hold other line separators, such as U+2028.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [_explanation(json.loads(line)) for line in lines if line]


def _explanation(fields: dict[str, Any]) -> Explanation:
    usage = Usage(**fields.pop("usage"))
    examples = tuple(fields.pop("examples"))
    table = tuple((str(token), float(act)) for token, act in fields.pop("table"))
    patterns = tuple((tuple(tokens), float(act)) for tokens, act in fields.pop("patterns", ()))
    candidates = tuple(Candidate(**candidate) for candidate in fields.pop("candidates", ()))
    chosen_on = tuple(fields.pop("chosen_on", ()))
    return Explanation(
        **fields,
        usage=usage,
        examples=examples,
        table=table,
        patterns=patterns,
        candidates=candidates,
        chosen_on=chosen_on,
    )
