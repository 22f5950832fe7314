"""Two real processes over gloo train what one process trains, and take over from one another."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from planted_tokens import plant
from safetensors.torch import load_file
from team_worker import CASES, N_TOKENS, made, run, stop
from torch import Tensor

from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.data_parallel import ShareOfTokens, TokensDivided
from latentese.dictionaries.latent_parallel import LATENT_DIMS, LatentsDivided, TopKPart
from latentese.dictionaries.team import Team, in_memory_order, team_size
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_state import steps_done
from latentese.errors import SettingError

HERE = Path(__file__).parent
TEAM = Team(rank=1, size=2)
"""As the second of two sees it; it can say nothing to the first."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that `team_worker` leaves, run by two processes."""
    folder = tmp_path_factory.mktemp("team")
    for case in CASES:
        (folder / "-".join(case)).mkdir()
        stop(run(made(case[1]), case[2], folder / "-".join(case) / "by-one"))
        assert steps_done(folder / "-".join(case) / "by-one") == 5
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "team_worker.py"), str(folder)]
    children = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "PYTHONPATH": path, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [child.communicate(timeout=600)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[dict[str, Tensor], list[object]]]:
    """Weights and logs of one process, by dictionary and settings."""
    found = {}
    for _, name, settings in CASES:
        dictionary = made(name)
        logs = list(run(dictionary, settings, tmp_path_factory.mktemp("alone") / "checkpoint"))
        found[name, settings] = dictionary.state_dict(), logs
    return found


def ranks(case: tuple[str, str, str]) -> list[int]:
    """Which processes have the weights in the end."""
    return [0, 1] if case[0] == "tokens" else [0]


@pytest.mark.parametrize("kind", ["whole", "cut", "taken-over"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_weights_are_those_of_one_process(folder, alone, case, kind):
    expected, _ = alone[case[1:]]
    for rank in ranks(case):
        found = load_file(folder / "-".join(case) / f"{kind}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_figures_are_those_of_one_process_and_the_same_in_all(folder, alone, case):
    _, expected = alone[case[1:]]
    first, second = (json.loads((folder / "-".join(case) / f"logs-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first) == len(expected)
    for found, log in zip(first, expected, strict=True):
        assert found == pytest.approx(asdict(log), rel=1e-4)
    if case[1] != "pca":
        assert first[-1]["n_dead"] > 20
        assert first[-1]["aux_loss"] > 0.5, "AuxK has its part in what is compared"


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_stopped_together_they_go_on_to_the_same_bytes(folder, case):
    for rank in ranks(case):
        whole, cut = (folder / "-".join(case) / f"{kind}-{rank}.safetensors" for kind in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


@pytest.mark.parametrize("division", ["tokens", "latents"])
def test_one_process_goes_on_from_their_checkpoint(folder, alone, division):
    expected, expected_logs = alone["topk", "plain"]
    assert steps_done(folder / f"stopped-{division}") == 5
    dictionary = made("topk")
    logs = list(run(dictionary, "plain", folder / f"stopped-{division}"))
    for name, tensor in expected.items():
        torch.testing.assert_close(dictionary.state_dict()[name], tensor, atol=1e-5, rtol=0)
    assert [log.step for log in logs] == [log.step for log in expected_logs]


def test_of_equal_candidates_those_of_lower_index_are_chosen_and_always_k(folder):
    # The first process has latents 0-3, the second 4-7; token by token, candidates (value @ latent), first | second:
    #   5@0 1@1 | 3@4 4@5     two largest: 0, 5       three: 0, 5, 4
    #   2@3 2@1 | 2@4 2@6     two largest: 1, 3       three: 1, 3, 4
    #   0@0 0@1 | 1@6 0@7     two largest: 6, 0       three: 6, 0, 1
    first, second = (load_file(folder / f"chosen-{rank}.safetensors") for rank in (0, 1))
    assert first["two"].tolist() == [[1, 0], [1, 1], [1, 0]]
    assert second["two"].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert first["three"].tolist() == [[1, 0], [1, 1], [1, 1]]
    assert second["three"].tolist() == [[1, 1], [1, 0], [1, 0]]


def test_shares_of_a_batch_are_the_batch(tmp_path):
    source = plant(N_TOKENS)
    whole = source.batches(256, start=512)
    shares = [ShareOfTokens(source, Team(rank, 4)).batches(256, start=512) for rank in range(4)]
    for _ in range(5):
        assert torch.equal(torch.cat([next(share) for share in shares]), next(whole))
    assert torch.equal(ShareOfTokens(source, TEAM).sample(100, 0), source.sample(100, 0))


def test_a_part_has_every_tensor_of_a_topk():
    whole = TopK(32, 96, 3)
    part = TopKPart(whole, TEAM)
    assert part.state_dict().keys() == whole.state_dict().keys()
    for name, tensor in part.state_dict().items():
        expected = list(whole.state_dict()[name].shape)
        if name in LATENT_DIMS:
            expected[LATENT_DIMS[name]] //= 2
        assert list(tensor.shape) == expected
    assert part.W_enc.stride() == (1, 32), "a latent is one contiguous row, as in TopK"


@pytest.mark.parametrize(
    ("processes", "dictionary", "message"),
    [
        (TokensDivided, BatchTopK(8, 16, 2), "2 is not allowed: 1: how BatchTopK learns depends on more of a batch"),
        (LatentsDivided, BatchTopK(8, 16, 2), "2 is not allowed: 1: only a TopK's latents can be divided"),
        (LatentsDivided, TopK(8, 15, 2), r"dictionary\.n_latents=15 is not allowed: a multiple of 2 processes"),
    ],
)
def test_what_cannot_be_divided_is_refused(processes, dictionary, message):
    with pytest.raises(SettingError, match=message):
        processes(TEAM).learner(dictionary)


def test_one_process_is_no_team(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert team_size() == 1
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert team_size() == 3


def test_memory_order_of_a_transposed_tensor():
    tensor = torch.arange(6.0).view(2, 3)
    assert in_memory_order(tensor.t()).tolist() == [0, 1, 2, 3, 4, 5]
    in_memory_order(tensor.t()).mul_(2)
    assert tensor.tolist() == [[0, 2, 4], [6, 8, 10]]
