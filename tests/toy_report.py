"""A complete toy study on disk: every artifact the report reads, for two targets of twelve planted units.

Explanations fail, scores are not defined, revisions are accepted and rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from toy_study import CTX_LEN, EDGES, N_BINS, N_CONTEXTS, UNITS, PlantedTarget, ToyContext, toy_contexts

from latentese import schemas
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import correlation_scores
from latentese.records import Explanation, Usage
from latentese.report.inputs import TargetArtifacts
from latentese.store.artifact import Artifact, open_artifact, open_draft
from latentese.store.files import write_json
from latentese.store.tables import write_explanations, write_table


@dataclass(frozen=True)
class Toy:
    """Paths of the whole toy study."""

    contexts: Path
    targets: dict[str, TargetArtifacts]


def build_toy(root: Path) -> Toy:
    """Write every artifact of the toy study under `root`."""
    contexts = toy_contexts()
    path = _write_contexts(contexts, root / "contexts")
    return Toy(path, {name: _write_target(name, contexts, path, root / name) for name in UNITS})


def _write_contexts(contexts: list[ToyContext], out: Path) -> Path:
    token_ids = torch.zeros(len(contexts), CTX_LEN, dtype=torch.int32)
    keep = torch.tensor([context.keep for context in contexts]).to(torch.uint8)
    documents = {context.document: context for context in contexts}
    with open_draft(out, "contexts", {}, {"toy": True}) as draft:
        save_file({"token_ids": token_ids, "keep": keep}, draft.path / "contexts.safetensors")
        rows = [(c.context, c.document, c.source, c.split, c.tokens) for c in contexts]
        write_table(
            pl.DataFrame(rows, schema=schemas.CONTEXTS, orient="row"), schemas.CONTEXTS, draft.path / "contexts.parquet"
        )
        titles = [(d, c.source, f"Document {d}", c.split, f"{d:064d}") for d, c in sorted(documents.items())]
        write_table(
            pl.DataFrame(titles, schema=schemas.DOCUMENTS, orient="row"),
            schemas.DOCUMENTS,
            draft.path / "documents.parquet",
        )
        per_split = {
            split: {"n_contexts": n, "n_tokens": n * 18, "n_documents": n // 2} for split, n in N_CONTEXTS.items()
        }
        draft.publish(
            {"n_contexts": len(contexts), "ctx_len": CTX_LEN, "n_tokens": int(keep.sum()), "splits": per_split}
        )
    return out


def _write_target(name: str, contexts: list[ToyContext], contexts_path: Path, root: Path) -> TargetArtifacts:
    target = PlantedTarget(name, contexts)
    paths = TargetArtifacts(
        examples=root / "examples",
        explanations=root / "explanations",
        scores=root / "scores",
        refined=root / "refined",
        evaluation=root / "evaluation",
        dictionary=root / "dictionary",
    )
    source = {"contexts": open_artifact(contexts_path, "contexts")}
    _write_dictionary(target, paths.dictionary)
    with open_draft(paths.examples, "examples", source, {"target": name, "bands": [0.0, 0.2, 0.4, 0.6]}) as draft:
        write_table(_units_table(target), schemas.UNITS, draft.path / "units.parquet")
        write_table(_examples_table(target), schemas.EXAMPLES, draft.path / "examples.parquet")
        write_table(_pool_table(target), schemas.POOL, draft.path / "pool.parquet")
        draft.publish({"n_units": 2048, "n_live": 1800, "histogram_edges": EDGES, "n_tokens": {"explain": 720}})
    first = [_explanation(target, unit, "token_activation", 0) for unit in target.units]
    tables = [_explanation(target, unit, "token_table", 0) for unit in target.units]
    _write_explained(target, first + tables, paths, source)
    _write_refined(target, first, paths.refined, source)
    with open_draft(paths.evaluation, "evaluation", source, {"target": name}) as draft:
        write_json(_EVALUATION[name], draft.path / "metrics.json")
        draft.publish({})
    return paths


_EVALUATION = {
    "latents": {
        "reconstruction": {"signed": False, "fvu": 0.2134, "l0": 32.0, "dead_share": 0.121, "n_tokens": 60_000},
        "downstream": {
            "kl": {"reconstruction": {"value": 0.314, "low": 0.281, "high": 0.352}},
            "recovered": {"zero": {"value": 0.957, "low": 0.941, "high": 0.968}, "mean": {"value": None, "low": None}},
        },
    },
    "neurons": {
        "reconstruction": {"signed": True, "fvu": 0.0, "l0": 611.3, "n_tokens": 60_000},
        "downstream": {"not_measured": "the reconstruction is exact, so it changes nothing"},
    },
}


_CLASSES = {"latents": "latentese.dictionaries.topk.TopK", "neurons": "latentese.dictionaries.neurons.Neurons"}


def _write_dictionary(target: PlantedTarget, out: Path) -> None:
    steps = range(100, 1100, 100) if target.name == "latents" else []
    rows = [(s, s * 4096, 0.2 + 80 / (s + 60), 32.0, 2048 - s, 0.5, 1e-3) for s in steps]
    with open_draft(out, "dictionary", {}, {"target": target.name, "class": _CLASSES[target.name]}) as draft:
        write_table(
            pl.DataFrame(rows, schema=schemas.TRAIN_LOG, orient="row"),
            schemas.TRAIN_LOG,
            draft.path / "train_log.parquet",
        )
        write_json({"class": "latentese.dictionaries.topk.TopK", "args": {"n_latents": 2048}}, draft.path / "cfg.json")
        draft.publish({})


def _units_table(target: PlantedTarget) -> pl.DataFrame:
    rows: list[tuple[object, ...]] = []
    for draw, unit in enumerate(target.units):
        acts = np.array([act for context in target.of_split("explain") for act in target.acts(unit, context)])
        fires = acts[acts > 0]
        histogram = np.histogram(fires, EDGES)[0].tolist()
        density = len(fires) / 720
        mean = float(fires.mean())
        rows.append((unit, len(fires), density, float(fires.max()), mean, target.threshold, 9, draw, histogram))
    rows += [(unit, 0, 0.0, 0.0, 0.0, target.threshold, 0, None, [0] * N_BINS) for unit in range(2048) if unit % 9 == 1]
    for unit in range(2048):
        if unit % 9 != 1 and unit not in target.units and unit % 4 == 0:
            rows.append(
                (unit, unit, 10 ** -(1.5 + unit % 97 / 40), 3.0, 1.0, target.threshold, 5, 12 + unit, [1] * N_BINS)
            )
    unique = {row[0]: row for row in reversed(rows)}
    return pl.DataFrame([unique[unit] for unit in sorted(unique)], schema=schemas.UNITS, orient="row")


def _sparse(acts: list[float]) -> tuple[list[int], list[float]]:
    positions = [position for position, act in enumerate(acts) if act > 0]
    return positions, [acts[position] for position in positions]


def _examples_table(target: PlantedTarget) -> pl.DataFrame:
    rows = []
    for unit in target.units:
        for split in ("explain", "select", "test"):
            for context, kind in target.examples(unit, split):
                acts = target.acts(unit, context)
                band = 2 if kind == "quantile" else None
                rows.append((unit, context.context, split, kind, band, max(acts), *_sparse(acts)))
    return pl.DataFrame(rows, schema=schemas.EXAMPLES, orient="row")


def _pool_table(target: PlantedTarget) -> pl.DataFrame:
    rows = []
    for unit in target.units:
        for context in target.of_split("explain"):
            positions, acts = _sparse(target.acts(unit, context))
            if acts:
                rows.append((unit, context.context, positions, acts))
    return pl.DataFrame(rows, schema=schemas.POOL, orient="row")


def _explanation(
    target: PlantedTarget, unit: int, explainer: str, revision: int, parent: str | None = None
) -> Explanation:
    concept = target.concept(unit)
    texts = {"token_activation": concept.first, "revision": concept.revised, "re_explanation": concept.first}
    table = tuple((f" {word}", 2.0 - i / 4) for i, word in enumerate(concept.words))
    text = ", ".join(word for word, _ in table[:3]) if explainer == "token_table" else texts[explainer]
    return Explanation(
        explanation=f"{unit}.{explainer}.{revision}",
        unit=unit,
        explainer=explainer,
        revision=revision,
        text=text,
        model="none" if explainer == "token_table" else "Qwen2.5-Coder-1.5B-Instruct",
        prompt_sha256="0" * 64,
        examples=tuple(context.context for context, kind in target.examples(unit, "explain") if kind == "top"),
        table=table if explainer == "token_table" else (),
        parent=parent,
        error=None if text is not None else "the answer holds no explanation: 'I cannot <help> with that'",
        usage=Usage(900, 14),
    )


_SIMULATION = tuple[object, ...]


def _simulate(
    target: PlantedTarget, explanation: Explanation, simulator: str, control: str, split: str
) -> list[_SIMULATION]:
    concept = target.concept(explanation.unit)
    skill = 0.05 if control == "wrong_explanation" else concept.skill + 0.25 * (explanation.explainer == "revision")
    skill = min(skill * (0.8 if simulator == "all_at_once" else 1.0), 1.0)
    rows: list[_SIMULATION] = []
    for i, (context, kind) in enumerate(target.examples(explanation.unit, split)):
        keep = context.keep
        true_acts = [act for act, kept in zip(target.acts(explanation.unit, context), keep, strict=True) if kept]
        failed = i == 1 and (simulator == "all_at_once" or explanation.unit == 204)
        expected = target.expected(explanation.unit, context, skill)
        expected_acts = None if failed else [act for act, kept in zip(expected, keep, strict=True) if kept]
        error = "expected 18 numbers, found 17" if failed else None
        head = (explanation.explanation, explanation.unit, simulator, control, split)
        rows.append((*head, context.context, context.document, kind, true_acts, expected_acts, error))
    return rows


def _simulate_all(target: PlantedTarget, explanations: list[Explanation]) -> pl.DataFrame:
    simulations: list[_SIMULATION] = []
    for explanation in explanations:
        if explanation.text is None:
            continue
        own = ["token_table"] * (explanation.explainer == "token_table")
        for simulator in ["similarity"] + ["all_at_once"] * (target.units.index(explanation.unit) < 5) + own:
            for control in ("none", "wrong_explanation"):
                for split in ("select", "test"):
                    simulations += _simulate(target, explanation, simulator, control, split)
    return pl.DataFrame(simulations, schema=schemas.SIMULATIONS, orient="row")


def _write_scored(target: PlantedTarget, explanations: list[Explanation], path: Path) -> None:
    simulations = _simulate_all(target, explanations)
    scores = correlation_scores(simulations, explanations, Bootstrap(n_boot=100))
    write_table(simulations, schemas.SIMULATIONS, path / "simulations.parquet")
    write_table(scores, schemas.SCORES, path / "scores.parquet")


def _write_explained(
    target: PlantedTarget, explanations: list[Explanation], paths: TargetArtifacts, source: Mapping[str, Artifact]
) -> None:
    failed = sum(explanation.text is None for explanation in explanations)
    with open_draft(paths.explanations, "explanations", source, {"target": target.name}) as draft:
        write_explanations(explanations, draft.path / "explanations.jsonl")
        draft.publish({"n_explained": {"token_activation": 11}, "n_failed": {"token_activation": failed}})
    source = {**source, "explanations": open_artifact(paths.explanations, "explanations")}
    with open_draft(paths.scores, "scores", source, {"target": target.name, "level": 0.9}) as draft:
        _write_scored(target, explanations, draft.path)
        counted = {"all_at_once": {"n_units": 5, "prompt_tokens": 6000}, "similarity": {"n_units": 11}}
        draft.publish({"simulators": counted})


def _write_refined(target: PlantedTarget, first: list[Explanation], out: Path, source: Mapping[str, Artifact]) -> None:
    took_part = [e for e in first if target.concept(e.unit).revised is not None]
    arms = ("revision", "re_explanation")
    children = [_explanation(target, e.unit, arm, 1, e.explanation) for e in took_part for arm in arms]
    decisions = []
    finals = []
    explain = [context.context for context in target.of_split("explain")]
    for parent in first:
        refined = parent in took_part
        accepted = target.concept(parent.unit).accepted
        for arm in ("initial", *arms):
            child = f"{parent.unit}.{arm}.1"
            ends = child if refined and accepted and arm == "revision" else parent.explanation
            finals.append((parent.unit, arm, ends, refined and arm != "initial"))
            if refined and arm != "initial":
                revision = arm == "revision"
                takes = accepted and revision
                why = "better on select" if takes else "not better on select"
                shown = (explain[:2], explain[5:7], [], [], []) if revision else ([], [], explain[10:14], [], [])
                decisions.append(
                    (parent.unit, arm, 1, parent.explanation, child, 0.31, 0.52 if takes else 0.28, takes, why, *shown)
                )
    with open_draft(out, "refined", source, {"target": target.name}) as draft:
        write_explanations(children, draft.path / "explanations.jsonl")
        _write_scored(target, children, draft.path)
        for name, schema, rows in (("decisions", schemas.DECISIONS, decisions), ("finals", schemas.FINALS, finals)):
            df = pl.DataFrame(rows, schema=schema, orient="row")
            write_table(df, schema, draft.path / f"{name}.parquet")
        spent = {"prompt_tokens": 900 * len(took_part), "completion_tokens": 14 * len(took_part)}
        draft.publish({"arms": dict.fromkeys(arms, spent)})
