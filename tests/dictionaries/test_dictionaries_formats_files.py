"""Nothing that is read is run, and what cannot be read is one line."""

import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentese.dictionaries.formats.files import read_cfg, read_pt, read_safetensors
from latentese.errors import ArtifactError


class Malicious:
    """Its pickle makes a folder when it is loaded: what a checkpoint of a stranger could do to you."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def write_bare_pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def write_torch_file(path: Path, value: object) -> None:
    torch.save(value, path)


def write_old_torch_file(path: Path, value: object) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def test_the_malicious_file_would_run_if_it_were_unpickled(tmp_path):
    write_bare_pickle(tmp_path / "bad.pt", Malicious(tmp_path / "ran"))
    pickle.loads((tmp_path / "bad.pt").read_bytes())
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("write", [write_bare_pickle, write_torch_file, write_old_torch_file])
@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"encoder.weight": torch.zeros(2), "k": bad}])
def test_a_malicious_file_is_refused_and_not_run(tmp_path, write, wrap):
    path = tmp_path / "ae.pt"
    write(path, wrap(Malicious(tmp_path / "ran")))
    with pytest.raises(ArtifactError, match=rf"^{re.escape(str(path))}: refused: .* can run code") as error:
        read_pt(path)
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(error.value)


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "ae.pt")
    with pytest.raises(ArtifactError, match="refused"):
        read_pt(tmp_path / "ae.pt")


def test_a_pt_file_gives_tensors_and_plain_values(tmp_path):
    torch.save({"b": torch.ones(2), "activation": "TopK", "inner": {"k": 3}}, tmp_path / "ae.pt")
    tensors, values = read_pt(tmp_path / "ae.pt")
    assert torch.equal(tensors.take("b", 2), torch.ones(2))
    assert values == {"activation": "TopK", "inner": {"k": 3}}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    for read in (read_pt, read_safetensors):
        with pytest.raises(ArtifactError, match=r"/x: (not a readable|refused)") as error:
            read(tmp_path / "x")
        assert "\n" not in str(error.value)


def test_a_cut_off_file_is_one_line(tmp_path):
    torch.save({"b": torch.randn(1000)}, tmp_path / "ae.pt")
    (tmp_path / "ae.pt").write_bytes((tmp_path / "ae.pt").read_bytes()[:2000])
    with pytest.raises(ArtifactError, match=r"not a readable \.pt file") as error:
        read_pt(tmp_path / "ae.pt")
    assert "\n" not in str(error.value)


def test_a_zip_of_something_else_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "ae.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(ArtifactError, match=r"not a readable \.pt file"):
        read_pt(tmp_path / "ae.pt")


@pytest.mark.parametrize("value", [torch.ones(2), [torch.ones(2)], {3: torch.ones(2)}])
def test_a_pt_file_without_names_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "ae.pt")
    with pytest.raises(ArtifactError, match="expected a mapping of names to tensors"):
        read_pt(tmp_path / "ae.pt")


@pytest.mark.parametrize("read", [read_cfg, read_safetensors, read_pt])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(ArtifactError, match="/nothing: no such file"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize(("text", "problem"), [("{", "not JSON"), ("[1]", "expected a JSON object, found list")])
def test_a_configuration_that_is_none_is_one_line(tmp_path, text, problem):
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(ArtifactError, match=problem):
        read_cfg(tmp_path / "cfg.json")


@pytest.fixture
def tensors(tmp_path):
    stored = {"W": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.tensor([1.0, float("nan")]), "c": torch.ones(2)}
    save_file(stored, tmp_path / "sae.safetensors")
    return read_safetensors(tmp_path / "sae.safetensors")


def test_tensors_are_taken_as_fp32_and_their_types_remembered(tensors):
    assert tensors.take("W", None, 3).dtype == torch.float32
    assert tensors.dtype == "bfloat16, float32"


def test_another_shape_is_one_line(tensors):
    with pytest.raises(ArtifactError, match=r"'W' has shape \[2, 3\], expected \['any', 4\]"):
        tensors.take("W", None, 4)


def test_another_number_of_dimensions_is_one_line(tensors):
    with pytest.raises(ArtifactError, match=r"'W' has shape \[2, 3\], expected \[6\]"):
        tensors.take("W", 6)


def test_a_missing_tensor_names_those_there_are(tensors):
    with pytest.raises(ArtifactError, match="holds no tensor 'W_skip'; there are W, b, c"):
        tensors.take("W_skip", 1)


def test_values_that_are_not_numbers_are_refused(tensors):
    with pytest.raises(ArtifactError, match="'b' holds NaN or infinite values"):
        tensors.take("b", 2)


def test_what_nobody_took_is_refused(tensors):
    tensors.take("c", 2)
    tensors.drop(["b", "never there"])
    with pytest.raises(ArtifactError, match=r"meaning unknown to this format: W$"):
        tensors.finish()
