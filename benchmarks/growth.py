"""How training grows: time per step with the number of latents, and memory with the number of tokens.

    make bench            or        PYTHONPATH=src python benchmarks/growth.py

Time: one step of TopK (d_model 576, k 32, 4096 tokens) at each size, all sizes in turn in every round; the medians
should lie on a line. Memory: a process of its own trains on an activations artifact of so many tokens, bf16,
read through a memory map, for one epoch; what counts is the largest anonymous memory seen (/proc/self/status, every
10 ms): pages of the mapped files are left out, since the system takes them back as it likes. It should be the same for
any number of tokens.

Prints both, and writes growth_time.csv, growth_memory.csv and growth.svg to reports/bench/.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from topk_peers import Ours, Shape
from topk_step import Clock, plant, seconds

from latentese.dictionaries.token_order import ShuffledTokens
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.store.artifact import open_draft
from latentese.store.shards import Activations, shard_name, write_shard

ROOT = Path(__file__).parents[1]
D_MODEL, K, BATCH_TOKENS, SHARD_TOKENS = 576, 32, 4096, 62_500
SIZES = (2048, 4096, 8192, 16384, 32768, 65536)
TOKENS = (100_000, 200_000, 400_000, 800_000)


def main() -> None:
    """Measure both curves, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine, with --threads 1")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    times = measure_times(arguments.rounds, time.process_time if arguments.cpu_time else time.perf_counter)
    print("\n  latents   ms per step   us per latent")
    for n_latents, ms in times:
        print(f"{n_latents:9,} {ms:13.1f} {1000 * ms / n_latents:15.2f}")
    memory = measure_memory()
    print("\n   tokens   on disk, MB   peak memory of training, MB")
    for n_tokens, megabytes in memory:
        print(f"{n_tokens:9,} {n_tokens * D_MODEL * 2 / 1e6:13,.0f} {megabytes:29,.0f}")
    write(arguments.out / "growth_time.csv", ("n_latents", "ms"), times)
    write(arguments.out / "growth_memory.csv", ("n_tokens", "peak_mb"), memory)
    draw(times, memory, arguments.out / "growth.svg")


def measure_times(n_rounds: int, clock: Clock) -> list[tuple[int, float]]:
    """Milliseconds per step at each number of latents, median over the rounds."""
    batch = plant(BATCH_TOKENS)
    ours = [Ours(Shape(D_MODEL, n_latents, K, BATCH_TOKENS, n_rounds + 1, 1.0), batch) for n_latents in SIZES]
    rounds = [[seconds(partial(one.step, batch), clock) for one in ours] for _ in range(n_rounds + 1)][1:]
    columns = zip(*rounds, strict=True)
    return [(size, 1000 * statistics.median(column)) for size, column in zip(SIZES, columns, strict=True)]


def measure_memory() -> list[tuple[int, float]]:
    """Largest anonymous memory of a training process for each number of tokens, in MB."""
    (ROOT / ".scratch").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".scratch") as folder:
        return [(n_tokens, peak_of_training(n_tokens, Path(folder))) for n_tokens in TOKENS]


def peak_of_training(n_tokens: int, folder: Path) -> float:
    """Make a cache of so many tokens, train on it in a fresh process, and remove it."""
    path = write_activations(folder / str(n_tokens), n_tokens)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(train, path, n_tokens).result()


def write_activations(out: Path, n_tokens: int) -> Path:
    """Write an artifact of planted tokens, the same ones in every shard."""
    shard_rows = [min(SHARD_TOKENS, n_tokens - start) for start in range(0, n_tokens, SHARD_TOKENS)]
    acts = plant(SHARD_TOKENS).bfloat16()
    with open_draft(out, "activations", {}, {"planted": n_tokens}) as draft:
        for shard, n_rows in enumerate(shard_rows):
            where = {
                "context": torch.zeros(n_rows, dtype=torch.int32),
                "position": torch.zeros(n_rows, dtype=torch.int16),
            }
            write_shard({"acts": acts[:n_rows]} | where, draft.path / shard_name(shard))
        counts = {"n_tokens": n_tokens, "width": D_MODEL, "dtype": "bfloat16", "n_shards": len(shard_rows)}
        draft.publish(counts | {"shard_rows": shard_rows, "rows": {"train": [0, n_tokens]}})
    return out


def train(path: Path, n_tokens: int) -> float:
    """Train for one epoch and return the largest anonymous memory seen, in MB."""
    settings = TrainSettings(n_tokens, BATCH_TOKENS, checkpoint_tokens=10**12)
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    source = ShuffledTokens(Activations(path), "train", settings.order)
    for _ in train_dictionary(TopK(D_MODEL, 2048, K), source, settings, path.parent / f"{n_tokens}.safetensors"):
        pass
    done.set()
    watcher.join()
    return peak


def anonymous_mb() -> float:
    """Anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def write(path: Path, header: tuple[str, str], rows: Sequence[tuple[int, float]]) -> None:
    """Write a curve as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows((number, f"{value:.1f}") for number, value in rows)


def draw(times: Sequence[tuple[int, float]], memory: Sequence[tuple[int, float]], path: Path) -> None:
    """Draw both curves from zero, so that a line looks like one and flat looks flat."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "latentese", "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    curves = (left, times, "latents", "ms per step of 4096 tokens"), (right, memory, "tokens", "peak memory, MB")
    for axes, rows, across, upwards in curves:
        axes.plot(*zip(*rows, strict=True), "o-", color="#0b8a7d", clip_on=False)
        axes.set(xlabel=across, ylabel=upwards, xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
