import itertools

import pytest
import torch
from planted_tokens import plant

from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.training import train_dictionary
from latentese.errors import SettingError

SETTINGS = TrainSettings(
    n_tokens=512 * 12, batch_tokens=512, lr=3e-3, dead_after_tokens=1500, checkpoint_tokens=512 * 5, sample_tokens=2048
)


def small_topk(**args: object) -> TopK:
    return TopK(32, 96, 3, norm="none", **args)


def test_planted_directions_are_recovered(tmp_path):
    source, topk = plant(), small_topk()
    settings = TrainSettings(
        n_tokens=512 * 250, batch_tokens=512, lr=1e-2, decay=0.3, dead_after_tokens=5000, checkpoint_tokens=10**9
    )
    assert source.mean_best_cosine(topk.W_dec.data) < 0.6
    logs = list(train_dictionary(topk, source, settings, tmp_path / "checkpoint"))
    assert source.mean_best_cosine(topk.W_dec.data) > 0.9
    assert logs[0].fvu > 0.5
    assert logs[-1].fvu < 0.2


def test_auxk_revives_dead_latents(tmp_path):
    source = plant()

    def n_dead(aux_coef: float) -> int:
        topk = small_topk(aux_coef=aux_coef)
        settings = TrainSettings(n_tokens=512 * 200, batch_tokens=512, lr=1e-2, dead_after_tokens=5000)
        logs = []
        for log in train_dictionary(topk, source, settings, tmp_path / f"checkpoint-{aux_coef}"):
            if log.step == 1:  # most latents can hardly fire any more
                with torch.no_grad():
                    topk.b_enc[20:] = -1.0
            logs.append(log)
        return logs[-1].n_dead

    without, with_aux = n_dead(0.0), n_dead(1 / 32)
    assert without > 30
    assert with_aux < without / 2  # 96 latents for 64 directions: the surplus may stay dead


def weights(topk: TopK) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in topk.state_dict().items()}


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("stop_after", [1, 5, 7, 11, 12])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(tmp_path, stop_after, ema):
    source = plant(n_tokens=2560)  # the 12 steps cross two epochs
    settings = TrainSettings(**{**vars(SETTINGS), "ema": ema})
    whole = small_topk()
    undisturbed = list(train_dictionary(whole, source, settings, tmp_path / "whole"))
    list(itertools.islice(train_dictionary(small_topk(), source, settings, tmp_path / "cut"), stop_after))
    resumed = small_topk()
    assert list(train_dictionary(resumed, source, settings, tmp_path / "cut")) == undisturbed
    assert weights(resumed) == weights(whole)


def test_log_counts_tokens_and_dead_latents_in_tokens(tmp_path):
    logs = list(train_dictionary(small_topk(), plant(2560), SETTINGS, tmp_path / "checkpoint"))
    assert [(log.step, log.n_tokens) for log in logs] == [(step, 512 * step) for step in range(1, 13)]
    assert [log.n_dead for log in logs[:2]] == [0, 0]  # 1024 tokens: nobody can have been silent for 1500
    assert all(0 < log.l0 <= 3 for log in logs)


def test_log_every_keeps_the_first_and_last_step(tmp_path):
    settings = TrainSettings(**{**vars(SETTINGS), "log_every": 5})
    logs = list(train_dictionary(small_topk(), plant(2560), settings, tmp_path / "checkpoint"))
    assert [log.step for log in logs] == [1, 5, 10, 12]


def test_average_of_constant_weights_is_those_weights(tmp_path):
    frozen, averaged = small_topk(), small_topk()
    one = TrainSettings(n_tokens=512, batch_tokens=512, lr=1e-3)
    list(train_dictionary(frozen, plant(2560), one, tmp_path / "a"))
    list(train_dictionary(averaged, plant(2560), TrainSettings(**{**vars(one), "ema": 0.99}), tmp_path / "b"))
    torch.testing.assert_close(averaged.W_enc, frozen.W_enc)  # one step: the corrected average is that step
    torch.testing.assert_close(averaged.W_dec, frozen.W_dec)


def test_a_diverging_run_stops_with_one_line(tmp_path):
    settings = TrainSettings(**{**vars(SETTINGS), "lr": 1e38})
    with pytest.raises(
        SettingError,
        match=r"training.lr=1e\+38 is not allowed: lower: the loss of the dictionary stopped being a number",
    ):
        list(train_dictionary(small_topk(), plant(2560), settings, tmp_path / "checkpoint"))


def test_learning_rate_rises_stays_and_falls():
    settings = TrainSettings(n_tokens=100, batch_tokens=10, lr=1.0, warmup=0.4, decay=0.2)
    assert [settings.lr_at(step, 8) for step in range(10)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.5]


def test_learning_rate_scales_with_the_number_of_latents():
    settings = TrainSettings(n_tokens=100, batch_tokens=10)
    assert settings.lr_at(0, 2**14) == pytest.approx(2e-4)
    assert settings.lr_at(0, 2**12) == pytest.approx(4e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_tokens": 0}, r"training.batch_tokens=0"),
        ({"n_tokens": 100}, r"training.n_tokens=100 is not allowed: at least one batch of 512 tokens"),
        ({"lr": -1.0}, r"training.lr=-1.0"),
        ({"warmup": 0.8, "decay": 0.4}, r"training.warmup, decay=\(0.8, 0.4\)"),
        ({"ema": 1.0}, r"training.ema=1.0"),
        ({"block_tokens": 0}, r"training.block_tokens=0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(SettingError, match=message):
        TrainSettings(**{**vars(SETTINGS), **change})
