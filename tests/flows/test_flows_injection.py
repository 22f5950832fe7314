"""Every configured explainer, simulator and scorer beside a hostile unit: answers are what they are without it.

A file that is added to one of these groups of conf/ is tried as it is, with a tiny model in the place of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_study import HOSTILE
from tiny_models import make_tiny_llama, make_tokenizer
from toy_units import make_context, make_example, make_explanation
from transformers import BertConfig, BertModel

from flows.config import Params, build_once, composed_params
from latentese.records import Context, Example, Explanation, Simulation, Unit

ROOT = Path(__file__).parents[2]
UNIT = Unit(1, 0.1, 4.0, 4.0, 0.0)
TEXTS = ("the old river ran home", "a mill by the river bank", "no water in the bucket", "they went home by boat")
EACH_HOSTILE = pytest.mark.parametrize(
    "hostile", ["".join(list(HOSTILE.values())[i::3]) for i in range(3)], ids=range(3)
)
"""Every third hostile text in one token: each is tried alone where prompts are written."""


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_tiny_llama(folder / "lm", max_position_embeddings=8192, initializer_range=0.2)
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.2, **shape)).save_pretrained(
        folder / "embedder"
    )
    tokenizer.save_pretrained(folder / "embedder")
    return folder


Part = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def parts(models: Path) -> Part:
    """Build a part of a group, with answers of its own each time: a kept answer would prove nothing."""
    n_built = iter(range(10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        used = composed_params([])

    @cache
    def composed(choice: str) -> Params:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            return composed_params([choice, "lm=local", f"lm.lm.source.path={models / 'lm'}"])

    def build(group: str, name: str) -> Any:
        plus = "" if name in used.get(f"{group}s", {}) else "+"  # what config.yaml uses is overridden, not added
        params = composed(f"{plus}{group}@{group}s.{name}={name}")
        answers = str(models / f"answers{next(n_built)}.sqlite")
        part = build_once(_at_hand(params[f"{group}s"][name], models, answers), name)
        if hasattr(part, "with_reader") or hasattr(part, "for_target"):
            pytest.skip(f"{name} runs the subject or reads what a person wrote, and asks no model about texts")
        return part

    return build


def _at_hand(spec: Any, models: Path, answers: str) -> Any:
    """Put models at hand in the place of packaged ones, and another file of answers."""
    if not isinstance(spec, Mapping):
        return spec
    target = str(spec.get("_target_", ""))
    for kind, folder in (("MeanPoolEmbedder", "embedder"), ("LocalLM", "lm")):
        if target.endswith(kind):
            return {**spec, "source": {"_target_": "latentese.weights.local.LocalModel", "path": str(models / folder)}}
    if target.endswith("HumanExplainer"):
        (models / "annotations.jsonl").touch()
        return {**spec, "path": str(models / "annotations.jsonl")}
    given = {"path": answers} if target.startswith("latentese.lm.cached.") else {}
    return {key: _at_hand(value, models, answers) for key, value in spec.items()} | given


def gather(*questions: Awaitable[Any]) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*questions)

    return asyncio.run(all_at_once())


def benign_examples() -> list[Example]:
    kinds = ("top", "top", "random", "near_miss")
    return [
        make_example(make_context(i, text, "explain"), {"river"}, kind)  # type: ignore[arg-type]
        for i, (text, kind) in enumerate(zip(TEXTS, kinds, strict=True))
    ]


def hostile_context(number: int, hostile: str) -> Context:
    context = make_context(number, TEXTS[0], "explain")
    tokens = (*context.tokens[:2], hostile, *context.tokens[2:], hostile)
    return Context(number, tokens, (False, *[True] * (len(tokens) - 1)), number, "toy", "explain")


def hostile_examples(hostile: str) -> list[Example]:
    contexts = [hostile_context(10 + i, hostile) for i in range(2)]
    firing = [
        Example(2, context, "top", (0.0, 0.0, 4.0, *[0.0] * 4, 3.0)[: len(context.tokens)]) for context in contexts
    ]
    silent = [Example(2, hostile_context(20, hostile), "random", (0.0,) * 8)]
    return [
        replace(e, acts=(*e.acts, *[0.0] * len(e.context.tokens))[: len(e.context.tokens)]) for e in firing + silent
    ]


def explained(text: str, unit: int, token: str) -> Explanation:
    """Words and a table, so that every simulator can read it."""
    return make_explanation(text, unit, table=((token, 2.0), (" home", 1.0)))


@EACH_HOSTILE
@pytest.mark.parametrize("name", names("explainer"))
def test_an_explainer_says_the_same_of_a_unit_beside_a_hostile_one(parts: Part, name: str, hostile: str) -> None:
    other = replace(UNIT, unit=2)
    [alone] = gather(parts("explainer", name).explain(UNIT, benign_examples()))
    beside = parts("explainer", name)
    together, harmful = gather(
        beside.explain(UNIT, benign_examples()), beside.explain(other, hostile_examples(hostile))
    )
    assert together == alone
    assert (harmful.unit, harmful.explainer) == (2, name)
    assert (harmful.text is None) == (harmful.error is not None)
    assert "\n" not in (harmful.text or "")


@EACH_HOSTILE
@pytest.mark.parametrize("name", names("simulator"))
def test_a_simulator_expects_the_same_beside_a_hostile_explanation(parts: Part, name: str, hostile: str) -> None:
    contexts = [example.context for example in benign_examples()[:2]]
    good, bad = explained("the river", 1, " river"), explained(f"rivers {hostile} everything", 2, hostile)
    simulator, beside = parts("simulator", name), parts("simulator", name)
    if not simulator.reads(good):
        pytest.skip(f"{name} reads neither words nor tables")
    [alone] = gather(simulator.simulate(good, contexts))
    harmful_contexts = [hostile_context(10, hostile), *contexts]
    together, harmful = gather(beside.simulate(good, contexts), beside.simulate(bad, harmful_contexts))
    assert together == alone
    _check_simulations(harmful, harmful_contexts)


def _check_simulations(simulations: Sequence[Simulation], contexts: Sequence[Context]) -> None:
    """One number per token, or a reason why there is none."""
    assert [simulation.context for simulation in simulations] == [context.context for context in contexts]
    for simulation, context in zip(simulations, contexts, strict=True):
        if simulation.expected is None:
            assert simulation.error
        else:
            assert len(simulation.expected) == len(context.tokens)


@EACH_HOSTILE
@pytest.mark.parametrize("name", names("scorer"))
def test_a_scorer_judges_the_same_beside_a_hostile_unit(parts: Part, name: str, hostile: str) -> None:
    good, bad = explained("the river", 1, " river"), explained(f"rivers {hostile} everything", 2, hostile)
    scorer, beside = parts("scorer", name), parts("scorer", name)
    ours, theirs = scorer.choose(benign_examples()), scorer.choose(hostile_examples(hostile))
    [alone] = gather(scorer.judge(good, ours))
    together, harmful = gather(beside.judge(good, ours), beside.judge(bad, theirs))
    assert together == alone
    assert [verdict.context for verdict in harmful] == [example.context.context for example in theirs]
    assert all((verdict.answer is None) == (verdict.error is not None) for verdict in harmful)
