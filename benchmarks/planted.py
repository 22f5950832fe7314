"""Does TopK with AuxK recover what ReLU does not? On data whose directions are known, at equal n and L0, over seeds.

    PYTHONPATH=src python benchmarks/planted.py            # 2 or 3 minutes of one core; writes reports/planted.md

Each kind of dictionary gets its learning rate from a scan on one seed that is not reported again; then every seed
plants its own truth and trains each kind on the same tokens. Finished runs are kept in .scratch/planted.jsonl: an
interrupted command goes on where it stopped.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from latentese.dictionaries.base import Trainable
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.evaluation.planted import Planted, PlantedSettings
from latentese.evaluation.recovery import RECOVERED, measure_recovery, nearest
from latentese.store.files import canonical_json, sha256_json

N_LATENTS, K = 192, 3
PLANTED = PlantedSettings(d_model=32, n_directions=96, l0=float(K), exponent=1.4)
TRAINING = TrainSettings(
    n_tokens=800_000,
    batch_tokens=512,
    warmup=0.05,
    decay=0.2,
    dead_after_tokens=10_000,  # the rarest direction is active every 260 tokens
    checkpoint_tokens=10**9,
    log_every=10**9,
)
N_TEST = 100_000
SCAN_SEED, SCAN_RATES = 100, (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS = (0, 1, 2, 3, 4, 5)

KINDS: Mapping[str, Callable[[int], Trainable]] = {
    "TopK with AuxK": lambda seed: TopK(PLANTED.d_model, N_LATENTS, K, "none", seed=seed),
    "TopK without AuxK": lambda seed: TopK(PLANTED.d_model, N_LATENTS, K, "none", aux_coef=0.0, seed=seed),
    "ReLU": lambda seed: ReLU(PLANTED.d_model, N_LATENTS, "none", target_l0=float(K), seed=seed),
}
OURS, OTHERS = "TopK with AuxK", ("TopK without AuxK", "ReLU")

FIGURES = {
    "recovered": "directions recovered",
    "recovered_rare": "of the rarest quarter",
    "truth_cosine": "mean best cosine, truth to latents",
    "latent_cosine": "latents to truth",
    "uniqueness": "uniqueness",
    "dead_share": "dead share",
    "slope": "slope (shrinkage)",
    "f1": "F1 of firing",
    "fvu": "fvu",
    "l0": "L0",
}

KEPT, REPORT = Path(".scratch/planted.jsonl"), Path("reports/planted.md")

DATA = """\
Data: {data.n_directions} unit directions in {data.d_model} dimensions, {data.l0:g} active per token on average,
frequencies falling as rank^-{data.exponent:g} from {data.max_frequency:g} to {rarest:.4f}, every second group of
{data.group_size} correlated ({data.correlation:g}), gamma coefficients of mean 1, noise {data.noise:g} per coordinate.
Dictionaries: n = {n}, L0 = {k} (ReLU's penalty is steered there), {training.n_tokens:,} tokens in batches of
{training.batch_tokens}. Figures are of {n_test:,} or more other tokens.
"""

Run = dict[str, Any]
"""What was trained (kind, seed, lr) and what came out."""


def main() -> None:
    """Scan learning rates, train every kind on every seed, write the report."""
    torch.set_num_threads(1)  # products this small are slower on two, and far slower when another process runs
    done = read_kept()
    with tqdm(total=len(KINDS) * (len(SCAN_RATES) + len(SEEDS)), unit="run", disable=None) as bar:
        scan = {kind: [run_once(done, kind, SCAN_SEED, lr, bar) for lr in SCAN_RATES] for kind in KINDS}
        rates = {kind: max(runs, key=lambda run: run["truth_cosine"])["lr"] for kind, runs in scan.items()}
        runs = {kind: [run_once(done, kind, seed, rates[kind], bar) for seed in SEEDS] for kind in KINDS}
    text = "\n".join(report(scan, rates, runs))
    REPORT.write_text(text, encoding="utf-8")
    print(text)


def run_once(done: dict[str, Run], kind: str, seed: int, lr: float, bar: tqdm[Any]) -> Run:
    """Train and measure one dictionary, or give what was kept of it."""
    key = sha256_json([kind, seed, lr, N_LATENTS, K, N_TEST, asdict(PLANTED), asdict(TRAINING)])
    if key not in done:
        done[key] = {"key": key, "kind": kind, "seed": seed, "lr": lr, **measure(kind, seed, lr)}
        KEPT.parent.mkdir(exist_ok=True)
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(canonical_json(done[key]) + "\n")
    bar.update()
    return done[key]


def measure(kind: str, seed: int, lr: float) -> Run:
    """Train on the seed's own truth, and compare with it."""
    planted = Planted(PlantedSettings(**{**asdict(PLANTED), "seed": seed}))
    dictionary = KINDS[kind](seed)
    settings = TrainSettings(**{**asdict(TRAINING), "lr": lr, "seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        for _ in train_dictionary(dictionary, planted, settings, Path(folder) / "checkpoint.safetensors"):
            pass
    W_dec = dictionary.get_parameter("W_dec").detach()
    found = measure_recovery(dictionary, W_dec, planted.directions, planted.test(N_TEST))
    which = (nearest(planted.directions, W_dec).truth_cosine >= RECOVERED).nonzero().flatten().tolist()
    return {**asdict(found), "which": which}


def read_kept() -> dict[str, Run]:
    """Read the runs that an earlier command finished."""
    if not KEPT.is_file():
        return {}
    return {run["key"]: run for line in KEPT.read_text(encoding="utf-8").splitlines() for run in [json.loads(line)]}


def report(scan: Mapping[str, list[Run]], rates: Mapping[str, float], runs: Mapping[str, list[Run]]) -> Iterator[str]:
    """Write the page, line by line."""
    yield f"# Recovery of planted directions, {date.today().isoformat()}"
    yield ""
    yield "Written by `python benchmarks/planted.py`; what the figures mean: `latentese.evaluation.recovery`."
    yield ""
    yield DATA.format(
        data=PLANTED, rarest=Planted(PLANTED).frequencies[-1], n=N_LATENTS, k=K, training=TRAINING, n_test=N_TEST
    )
    yield f"Mean over {len(SEEDS)} seeds, each with a truth of its own; in brackets the least and the largest, a range"
    yield f"that holds the median with a probability of {1 - 2 ** (1 - len(SEEDS)):.0%}, whatever the distribution."
    yield ""
    rows = {name: [spread([run[key] for run in runs[kind]]) for kind in KINDS] for key, name in FIGURES.items()}
    yield from table(KINDS, {**rows, "learning rate": [f"{rates[kind]:g}" for kind in KINDS]})
    yield "Differences, seed by seed:"
    yield ""
    for other in OTHERS:
        yield from compare(other, runs)
    yield ""
    yield f"Learning rates: the best mean best cosine, truth to latents, on seed {SCAN_SEED}, used for nothing else:"
    yield ""
    scanned = {kind: [f"{run['truth_cosine']:.3f}" for run in found] for kind, found in scan.items()}
    yield from table([f"{rate:g}" for rate in SCAN_RATES], scanned)


def table(header: Iterable[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Write a table whose rows have names."""
    names = list(header)
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (1 + len(names)) + "|"
    yield from (f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())
    yield ""


def compare(other: str, runs: Mapping[str, list[Run]]) -> Iterator[str]:
    """Say how much more the one finds than the other, and whether in every seed."""
    pairs = list(zip(runs[OURS], runs[other], strict=True))
    for key in ("recovered", "recovered_rare", "slope", "fvu"):
        differences = [ours[key] - theirs[key] for ours, theirs in pairs]
        yield f"- {FIGURES[key]}, {OURS} minus {other}: {spread(differences, sign='+')}{verdict(differences)}"
    alone = [len(set(ours["which"]) - set(theirs["which"])) / PLANTED.n_directions for ours, theirs in pairs]
    reverse = [len(set(theirs["which"]) - set(ours["which"])) / PLANTED.n_directions for ours, theirs in pairs]
    yield f"- recovered by {OURS} alone {spread(alone)} of all directions, by {other} alone {spread(reverse)}"


def spread(values: list[float], sign: str = "") -> str:
    """Mean, least and largest."""
    mean, low, high = (f"{value:{sign}.3f}" for value in (statistics.fmean(values), min(values), max(values)))
    return f"{mean} [{low}, {high}]"


def verdict(differences: list[float]) -> str:
    """Tell a difference that every seed shows from one that is not clear."""
    if min(differences) > 0 or max(differences) < 0:
        return ": the same sign in every seed"
    return ": not the same sign in every seed"


if __name__ == "__main__":
    main()
