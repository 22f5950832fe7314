"""Cut the corpus into contexts and assign every document to a split (DVC stage `tokenize`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, build_once, read_params, settings
from flows.entry import run_stage
from flows.paths import CONTEXTS
from latentese.corpus.settings import ContextSettings
from latentese.stages.tokenize import tokenize


def prepare(params: Params) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes artifacts/contexts."""
    sources = build_all(params["corpus"], "corpus")
    subject = build_once(params["subject"], "subject")
    return partial(tokenize, sources, subject, settings(ContextSettings, params["contexts"], "contexts"), CONTEXTS)


def main() -> None:
    """Run the stage."""
    prepare(read_params())()


if __name__ == "__main__":
    run_stage("tokenize", main)
