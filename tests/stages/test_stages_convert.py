"""Import and export, by function and by command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentese.dictionaries import checkpoints
from latentese.dictionaries.formats.load import write_checkpoint
from latentese.dictionaries.pretrained import Pretrained
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.schemas import TRAIN_LOG
from latentese.stages.convert import export_dictionary, import_checkpoint
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint("sparsify", TopK(6, 10, 3, norm="none"), tmp_path / "sae")
    return tmp_path / "sae"


def convert(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.convert", *words]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_import_is_an_artifact_that_says_what_it_means(tmp_path, checkpoint):
    meaning = import_checkpoint("sparsify", checkpoint, tmp_path / "out" / "dictionary")
    artifact = open_artifact(tmp_path / "out" / "dictionary", "dictionary")
    assert artifact.manifest.counts == {"n_units": 10, "d_model": 6, "n_steps": 0}
    said = json.loads(artifact.file("meaning.json").read_text())
    assert said == json.loads(json.dumps(vars(meaning)))
    assert said["bias"].startswith("b_dec is subtracted")
    assert read_table(artifact.file("train_log.parquet"), TRAIN_LOG).height == 0
    assert isinstance(checkpoints.load(artifact.path), Pretrained)


def test_the_same_checkpoint_gives_the_same_bytes_wherever_it_lies(tmp_path, checkpoint):
    (tmp_path / "elsewhere").mkdir()
    copy = checkpoint.rename(tmp_path / "elsewhere" / "sae")
    import_checkpoint("sparsify", copy, tmp_path / "one")
    import_checkpoint("sparsify", copy.rename(checkpoint), tmp_path / "two")
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()


@pytest.mark.parametrize("format", ["sae_lens", "sparsify", "dictionary_learning"])
def test_there_and_back_again(tmp_path, checkpoint, format):
    import_checkpoint("sparsify", checkpoint, tmp_path / "dictionary")
    export_dictionary(format, tmp_path / "dictionary", tmp_path / format)
    import_checkpoint(format, tmp_path / format, tmp_path / "again")
    acts = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    one, other = checkpoints.load(tmp_path / "dictionary"), checkpoints.load(tmp_path / "again")
    assert torch.equal(one.decode(one.encode(acts)), other.decode(other.encode(acts)))


def test_nothing_is_written_over(tmp_path, checkpoint):
    (tmp_path / "there").mkdir()
    with pytest.raises(ArtifactError, match="/there: exists already"):
        import_checkpoint("sparsify", checkpoint, tmp_path / "there")
    with pytest.raises(ArtifactError, match="/there: exists already"):
        export_dictionary("sparsify", checkpoint, tmp_path / "there")


def test_a_refused_export_leaves_nothing(tmp_path, checkpoint):
    import_checkpoint("sparsify", checkpoint, tmp_path / "dictionary")
    with pytest.raises(SettingError, match="format='openai' is not allowed"):
        export_dictionary("openai", tmp_path / "dictionary", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == []


def test_the_command_imports_and_says_what_it_understood(tmp_path, checkpoint):
    done = convert("import", "sparsify", str(checkpoint), str(tmp_path / "dictionary"))
    assert done.returncode == 0, done.stderr
    assert "norm          none: activations are read as they are" in done.stdout
    done = convert("export", "sae_lens", str(tmp_path / "dictionary"), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"cfg.json", "sae_weights.safetensors"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "error: usage: python -m flows.convert import|export FORMAT PATH OUT"),
        (("import", "sparsify"), "error: usage: python -m flows.convert import|export FORMAT PATH OUT"),
        (("import", "gguf", "a", "b"), "error: format='gguf' is not allowed: one of sae_lens, sparsify"),
        (("export", "sparsify", "nothing", "b"), "error: nothing/manifest.json: missing"),
    ],
)
def test_a_mistake_is_one_line(words, line):
    done = convert(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
