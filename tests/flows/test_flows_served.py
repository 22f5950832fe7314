"""A served model in the configuration: probed before a run, estimated before it is asked, and its cost reported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from rich.console import Console
from scored_study import write_study
from served_models import Rule, ask

from flows import config, estimate, explain, refine, score
from flows.check import check_language_models
from flows.config import build_once, composed_params
from flows.hydra_plugins.latentese_resolvers import local_files
from flows.publish import flat_metrics
from flows.spending import language_model_spending
from latentese.errors import LatenteseError, SettingError
from latentese.lm.dry import Estimate
from latentese.lm.protocol import Reply, Request
from latentese.lm.testing.models import Completed
from latentese.lm.testing.server import LoopbackServer, Served
from latentese.records import Usage

PRICES = [{"model": "toy", "prompt": 1_000_000.0, "completion": 2_000_000.0}]
NEXT_TOKEN = {"_target_": "latentese.lm.marks.NextToken", "n_logprobs": 128}


def lm_spec(base_url: str, folder: Path, **other: object) -> dict[str, Any]:
    kind = "LM" if other else "Chat"
    return {
        "_target_": f"latentese.lm.cached.Cached{kind}",
        "path": str(folder / "answers.sqlite"),
        "lm": {
            "_target_": f"latentese.lm.served.Served{kind}",
            "endpoint": {"_target_": "latentese.lm.endpoint.Endpoint", "base_url": base_url, "model": "toy"},
            "wire": {"_target_": "latentese.lm.wire.ChatWire", "prefix_fields": {}},
            "budget": {
                "_target_": "latentese.lm.budget.Budget",
                "path": str(folder / "answers.sqlite"),
                "prices": PRICES,
            },
            **other,
        },
    }


@dataclass(frozen=True)
class Hasher:
    """Answers every question with words of its own."""

    name: str = "hasher"

    async def complete(self, request: Request) -> Reply:
        asked = "".join(message.content for message in request.messages)
        return Reply(f" word {sha256(asked.encode()).hexdigest()[:8]}", Usage(9, 3), "stop")


class Bytes:
    """A model whose tokens are ASCII characters, the next one as likely as any."""

    def complete(self, prompt: str | Sequence[int], max_tokens: int) -> Completed:
        ids = tuple(str(prompt).encode("ascii", "replace"))
        logprobs = np.log(np.random.default_rng(len(ids)).dirichlet(np.ones(128), len(ids) + 1))
        return Completed(ids, (48,) * max_tokens, "0", "length", logprobs)

    def text_of(self, token: int) -> str:
        return chr(token)


def place_study(project: Path) -> None:
    """Put the contexts and examples of a small study where the stages of a project look for them."""
    study = write_study(project / "study")
    (project / "artifacts" / "targets" / "toy").mkdir(parents=True)
    (project / "artifacts" / "contexts").symlink_to(study.contexts)
    (project / "artifacts" / "targets" / "toy" / "examples").symlink_to(study.examples)


def study_params(lm: dict[str, Any], simulates: dict[str, Any] | None = None) -> dict[str, Any]:
    """Parameters of a small study in which the language model explains, revises and, if no other does, simulates."""
    explainer = {"_target_": "latentese.explainers.token_activation.TokenActivationExplainer", "chat": lm}
    simulator = {"_target_": "latentese.simulators.all_at_once.AllAtOnceSimulator", "marker": simulates or lm}
    return {
        "lm": lm,
        "subject": {"_target_": "latentese.weights.local.LocalModel", "path": "nowhere"},  # read by nothing here
        "capture": {"dtype": "float32", "device": "cpu"},
        "targets": {"toy": {"hookpoint": "layers.0.resid_post"}},
        "explaining": {"n_units": 3},
        "explainers": {"token_activation": explainer},
        "simulators": {"all_at_once": simulator},
        "scorers": {},
        "scoring": {"splits": ["select", "test"], "limits": {"all_at_once": {"n_contexts": 4}}, "n_boot": 10},
        "refinement": {
            "settings": {
                "explainer": "token_activation",
                "n_rounds": 2,
                "patience": 1,
                "n_candidates": 6,
                "n_boot": 10,
            },
            "simulator": "all_at_once",
            "arms": {"revision": {"_target_": "latentese.refinement.revise.Reviser", "chat": lm}},
        },
    }


def test_the_check_stage_probes_every_served_model(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        check_language_models({"lm": lm_spec(server.base_url, tmp_path), "other": {"lm": 1}})
        assert [seen.path for seen in server.seen] == ["/v1/models"]
    with pytest.raises(SettingError, match="a server that answers"):
        check_language_models({"lm": lm_spec(server.base_url, tmp_path)})


def test_what_a_run_spent_becomes_metrics(tmp_path: Path) -> None:
    with LoopbackServer(Served(chat=Rule())) as server:
        params = {"lm": lm_spec(server.base_url, tmp_path)}
        asyncio.run(build_once(params["lm"], "lm").complete(ask("river")))
    metrics = dict(flat_metrics(language_model_spending(params)))
    expected = {
        "lm/n_requests": 1, "lm/n_cached": 0, "lm/n_failed": 0, "lm/prompt_tokens": 7, "lm/completion_tokens": 2,
        "lm/n_attempts": 1, "lm/n_failed_attempts": 0, "lm/charged_prompt_tokens": 7,
        "lm/charged_completion_tokens": 2, "lm/money": 11.0,
    }  # fmt: skip
    assert metrics == expected


def test_paths_of_answers_and_costs_are_under_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parents[2])
    lm = composed_params(
        ["lm=openai", "lm.lm.endpoint.model=any", "~simulator@simulators.all_at_once", "scoring.limits=null"]
    )["lm"]
    assert lm["path"] == lm["lm"]["budget"]["path"] == str(tmp_path / ".cache" / "answers.sqlite")


NO_PROBABILITIES = ("~simulator@simulators.all_at_once", "scoring.limits=null")
BY_ID = "++lm.lm.marks={_target_: latentese.lm.marks.NextToken, ids_field: logprob_token_ids}"
TOKENIZER = "tokenizer: {_target_: latentese.weights.hub.HubModel, id: Qwen/Qwen2.5-7B-Instruct, revision: main}"
TOKENS = f"++lm.lm.prompts={{_target_: latentese.lm.prompts.TokenPrompts, {TOKENIZER}}}"
RENAMED = "++lm.lm.wire.renamed={max_tokens: max_completion_tokens, temperature: null, stop: null}"
HOSTED = (
    "lm=openai", "lm.lm.endpoint.base_url=https://api.openai.com/v1", "lm.lm.endpoint.model=gpt-4o-mini",
    "lm.lm.endpoint.key_env=OPENAI_API_KEY", "lm.lm.budget.max_money=5",
)  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        (*HOSTED, "lm.lm.endpoint.allow_remote=true", *NO_PROBABILITIES),
        (*HOSTED, "lm.lm.endpoint.allow_remote=true", RENAMED, *NO_PROBABILITIES),
        ("lm=openai", "lm.lm.endpoint.model=any", "lm.lm.wire.prefix_fields={}", *NO_PROBABILITIES),
        ("lm=vllm", "lm.lm.endpoint.model=any", TOKENS),
        ("lm=vllm", "lm.lm.endpoint.model=any", TOKENS, BY_ID),
        ("lm=llamacpp", "lm.lm.endpoint.model=any", "lm.lm.limits.n_concurrent=2"),
    ],
)
def test_the_commands_that_conf_shows_build(
    command: tuple[str, ...], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    params = composed_params(command)
    for stage in (explain, score, refine):
        stage.prepare(params, "latents")
    assert "sk-secret" not in str(params)


def test_a_configuration_that_would_send_text_away_stops_before_it_does(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    with pytest.raises(
        SettingError, match=r"allow_remote=False .* to https://api\.openai\.com/v1 .*; nothing was sent"
    ):
        explain.prepare(composed_params([*HOSTED, *NO_PROBABILITIES]), "latents")


def test_a_chat_model_is_refused_where_probabilities_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(SettingError, match="a language model that tells probabilities"):
        score.prepare(composed_params(["lm=openai", "lm.lm.endpoint.model=any"]), "latents")


def test_a_file_that_runs_write_does_not_make_results_stale(tmp_path: Path) -> None:
    spec = OmegaConf.create(lm_spec("http://127.0.0.1:1/v1", tmp_path))
    (tmp_path / "answers.sqlite").write_text("x")
    assert local_files(spec) == "none"


def test_an_estimate_is_what_is_asked_then_and_nothing_is_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    served = Served(chat=Hasher(), completions=Bytes(), offers=("logprobs",))

    def estimated(params: dict[str, Any], scratch: str) -> dict[str, Estimate]:
        monkeypatch.setattr(config, "_built_once", {})
        return dict(estimate.estimate(estimate.dry_params(params), tmp_path / scratch))

    with LoopbackServer(served) as server:
        lm = lm_spec(server.base_url, tmp_path, marks=NEXT_TOKEN)
        params = study_params(lm, simulates={**lm, "path": str(tmp_path / "other.sqlite")})
        before = estimated(params, "before")
        assert server.seen == []
        monkeypatch.setattr(config, "_built_once", {})
        asked = {}
        for name, stage in (("explain", explain), ("score", score), ("refine", refine)):
            n_seen = len(server.seen)
            stage.prepare(params, "toy")()
            asked[f"{name}@toy"] = len(server.seen) - n_seen
        after = estimated(params, "after")
    assert before["explain@toy"].n_requests == asked["explain@toy"] == 3
    assert before["score@toy"].n_requests == asked["score@toy"] > 50
    # What refine asks depends on the answers: other contexts are mined, and a unit may be given up early.
    assert asked["refine@toy"] <= before["refine@toy"].n_requests <= 2 * asked["refine@toy"]
    assert [after[f"{name}@toy"].n_requests for name in ("explain", "score")] == [0, 0]
    assert after["explain@toy"].n_kept == 3
    printed = StringIO()
    Console(file=printed, width=120).print(estimate.table(before, "USD"))
    assert f"{before['explain@toy'].money:.4f}" in printed.getvalue()
    assert "cost USD" in printed.getvalue()


def test_an_estimate_counts_questions_and_drafts_and_runs_nothing_that_asks_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    served = Served(chat=Hasher(), completions=Bytes(), offers=("logprobs",))
    counts = {"_target_": "latentese.scorers.choice.KindCounts", "top": 3, "quantile": 1, "random": 2, "near_miss": 0}
    with LoopbackServer(served) as server:
        lm = lm_spec(server.base_url, tmp_path, marks=NEXT_TOKEN)
        params = study_params(lm)
        first = {**params["explainers"]["token_activation"], "temperature": 1.0, "name": "drafts"}
        params["explainers"]["best_of_3"] = {
            "_target_": "latentese.explainers.best_of_n.BestOfN",
            "name": "best_of_3",
            "n": 3,
            "explainer": first,
            "simulator": params["simulators"]["all_at_once"],
        }
        for kind, name in (("detection", "DetectionScorer"), ("fuzzing", "FuzzingScorer")):
            target = f"latentese.scorers.{kind}.{name}"
            params["scorers"][kind] = {"_target_": target, "name": kind, "lm": lm, "examples": counts}
        asking = {key: dict(params[key]) for key in ("explainers", "scorers")}
        # Both would load the subject, which is nowhere.
        params["explainers"]["n2g"] = {"_target_": "latentese.explainers.n2g.N2GExplainer", "name": "n2g"}
        params["scorers"]["ablation"] = {"_target_": "latentese.scorers.ablation.AblationScorer", "simulators": []}
        only = {"explainers": ["token_activation", "best_of_3"]}
        limits = dict.fromkeys(("all_at_once", "detection", "fuzzing", "ablation"), only)
        params["scoring"] = {**params["scoring"], "limits": limits}
        monkeypatch.setattr(config, "_built_once", {})
        before = dict(estimate.estimate(estimate.dry_params(params), tmp_path / "before"))
        assert server.seen == []
        limits.pop("ablation")
        monkeypatch.setattr(config, "_built_once", {})
        for name, stage in (("explain", explain), ("score", score)):
            n_seen = len(server.seen)
            stage.prepare(params | asking, "toy")()
            # Drafts that come out alike are judged once, guesses never are alike; so rather too many are foretold.
            assert before[f"{name}@toy"].n_requests >= len(server.seen) - n_seen > 100


def test_an_estimate_needs_examples_and_a_model_that_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = study_params(lm_spec("http://127.0.0.1:1/v1", tmp_path, marks=NEXT_TOKEN))
    with pytest.raises(LatenteseError, match="run `dvc repro sample` first"):
        dict(estimate.estimate(estimate.dry_params(params), tmp_path))
    with pytest.raises(LatenteseError, match="nothing to estimate"):
        estimate.dry_params(params | {"lm": {"_target_": "latentese.lm.scripted.ScriptedChat"}})
