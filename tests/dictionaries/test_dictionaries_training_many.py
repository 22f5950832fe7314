"""Several dictionaries in one pass over the tokens: each becomes what it becomes alone, and tokens are read once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from planted_tokens import PlantedTokens, plant
from torch import Tensor

from latentese.dictionaries.base import Trainable
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.dictionaries.training import train_dictionary, train_many
from latentese.errors import SettingError

N_STEPS = 7
SETTINGS = TrainSettings(
    n_tokens=256 * N_STEPS, batch_tokens=256, dead_after_tokens=600, checkpoint_tokens=256 * 3, sample_tokens=512
)


class WiderTopK(TopK):
    """Another class, whose gradients differ from the other members'."""

    def before_step_(self) -> None:
        super().before_step_()
        self.b_enc.grad *= 2


def grid() -> dict[str, Trainable]:
    """Members that differ in n_latents, k, class and seed."""
    return {
        "n48-k3": TopK(32, 48, 3, norm="none"),
        "n64-k3": TopK(32, 64, 3, norm="none"),
        "n48-k5": TopK(32, 48, 5),
        "wider": WiderTopK(32, 48, 3, norm="none"),
        "n48-k3-seed1": TopK(32, 48, 3, norm="none", seed=1),
    }


@dataclass(frozen=True)
class CountedTokens:
    """A source that notes from where it was read, and how often."""

    tokens: PlantedTokens
    reads: list[tuple[str, int]]

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        for number, batch in enumerate(self.tokens.batches(batch_tokens, start)):
            self.reads.append(("batch", start // batch_tokens + number))
            yield batch

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        self.reads.append(("sample", n_tokens))
        return self.tokens.sample(n_tokens, seed)


def counted() -> CountedTokens:
    return CountedTokens(plant(n_tokens=1024), [])


def weights(dictionary: Trainable) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in dictionary.state_dict().items()}


def alone(settings: TrainSettings, folder: Path) -> tuple[dict[str, dict[str, bytes]], dict[str, list[StepLog]]]:
    """Weights and logs of each member of the grid, trained by itself."""
    made, logs = grid(), {}
    for name, dictionary in made.items():
        logs[name] = list(train_dictionary(dictionary, plant(1024), settings, folder / name))
    return {name: weights(dictionary) for name, dictionary in made.items()}, logs


def by_name(logs: Iterator[tuple[str, StepLog]]) -> dict[str, list[StepLog]]:
    found: dict[str, list[StepLog]] = {}
    for name, log in logs:
        found.setdefault(name, []).append(log)
    return found


@pytest.mark.parametrize("change", [{}, {"ema": 0.9}, {"lr": 1e-2, "warmup": 0.2, "decay": 0.3, "log_every": 3}])
def test_each_becomes_to_the_byte_what_it_becomes_alone(tmp_path, change):
    settings, made, source = replace(SETTINGS, **change), grid(), counted()
    logs = by_name(train_many(made, source, settings, tmp_path / "many"))
    expected_weights, expected_logs = alone(settings, tmp_path)
    assert {name: weights(dictionary) for name, dictionary in made.items()} == expected_weights
    assert logs == expected_logs
    for name in made:
        assert (tmp_path / "many" / f"{name}.safetensors").read_bytes() == (tmp_path / name).read_bytes()


def test_tokens_are_read_once_for_all(tmp_path):
    source = counted()
    list(train_many(grid(), source, SETTINGS, tmp_path))
    assert source.reads == [("sample", 512), *(("batch", step) for step in range(N_STEPS))]


def test_learning_rate_follows_each_ones_own_number_of_latents(tmp_path):
    logs = by_name(train_many(grid(), counted(), SETTINGS, tmp_path))
    assert {name: entries[0].lr for name, entries in logs.items()} == {
        name: pytest.approx(2e-4 / (dictionary.n_units / 2**14) ** 0.5) for name, dictionary in grid().items()
    }


# 5 members: logs 1-5 are of step 1. Checkpoints are due after steps 3, 6 and 7, each written once the member's log has
# been taken: stopped at log 12, one member has its first and the others have none; at log 28, two members stand at
# step 6 and three at step 3.
@pytest.mark.parametrize("n_logs", [1, 12, 13, 15, 28, 35])
def test_stopped_between_any_two_members_it_goes_on_to_the_same_bytes(tmp_path, n_logs):
    list(itertools.islice(train_many(grid(), counted(), SETTINGS, tmp_path / "cut"), n_logs))
    made = grid()
    logs = by_name(train_many(made, counted(), SETTINGS, tmp_path / "cut"))
    expected_weights, expected_logs = alone(SETTINGS, tmp_path)
    assert {name: weights(dictionary) for name, dictionary in made.items()} == expected_weights
    assert logs == expected_logs


def test_a_finished_grid_reads_nothing_again(tmp_path):
    first = by_name(train_many(grid(), counted(), SETTINGS, tmp_path))
    source = counted()
    assert by_name(train_many(grid(), source, SETTINGS, tmp_path)) == first
    assert source.reads == []


def test_a_member_added_later_is_trained_and_the_others_are_kept(tmp_path):
    made = grid()
    added = {"n48-k5": made.pop("n48-k5")}
    list(train_many(made, counted(), SETTINGS, tmp_path / "many"))
    before = {name: weights(dictionary) for name, dictionary in made.items()}
    logs = by_name(train_many(again := {**grid(), **added}, counted(), SETTINGS, tmp_path / "many"))
    expected_weights, expected_logs = alone(SETTINGS, tmp_path)
    assert {name: weights(again[name]) for name in before} == before
    assert weights(again["n48-k5"]) == expected_weights["n48-k5"]
    assert logs == expected_logs


def test_gradients_of_one_member_are_gone_when_the_next_has_its_turn(tmp_path):
    made = grid()
    for _, _ in train_many(made, counted(), SETTINGS, tmp_path):
        assert all(parameter.grad is None for member in made.values() for parameter in member.parameters())


def test_an_empty_grid_is_nothing(tmp_path):
    assert list(train_many({}, counted(), SETTINGS, tmp_path)) == []


@pytest.mark.parametrize("name", ["n=48/k=3", "n48/", ""])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(SettingError, match=r"dictionaries=.* is not allowed: names that can be names of files"):
        list(train_many({name: TopK(32, 48, 3)}, counted(), SETTINGS, tmp_path))


def test_the_member_that_diverges_is_named(tmp_path):
    made = {"calm": TopK(32, 48, 3, norm="none"), "wild": TopK(32, 48, 3, norm="none")}
    logs = train_many(made, counted(), SETTINGS, tmp_path)
    next(logs)
    made["wild"].W_dec.data.fill_(float("nan"))
    with pytest.raises(SettingError, match=r"training.lr=.* lower: loss of wild no longer finite at step 1"):
        list(logs)
