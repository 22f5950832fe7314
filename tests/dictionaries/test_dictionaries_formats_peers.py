"""Against the real libraries: their checkpoints read here, and ours read there, encode and reconstruct the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from foreign_checkpoints import dense, recon
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats.load import WRITABLE, read_checkpoint, write_checkpoint
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK

PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
READY = PYTHON.parents[1] / ".ready"
D_MODEL, N_LATENTS, K = 64, 512, 16
TOLERANCE = {"topk_unit_norm": 5e-5}
"""1e-5, but for unit_norm: it is written as `layer_norm`, which adds 1e-5 to standard deviations, here from .5 on."""

MADE = {
    "sae_lens": (
        *("topk", "topk_rescaled", "topk_uncentred", "topk_layer_norm", "topk_rms", "topk_factor", "standard"),
        *("jumprelu", "jumprelu_uncentred", "gated", "gated_uncentred", "batch_topk"),
    ),
    "sparsify": ("topk",),
    "dictionary_learning": ("topk", "batch_topk", "matryoshka", "relu", "relu_new", "gated", "jumprelu"),
}

pytestmark = pytest.mark.skipif(not READY.is_file(), reason="the libraries are not installed: make peers")


def filled(dictionary: Dictionary) -> Dictionary:
    """Give random weights, and biases and thresholds that matter; rows of W_dec have unit norm already."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in dictionary.state_dict().items():
        if name in ("b_enc", "b_dec", "r_mag", "b_mag"):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
        elif name == "log_threshold":
            tensor.copy_(-0.1 * torch.rand(tensor.shape, generator=generator))
        elif name == "threshold":
            tensor.fill_(0.9)
    return dictionary


def topk(norm: Norm) -> Dictionary:
    return filled(TopK(D_MODEL, N_LATENTS, K, norm=norm))


NORMLESS = {
    "topk": lambda: topk("none"),
    "relu": lambda: filled(ReLU(D_MODEL, N_LATENTS, norm="none")),
    "gated": lambda: filled(Gated(D_MODEL, N_LATENTS, norm="none")),
    "jumprelu": lambda: filled(JumpReLU(D_MODEL, N_LATENTS, norm="none")),
    "batch_topk": lambda: filled(BatchTopK(D_MODEL, N_LATENTS, K, norm="none")),
    "matryoshka": lambda: filled(Matryoshka(D_MODEL, N_LATENTS, K, [64, 192], norm="none")),
}
NORMED = {
    "topk_layernorm_std": lambda: topk("layernorm_std"),
    "topk_rms": lambda: topk("rms"),
    "topk_unit_norm": lambda: topk("unit_norm"),
}
OURS = {
    "sae_lens": {**NORMLESS, **NORMED},
    "sparsify": {"topk": NORMLESS["topk"]},
    "dictionary_learning": NORMLESS,
}


def ask(task: str, folder: Path) -> None:
    command = [str(PYTHON), str(Path(__file__).with_name("peers.py")), task, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def acts() -> Tensor:
    """Activations with a mean and sizes that differ from token to token."""
    generator = torch.Generator().manual_seed(3)
    sizes = 0.5 + 2 * torch.rand(256, 1, generator=generator)
    return sizes * torch.randn(256, D_MODEL, generator=generator) + 0.4


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, acts: Tensor) -> Path:
    """Ask the libraries once for everything."""
    folder = tmp_path_factory.mktemp("peers")
    save_file({"acts": acts}, folder / "acts.safetensors")
    for library, ours in OURS.items():
        for case, make in ours.items():
            write_checkpoint(library, make(), folder / "written" / library / case)
    ask("make", folder)
    ask("read", folder)
    return folder


def assert_same(dictionary: Dictionary, acts: Tensor, room: Path) -> None:
    """Equal encodings and reconstructions, and the same latents active."""
    tolerance = TOLERANCE.get(room.name, 1e-5)
    theirs = load_file(room / "outputs.safetensors")
    latents = dense(dictionary, acts)
    assert torch.equal(latents > 0, theirs["latents"] > 0)
    torch.testing.assert_close(latents, theirs["latents"], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(recon(dictionary, acts), theirs["recon"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("library", "case"), [(library, case) for library, cases in MADE.items() for case in cases])
def test_their_checkpoints_say_the_same_here(answers: Path, acts: Tensor, library: str, case: str) -> None:
    room = answers / "made" / library / case
    assert_same(read_checkpoint(library, room).dictionary, acts, room)


@pytest.mark.parametrize(("library", "case"), [(library, case) for library, cases in OURS.items() for case in cases])
def test_our_checkpoints_say_the_same_there(answers: Path, acts: Tensor, library: str, case: str) -> None:
    assert_same(OURS[library][case](), acts, answers / "written" / library / case)


def test_nothing_that_they_made_is_left_out(answers: Path) -> None:
    made = {library.name: {case.name for case in library.iterdir()} for library in (answers / "made").iterdir()}
    assert made == {library: set(cases) for library, cases in MADE.items()}
    assert set(OURS) == set(WRITABLE)
