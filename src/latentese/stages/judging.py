"""What `score` and `refine` share: a unit's examples of one split, with proof that no document is in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError
from latentese.examples.store import Examples, join_contexts
from latentese.records import Example, Split


@dataclass(frozen=True)
class SplitExamples:
    """Reads examples of one split at a time, and trusts the contexts about the split."""

    contexts: Contexts
    examples: Examples

    def __post_init__(self) -> None:
        shared = self.contexts.table.group_by("document").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)
        if shared.height:
            document = shared["document"].sort()[0]
            raise ArtifactError(self.contexts.artifact.path, f"document {document} is in two splits; tokenize again")

    def of(self, unit: int, split: Split, kinds: Sequence[str]) -> list[Example]:
        """Return a unit's examples of these kinds, strongest first."""
        rows = self.examples.of(unit, split).filter(pl.col("kind").is_in(kinds))
        joined = join_contexts(rows, self.contexts.get(rows["context"].to_list()))
        for example in joined:
            if example.context.split != split:
                problem = f"gives context {example.context.context} of split {example.context.split} for {split}"
                raise ArtifactError(self.examples.artifact.path, f"{problem}; sample again from these contexts")
        return joined
