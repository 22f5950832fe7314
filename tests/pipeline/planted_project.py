"""A copy of this project whose configuration is the planted model, its text and scripted explanations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from planted import CLASSES, write_model, write_text
from tiny_models import make_tiny_llama

from flows.checkout import copy_checkout
from flows.paths import COPY_MARK

EXPERIMENT = """\
# @package _global_
defaults:
  - override /subject: folder
  - override /corpus: folder
  - override /lm: scripted
  - override /training: smoke
  - override /examples: smoke
  - override /scoring: smoke
  - override /refinement: smoke
  - override /simulator@simulators.all_at_once: null

study: planted
subject: {{path: {model}}}
corpus: {{folder: {{source: {{path: {text}}}}}}}
lm: {{path: {script}}}
contexts:
  ctx_len: 32
  min_tokens: 4
  n_tokens: {{train: 4000, explain: 3000, calibrate: 300, select: 1500, test: 1500}}
  split_shares: {{train: 0.4, explain: 0.25, calibrate: 0.05, select: 0.15, test: 0.15}}
capture: {{dtype: float32, batch_contexts: 4, shard_tokens: 500}}
targets:
  latents: {{hookpoint: layers.0.resid_post}}
  neurons: {{hookpoint: layers.0.mlp_act}}
dictionary: {{n_latents: 24, k: 2}}
training: {{n_tokens: 24000, batch_tokens: 128, checkpoint_tokens: 1280, lr: 0.003, buffer_tokens: 1024}}
examples: {{quantile: 0.965, n_pool_contexts: 64, n_top: 8, n_random: 10}}
explaining: {{n_units: 10}}
scoring: {{limits: null}}
refinement: {{simulator: token_table, settings: {{explainer: token_table, threshold: 0.9}}}}
report: {{primary_explainer: token_table, primary_simulator: token_table}}
tracking: {{uri: sqlite:///tracking/mlflow.db}}
engine: {{max_workers: 2, threads: 1}}
"""


@dataclass(frozen=True)
class Project:
    """The copy, and how commands are run in it."""

    root: Path
    environment: Mapping[str, str]

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command in the copy, expect an exit code, and return everything it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def python(self, *words: str, code: int = 0) -> str:
        """Run a Python module of the copy."""
        return self.run(sys.executable, "-m", *words, code=code)

    def dvc(self, *words: str, code: int = 0) -> str:
        """Run DVC in the copy."""
        return self.python("dvc", *words, code=code)


def make_project(source: Path, folder: Path, prefect_api: str) -> Project:
    """Copy the project and write the planted experiment into its conf/; flows report to the server at `prefect_api`."""
    root = copy_checkout(source, folder / "project")
    text, model = write_text(folder / "text"), write_model(folder / "model")
    script, tiny = folder / "script.jsonl", make_tiny_llama(folder / "tiny", max_position_embeddings=4096)
    assert tiny.is_dir()
    script.write_text("".join(f"{line}\n" for line in _script()), encoding="utf-8")
    (root / ".dvc" / "config.local").unlink()  # a cache of its own, and answers
    (root / COPY_MARK).write_text("")
    experiment = EXPERIMENT.format(model=model, text=text, script=script)
    (root / "conf" / "experiment" / "planted.yaml").write_text(experiment, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    environment |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": prefect_api,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
    project = Project(root, environment)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "planted project")
    return project


def _script() -> list[str]:
    """Answer by a planted word among the marked ones; the revision's answers come from the same lines."""
    rules = [{"match": f"<<{word}>>", "answer": name} for name, words in CLASSES.items() for word in words]
    return [json.dumps(rule) for rule in [*rules, {"match": "", "answer": "no planted word"}]]
