"""Every configuration composes and builds; only classes of this package are built; a wrong key is one clear line."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from flows import check, evaluate, explain, refine, report, sample, score, tokenize
from flows.config import Params, build, compose, composed_params, settings
from flows.hydra_plugins.latentese_resolvers import conf_sha256, corpus_path, dictionary_path, local_files
from latentese.dictionaries.formats.load import write_checkpoint
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import LatenteseError, SettingError
from latentese.records import SPLITS
from latentese.subject.settings import CaptureSettings

ROOT = Path(__file__).parents[2]
PLACES = {
    "explainer": "explainer@explainers.{0}",
    "simulator": "simulator@simulators.{0}",
    "scorer": "scorer@scorers.{0}",
    "evaluation": "evaluation@evaluations.{0}",
}
"""Groups of which several choices are used at once, each under its own name."""
NEEDED = {
    "+explainer@explainers.human=human": ["explainers.human.path={tmp}/annotations.jsonl"],
    "lm=scripted": ["lm.path=conf/lm/scripted.jsonl", "~simulator@simulators.all_at_once", "scoring.limits=null"],
    "lm=local": ["lm.lm.source.path=/somewhere"],
    "dictionary=pretrained": ["dictionary.format=sparsify", "dictionary.path={tmp}/sae"],
    "refinement=n2g": ["+explainer@explainers.n2g=n2g", "+simulator@simulators.n2g=n2g"],
    "lm=openai": ["lm.lm.endpoint.model=any", "~simulator@simulators.all_at_once", "scoring.limits=null"],
    "lm=vllm": ["lm.lm.endpoint.model=any"],
    "lm=llamacpp": ["lm.lm.endpoint.model=any"],
    "+simulator@simulators.ensemble=ensemble": ["scoring.limits=null"],
}
"""What a choice cannot know (where your files are), needs beside it, or cannot go with (a script tells
no probabilities)."""

DEFAULTS = "study=demo"
"""An override that changes nothing."""


def choices() -> list[str]:
    """Name the defaults, and every choice that is not one of them."""
    files = [file for file in (ROOT / "conf").glob("*/*.yaml") if file.parent.name != "experiment"]
    places = {file: PLACES.get(file.parent.name, file.parent.name).format(file.stem) for file in files}
    chosen = [each for each in OmegaConf.load(ROOT / "conf" / "config.yaml").defaults if not isinstance(each, str)]
    defaults = {f"{place}={choice}" for each in chosen for place, choice in each.items()}
    others = sorted({f"{place}={file.stem}" for file, place in places.items()} - defaults)
    return [DEFAULTS, *(f"{'+' if '@' in choice else ''}{choice}" for choice in others)]


def params_of(*overrides: str) -> Params:
    return OmegaConf.to_container(OmegaConf.create(compose(overrides)))  # type: ignore[return-value]


def test_committed_params_are_the_composed_defaults(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    committed = subprocess.run(["git", "show", "HEAD:params.yaml"], capture_output=True, text=True, check=True).stdout
    assert committed == compose(), "run `make params` and commit params.yaml"


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml")))
def test_experiments_compose(root: Path, monkeypatch: pytest.MonkeyPatch, experiment: str) -> None:
    monkeypatch.chdir(root)
    assert params_of(f"experiment={experiment}")["study"] == experiment


def test_all_evaluations_are_all_there_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    files = {file.stem for file in (root / "conf" / "evaluation").glob("*.yaml")}
    assert set(params_of("experiment=evaluate_all")["evaluations"]) == files


def test_the_experiment_of_explainers_has_all_that_run_offline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    files = {file.stem for file in (root / "conf" / "explainer").glob("*.yaml")}
    params = params_of("experiment=explainers")
    assert set(params["explainers"]) == files - {"human"}  # a person's file is the person's to name
    assert set(explain.prepare(params, "latents").args[2]) == files - {"human"}  # type: ignore[attr-defined]


def test_files_in_a_list_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("weights")
    group = {"series": [{"compute": 1e18, "source": {"path": str(tmp_path)}}]}
    first = local_files(OmegaConf.create(group))
    (tmp_path / "model.safetensors").write_text("other weights")
    assert len({first, local_files(OmegaConf.create(group)), "none"}) == 3


def test_models_of_any_part_are_noticed_and_a_persons_words_are_not(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("weights")
    judges = OmegaConf.create({"embedding": {"embedder": {"source": {"path": str(tmp_path)}}}})
    human = OmegaConf.create(
        {"human": {"_target_": "latentese.explainers.human.HumanExplainer", "path": str(tmp_path)}}
    )
    nothing = OmegaConf.create({})
    assert local_files(nothing, human) == "none"
    assert local_files(nothing, judges) == local_files(judges, judges) != "none"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["+simulator@simulators.ensemble=ensemble"], r"scoring\.limits\.all_at_once\.splits=\['test'\].*calibrate"),
        (["scoring.limits.all_at_once.explainers=[reeder]"], r"scoring\.limits\.all_at_once\.explainers"),
        (
            ["+scorer@scorers.ablation=ablation", "scorers.ablation.simulators=[nobody]"],
            r"scorers\.ablation\.simulators",
        ),
        (["refinement.simulator=all_at_once"], r"scoring\.limits\.all_at_once\.splits=\['test'\].*select"),
        (
            ["+simulator@simulators.ensemble=ensemble", "scoring.limits=null", "refinement.simulator=ensemble"],
            r"refinement\.simulator='ensemble' is not allowed: a simulator that asks",
        ),
    ],
)
def test_judges_that_cannot_work_stop_before_anything_is_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], named: str
) -> None:
    monkeypatch.chdir(root)
    params = composed_params(overrides)
    with pytest.raises(SettingError, match=named):
        score.prepare(params, "latents")
        refine.prepare(params, "latents")
        check.check_refined(params)


@pytest.mark.parametrize("choice", choices())
def test_every_choice_composes_and_builds(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, choice: str
) -> None:
    monkeypatch.chdir(root)
    (tmp_path / "annotations.jsonl").touch()
    write_checkpoint("sparsify", TopK(576, n_latents=2, k=1, norm="none"), tmp_path / "sae")
    params = params_of(choice, *(needed.format(tmp=tmp_path) for needed in NEEDED.get(choice, [])))
    tokenize.prepare(params)
    report.prepare(params)
    for stage in (sample, explain, score, refine, evaluate):
        stage.prepare(params, "latents")
    build(params["dictionary"], "dictionary", d_model=576)
    settings(TrainSettings, params["training"], "training")
    settings(CaptureSettings, {**params["capture"], "splits": SPLITS}, "capture")


def test_hookpoints_are_those_of_the_targets_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    params = params_of("targets.neurons.hookpoint=layers.12.resid_post", "targets.neurons.splits=[explain,test]")
    assert params["hookpoints"] == {
        "layers-12-resid_post": {
            "hookpoint": "layers.12.resid_post",
            "splits": ["train", "explain", "calibrate", "select", "test"],
        }
    }


def test_token_embeddings_are_read_by_both_targets_of_their_experiment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    params = params_of("experiment=embed")
    assert params["hookpoints"] == {
        "embed": {"hookpoint": "embed", "splits": ["train", "explain", "calibrate", "select", "test"]}
    }
    assert {target["activations"] for target in params["targets"].values()} == {"embed"}
    assert (params["dictionary"]["n_latents"], params["dictionary"]["k"]) == (2048, 16)


def test_conf_hash_sees_every_edit(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("k: 1\n")
    first = conf_sha256(tmp_path)
    (tmp_path / "a.yaml").write_text("k: 2\n")
    second = conf_sha256(tmp_path)
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert len({first, second, conf_sha256(tmp_path)}) == 3


def test_only_own_classes_are_built() -> None:
    with pytest.raises(SettingError, match=r"x\._target_='os\.system' is not allowed"):
        build({"_target_": "os.system", "command": "true"}, "x")


def test_missing_class_is_named() -> None:
    with pytest.raises(SettingError, match="there is no such class"):
        build({"_target_": "latentese.dictionaries.topk.TopQ"}, "dictionary")


@dataclass(frozen=True)
class Toy:
    k: int
    sizes: tuple[int, ...] = ()


def test_settings_are_built_and_lists_become_tuples() -> None:
    assert settings(Toy, {"k": 1, "sizes": [2, 3]}, "toy") == Toy(1, (2, 3))


def test_misspelt_key_names_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"toy\.kk=1 is not allowed: unknown key; known are k, sizes"):
        settings(Toy, {"kk": 1}, "toy")


def test_missing_key_is_one_line() -> None:
    with pytest.raises(LatenteseError, match=r"^toy: .*missing 1 required positional argument: 'k'$"):
        settings(Toy, {}, "toy")


@pytest.mark.parametrize(("override", "named"), [("subject=nobody", "nobody"), ("experiment=null", "NoneType")])
def test_a_choice_that_a_group_does_not_have_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, override: str, named: str
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(LatenteseError, match=rf"^configuration: .*{named}") as raised:
        compose([override])
    assert "\n" not in str(raised.value)


def test_target_names_that_cannot_be_folders_are_refused() -> None:
    target = {"splits": ["explain", "select", "test"]}
    with pytest.raises(SettingError, match="targets='a/b' is not allowed"):
        check.check_targets({"targets": {"a/b": target}})
    with pytest.raises(SettingError, match=r"targets\.a\.splits=\['train'\] is not allowed"):
        check.check_targets({"targets": {"a": {"splits": ["train"]}}})


def test_experiment_layers_has_every_kind_of_unit_at_three_layers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    params = params_of("experiment=layers")
    kinds: dict[str, set[str]] = {}
    for name, target in params["targets"].items():
        kinds.setdefault(target["dictionary"]["_target_"].rpartition(".")[2], set()).add(
            target["hookpoint"].split(".")[1]
        )
        trained = target["dictionary"]["_target_"].rpartition(".")[2] in ("TopK", "PCA")
        assert ("train" in target["splits"]) == trained, name
    three = {"4", "12", "22"}
    assert kinds == {"TopK": three, "Neurons": three, "PCA": three, "RandomDirections": three}
    assert len(params["hookpoints"]) == 6, "targets with one hookpoint share its activations"


def test_a_path_in_the_home_folder_is_watched_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.safetensors").write_text("weights")
    short, whole = (OmegaConf.create({"path": path}) for path in ("~", str(tmp_path)))
    assert local_files(short) == local_files(whole) != "none"
    folder = OmegaConf.create({"mine": {"source": {"path": "~/texts"}}})
    assert corpus_path(folder) == dictionary_path(OmegaConf.create({"path": "~/texts"})) == str(tmp_path / "texts")


@pytest.mark.parametrize(
    ("device", "named"), [("capture.device", "nowhere"), ("lm.lm.device", "cuda:99"), ("training.device", "meta")]
)
def test_a_device_that_is_not_here_stops_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, device: str, named: str
) -> None:
    monkeypatch.chdir(root)
    check.check_devices(composed_params([]))
    with pytest.raises(SettingError, match=rf"^{device}='{named}' is not allowed: a device that torch finds here"):
        check.check_devices(composed_params([f"{device}='{named}'"]))
