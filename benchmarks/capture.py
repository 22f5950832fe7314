"""Capture against its limit: a bare forward pass of the same model cut at the same layer, interleaved on one input.

    make bench            or        python benchmarks/capture.py --hookpoint layers.12.resid_post --rounds 10

Prints tokens per second of both (median over the rounds) and the ratio, round by round, as min, median and max.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.config import build_once, read_params
from latentese.subject.capture import capture_at
from latentese.subject.hookpoints import parse_hookpoint
from latentese.subject.model import Subject, load_subject
from latentese.weights.source import ModelSource


def main() -> None:
    """Measure the configured subject on random tokens of the configured batch and context length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hookpoint", action="append", help="may be given several times")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    params = read_params()
    source: ModelSource = build_once(params["subject"], "subject")
    shape = (params["capture"]["batch_contexts"], params["contexts"]["ctx_len"])
    hookpoints = arguments.hookpoint or [target["hookpoint"] for target in params["targets"].values()]
    print(f"{source.name}, {params['capture']['dtype']}, batches of {shape}, {torch.get_num_threads()} threads")
    for hookpoint in hookpoints:
        measure(source, hookpoint, params["capture"]["dtype"], shape, arguments.rounds)


def measure(source: ModelSource, hookpoint: str, dtype: str, shape: tuple[int, int], rounds: int) -> None:
    """Time capture and bare pass in turn, after one round that is not counted, and print the figures."""
    token_ids = torch.randint(0, 1000, shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    capture = capture_at(load_subject(source, dtype, "cpu"), hookpoint)
    bare = cut_at(load_subject(source, dtype, "cpu"), hookpoint)
    pairs = [(seconds(lambda: capture(token_ids)), seconds(lambda: bare(token_ids))) for _ in range(rounds + 1)][1:]
    ours, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(limit_s / ours_s for ours_s, limit_s in pairs)
    n_tokens = token_ids.numel()
    print(
        f"{hookpoint:24} capture {n_tokens / ours:8,.0f} tok/s   bare {n_tokens / limit:8,.0f} tok/s   "
        f"ratio {ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f}"
    )


def cut_at(subject: Subject, hookpoint: str) -> Callable[[torch.Tensor], object]:
    """Remove the layers behind the hookpoint's and give the plain forward pass of what is left."""
    layers = subject.layers
    del layers[parse_hookpoint(hookpoint, subject.shape).n_layers :]
    body = subject.model.base_model

    def forward(token_ids: torch.Tensor) -> object:
        with torch.inference_mode():
            return body(input_ids=token_ids.long(), use_cache=False)

    return forward


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
