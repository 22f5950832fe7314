"""Keep the subject's activations at one hookpoint (DVC stage `collect`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_once, read_params, settings
from flows.entry import Measured, run_stage
from flows.paths import ACTIVATIONS, CONTEXTS
from latentese.stages.collect import collect
from latentese.store.shards import Activations
from latentese.subject.hookpoints import hookpoint_width
from latentese.subject.settings import CaptureSettings
from latentese.subject.shape import read_shape


def prepare(params: Params, activations: str) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes artifacts/activations/<activations>."""
    entry = params["hookpoints"][activations]
    subject = build_once(params["subject"], "subject")
    hookpoint_width(read_shape(subject.folder()), entry["hookpoint"])  # refuses an unknown hookpoint
    capture = settings(CaptureSettings, {**params["capture"], "splits": entry["splits"]}, "capture")
    return partial(collect, CONTEXTS, subject, entry["hookpoint"], capture, ACTIVATIONS / activations)


def main(activations: str) -> Measured:
    """Run the stage for one hookpoint, named as in `hookpoints`."""
    out = prepare(read_params(), activations)()
    return {"n_tokens": Activations(out).n_tokens}


if __name__ == "__main__":
    run_stage("collect", main)
