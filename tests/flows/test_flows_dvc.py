"""dvc.yaml says what the entry points do: modules, outputs and the order of stages."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from flows.graph import read_graph
from flows.paths import ACTIVATIONS, CONTEXTS, REPORT, TIMINGS, of_target

OUTPUT = {
    "train": "dictionary",
    "sample": "examples",
    "explain": "explanations",
    "score": "scores",
    "refine": "refined",
    "evaluate": "evaluation",
}


HARMLESS = {
    *(f"src/latentese/{name}.py" for name in ("errors", "records", "schemas")),
    # What chooses documents and cuts them runs in `tokenize`; the reader of contexts shares a file with their writer.
    # Those who cut or hash texts of their own (sentences, labelled texts) watch these files all the same.
    *(f"src/latentese/corpus/{name}.py" for name in ("cutting", "selection", "source", "splits")),
}
"""Imported by stages that need not run again when it changes: a change that matters changes a schema's version."""


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    with Repo(str(Path(__file__).parents[2])) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


def outs(stage: Any) -> set[str]:
    return {out.def_path for out in stage.outs}


def test_every_stage_runs_a_module_that_exists_and_depends_on_it(root: Path, stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        found = re.fullmatch(r"PYTHONPATH=src python -m flows\.(\w+)( \S+)?", stage.cmd)
        assert found, f"{name}: {stage.cmd}"
        module, word = found.groups()
        assert name == (f"{module}@{word.strip()}" if word else module)
        assert (root / "flows" / f"{module}.py").is_file()
        assert f"flows/{module}.py" in {dep.def_path for dep in stage.deps}


def test_outputs_are_where_the_entry_points_write(stages: dict[str, Any]) -> None:
    assert str(CONTEXTS) in outs(stages["tokenize"])
    assert outs(stages["report"]) == {str(REPORT)}
    for name, stage in stages.items():
        stage_name, _, item = name.partition("@")
        if stage_name == "collect":
            assert str(ACTIVATIONS / item) in outs(stage)
        if stage_name in OUTPUT:
            assert outs(stage) == {str(of_target(item, OUTPUT[stage_name])), str(TIMINGS / f"{name}.json")}


def test_nothing_depends_on_timings(stages: dict[str, Any]) -> None:
    read = {dep.def_path for stage in stages.values() for dep in stage.deps}
    assert not {path for path in read if path.startswith(str(TIMINGS))}


def test_order_respects_dependencies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    order = list(read_graph().upstream)
    assert order[:2] == ["check", "tokenize"]
    assert order[-2:] == ["report", "publish"]
    for target in ("latents", "neurons"):
        mine = [name.partition("@")[0] for name in order if name.endswith(f"@{target}") and "evaluate" not in name]
        assert mine == ["train", "sample", "explain", "score", "refine"]


def test_report_waits_for_every_target(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    upstream = read_graph().upstream["report"]
    for target in ("latents", "neurons"):
        assert {f"refine@{target}", f"evaluate@{target}"} <= set(upstream)


def imported_by(root: Path, module: str) -> set[Path]:
    """Files of the package that a module imports, directly or through others."""
    found: set[Path] = set()
    waiting = [root / "src" / "latentese" / f"{module}.py"]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentese"):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [root / "src" / Path(*str(name).split(".")).with_suffix(".py") for name in names]
                waiting += [path for path in paths if path.is_file()]
    return found


@pytest.mark.parametrize("stage", ["tokenize", "collect", "train", "sample", "explain", "score", "refine", "evaluate"])
def test_stage_depends_on_all_code_it_runs(root: Path, stages: dict[str, Any], stage: str) -> None:
    some = next(found for name, found in stages.items() if name.partition("@")[0] == stage)
    watched = [root / dep.def_path for dep in some.deps]
    package = root / "src" / "latentese"
    # What a configuration names is imported by no stage: any module of a watched room may be built and run.
    built = {file for path in watched if package in path.parents for file in path.rglob("*.py")}
    modules = [f"stages/{stage}", *(str(file.relative_to(package).with_suffix("")) for file in built)]
    missing = {
        str(file.relative_to(root))
        for file in set.union(*(imported_by(root, module) for module in modules))
        if not any(file == path or path in file.parents for path in watched)
    }
    assert missing <= HARMLESS
