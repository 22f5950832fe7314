"""One optimiser step of our TopK against other libraries', a naive dense one, and the limit: one dense fp32 product.

    make bench          or     PYTHONPATH=src .venv-bench/bin/python benchmarks/topk_step.py --rounds 30

In every round each of them takes one step on the same batch, in turn, so noise of the machine hits all alike. The limit
is the encoder's product alone, [batch, d_model] x [d_model, n_latents] into memory that exists already. Printed, and
written to reports/bench/topk_step.csv: tokens per second (median over rounds), the ratio of the step's time to the
limit's of the same round (min, median, max), and the fvu on held-out tokens after the same number of tokens.

The tokens are those of an activations artifact, where there is one, or planted ones; each minus its mean over d_model
and scaled to norm sqrt(d_model), so that every library gets coordinates of the size it expects.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import torch
from topk_peers import CONTESTANTS, Contestant, Shape
from torch import Tensor

from latentese.store.shards import Activations

ROOT = Path(__file__).parents[1]
ACTIVATIONS = ROOT / "artifacts" / "activations" / "layers-12-resid_post"

Clock = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """What one contestant reached."""

    n_latents: int
    name: str
    ms: float
    tokens_per_s: float
    ratio_min: float
    ratio_median: float
    ratio_max: float
    n_tokens: int
    fvu: float | None


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-latents", type=int, action="append", help="may be given several times")
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=30, help="of the smallest size; larger ones get fewer")
    parser.add_argument("--lr-scale", type=float, default=20.0, help="of Adam's rates, for all who use Adam")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine, with --threads 1")
    parser.add_argument("--activations", type=Path, default=ACTIVATIONS)
    parser.add_argument("--only", action="append", help="a contestant's name; ours is always there")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench" / "topk_step.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    sizes = arguments.n_latents or [8192, 32768]
    rows = []
    for n_latents in sizes:
        n_rounds = max(3, arguments.rounds * min(sizes) // n_latents)
        tokens = load_tokens(arguments.activations, (n_rounds + 2) * arguments.batch_tokens)
        shape = Shape(tokens.shape[1], n_latents, arguments.k, arguments.batch_tokens, n_rounds + 1, arguments.lr_scale)
        print(f"\n{shape}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
        rows += compare(shape, tokens, arguments.only, clock)
    write(rows, arguments.out)


def load_tokens(path: Path, n_tokens: int) -> Tensor:
    """Tokens of an artifact (again and again, if there are too few), or planted ones; see the top of this file."""
    if (path / "manifest.json").is_file():
        activations = Activations(path)
        n_rows = len(activations.rows_of("train"))
        order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(0)).repeat(-(-n_tokens // n_rows))
        chosen = order[:n_tokens].sort().values  # sequential on disk; shuffled after
        acts = activations.gather(chosen.numpy() + activations.rows_of("train").start)
        acts = acts[torch.randperm(n_tokens, generator=torch.Generator().manual_seed(1))]
        print(f"tokens of {path}")
    else:
        acts = plant(n_tokens)
        print("planted tokens: sums of 24 of 4096 directions, and noise")
    acts = acts - acts.mean(dim=1, keepdim=True)
    return acts / acts.norm(dim=1, keepdim=True) * acts.shape[1] ** 0.5


def plant(n_tokens: int, d_model: int = 576, n_directions: int = 4096, n_active: int = 24) -> Tensor:
    """Sparse sums of directions, the first of them the most frequent."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(n_directions, d_model, generator=generator), dim=1)
    drawn = (n_directions * torch.rand(n_tokens, n_active, generator=generator) ** 2).long()
    strength = torch.rand(n_tokens, n_active, generator=generator) + 0.5
    acts = torch.nn.functional.embedding_bag(drawn, directions, per_sample_weights=strength, mode="sum")
    return acts + 0.02 * torch.randn(n_tokens, d_model, generator=generator)


def compare(shape: Shape, tokens: Tensor, only: list[str] | None, clock: Clock) -> list[Row]:
    """Take the steps, in turn, and make the rows: the limit first."""
    held_out, *batches = tokens.split(shape.batch_tokens)
    classes = [one for one in CONTESTANTS if only is None or one is CONTESTANTS[0] or one.name in only]
    contestants = [one(shape, torch.cat(batches[:4])) for one in classes]
    limit, *times = take_steps(shape, contestants, batches, clock)
    rows = [row(shape, "one dense product", limit, limit, None)]
    for one, column in zip(contestants, times, strict=True):
        rows.append(row(shape, one.name, column, limit, fvu(one, held_out)))
    for one in rows:
        show(one)
    return rows


def take_steps(shape: Shape, contestants: list[Contestant], batches: list[Tensor], clock: Clock) -> list[list[float]]:
    """Seconds of the limit and of each contestant in every round but the first, which compiles and allocates."""
    W_enc, product = torch.randn(shape.n_latents, shape.d_model), torch.empty(shape.batch_tokens, shape.n_latents)
    rounds = []
    for batch in batches:
        taken = [seconds(partial(torch.mm, batch, W_enc.t(), out=product), clock)]
        rounds.append(taken + [seconds(partial(one.step, batch), clock) for one in contestants])
    return [list(column) for column in zip(*rounds[1:], strict=True)]


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of one call."""
    start = clock()
    work()
    return clock() - start


@torch.no_grad()
def fvu(contestant: Contestant, acts: Tensor) -> float:
    """Fraction of variance unexplained of tokens that were not trained on."""
    error = (contestant.reconstruct(acts) - acts).square().sum()
    return (error / (acts - acts.mean(dim=0)).square().sum()).item()


def row(shape: Shape, name: str, times: list[float], limit: list[float], fvu: float | None) -> Row:
    """Sum up the rounds."""
    ratios = sorted(one / other for one, other in zip(times, limit, strict=True))
    time_s = statistics.median(times)
    spread = (ratios[0], statistics.median(ratios), ratios[-1])
    return Row(
        shape.n_latents,
        name,
        1000 * time_s,
        shape.batch_tokens / time_s,
        *spread,
        shape.n_steps * shape.batch_tokens,
        fvu,
    )


def show(row: Row) -> None:
    """Print a row."""
    ratio = f"{row.ratio_median:6.2f} ({row.ratio_min:.2f} to {row.ratio_max:.2f})"
    quality = "" if row.fvu is None else f"   fvu {row.fvu:.4f} after {row.n_tokens:,} tokens"
    print(f"{row.name:20} {row.ms:8.1f} ms {row.tokens_per_s:9,.0f} tokens/s   x limit {ratio:24}{quality}", flush=True)


def write(rows: list[Row], path: Path) -> None:
    """Write the rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(
            [f"{value:.5g}" if isinstance(value, float) else value for value in astuple(one)] for one in rows
        )


if __name__ == "__main__":
    main()
