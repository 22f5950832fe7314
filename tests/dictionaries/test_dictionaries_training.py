import itertools
import resource
from pathlib import Path

import pytest
import torch
from planted_tokens import plant
from safetensors import safe_open

from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import steps_done
from latentese.dictionaries.training import train_dictionary
from latentese.errors import ArtifactError, SettingError
from latentese.store.shards import write_shard

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


# 12 steps, checkpoints after 5, 10 and 12; an epoch is 5 steps long.
@pytest.mark.parametrize("change", [{}, {"ema": 0.9}, {"clip_norm": 0.01}, {"ema": 0.9, "clip_norm": 0.01}])
@pytest.mark.parametrize("stop_after", range(1, 13))
def test_stopped_after_any_step_it_goes_on_to_the_same_bytes(tmp_path, stop_after, change):
    source = plant(n_tokens=2560)
    settings = TrainSettings(**{**vars(SETTINGS), **change})
    whole = small_topk()
    undisturbed = list(train_dictionary(whole, source, settings, tmp_path / "whole"))
    list(itertools.islice(train_dictionary(small_topk(), source, settings, tmp_path / "cut"), stop_after))
    resumed = small_topk()
    assert list(train_dictionary(resumed, source, settings, tmp_path / "cut")) == undisturbed
    assert weights(resumed) == weights(whole)
    again = small_topk()  # a finished run: its last checkpoint says it all
    assert list(train_dictionary(again, source, settings, tmp_path / "cut")) == undisturbed
    assert weights(again) == weights(whole)


def test_latents_that_were_silent_before_a_stop_are_dead_as_soon_after_it(tmp_path):
    def six_silent() -> TopK:
        topk = small_topk()
        with torch.no_grad():
            topk.b_enc[:6] = -100.0
        return topk

    whole, resumed = six_silent(), six_silent()
    undisturbed = list(train_dictionary(whole, plant(2560), SETTINGS, tmp_path / "whole"))
    # Dead after 1500 tokens: from the checkpoint at step 5 alone it would be step 8 before any is.
    assert undisturbed[5].n_dead >= 6
    list(itertools.islice(train_dictionary(six_silent(), plant(2560), SETTINGS, tmp_path / "cut"), 7))
    assert list(train_dictionary(resumed, plant(2560), SETTINGS, tmp_path / "cut")) == undisturbed
    assert weights(resumed) == weights(whole)


def gradient_after_one_step(tmp_path: Path, clip_norm: float | None) -> torch.Tensor:
    """All gradients of the first step, which Adam's first moment holds at 1 - .9 of their size."""
    settings = TrainSettings(n_tokens=512, batch_tokens=512, lr=1e-3, clip_norm=clip_norm)
    list(train_dictionary(small_topk(), plant(2560), settings, tmp_path / str(clip_norm)))
    with safe_open(tmp_path / str(clip_norm), framework="pt") as file:
        names = sorted(name for name in file.keys() if name.endswith("exp_avg"))  # noqa: SIM118
        return torch.cat([file.get_tensor(name).flatten() for name in names]) / (1 - 0.9)


def test_larger_gradients_are_shrunk_together_and_smaller_ones_are_left(tmp_path):
    free = gradient_after_one_step(tmp_path, None)
    limit = free.norm().item() / 4
    torch.testing.assert_close(gradient_after_one_step(tmp_path, limit), free / 4)
    assert torch.equal(gradient_after_one_step(tmp_path, 100.0), free)


@pytest.mark.parametrize(
    ("args", "change", "message"),
    [
        ({}, {"lr": 1e-3}, r"was begun with training\.lr=0\.003, not 0\.001; remove it to start again"),
        ({}, {"ema": 0.9}, r"was begun with training\.ema=None, not 0\.9"),
        ({"seed": 1}, {}, r"was begun with dictionary\.seed=0, not 1"),
        ({"n_latents": 97}, {}, r"was begun with dictionary\.n_latents=96, not 97"),
    ],
)
def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path, args, change, message):
    list(train_dictionary(small_topk(), plant(2560), SETTINGS, tmp_path / "checkpoint"))
    other = TopK(**{"d_model": 32, "n_latents": 96, "k": 3, "norm": "none", **args})
    with pytest.raises(ArtifactError, match=message):
        list(
            train_dictionary(other, plant(2560), TrainSettings(**{**vars(SETTINGS), **change}), tmp_path / "checkpoint")
        )


@pytest.mark.parametrize("damage", ["cut", "no checkpoint", "text"])
def test_a_damaged_checkpoint_stops_with_one_line(tmp_path, damage):
    checkpoint = tmp_path / "checkpoint"
    list(train_dictionary(small_topk(), plant(2560), SETTINGS, checkpoint))
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif damage == "text":
        checkpoint.write_text("these are no tensors")
    else:
        write_shard({"step": torch.tensor(3)}, checkpoint)
    with pytest.raises(ArtifactError, match="not a checkpoint of training, or damaged; remove it to start again"):
        list(train_dictionary(small_topk(), plant(2560), SETTINGS, checkpoint))


def test_a_full_disk_is_one_line_and_training_goes_on_from_the_checkpoint_before(tmp_path):
    whole, logs = small_topk(), []
    undisturbed = list(train_dictionary(whole, plant(2560), SETTINGS, tmp_path / "whole"))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(ArtifactError, match=r"cut: cannot be written \(File too large\)"):
            for log in train_dictionary(small_topk(), plant(2560), SETTINGS, tmp_path / "cut"):
                logs.append(log)
                if log.step == 6:  # the checkpoint of step 5 is there; that of step 10 finds no room
                    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert logs == undisturbed[:10]
    assert steps_done(tmp_path / "cut") == 5
    assert [path.name for path in tmp_path.glob("cut*")] == ["cut"]
    resumed = small_topk()
    assert list(train_dictionary(resumed, plant(2560), SETTINGS, tmp_path / "cut")) == undisturbed
    assert weights(resumed) == weights(whole)


def test_weights_that_are_no_numbers_do_not_replace_a_good_checkpoint(tmp_path):
    class Spoilt(TopK):
        """Its weights break in step 10, behind that step's loss."""

        n_done = 0

        def after_step_(self) -> None:
            super().after_step_()
            self.n_done += 1
            if self.n_done == 10:
                self.b_enc.data[3] = float("nan")

    with pytest.raises(SettingError, match=r"lower: weights of the dictionary no longer finite at step 10"):
        list(train_dictionary(Spoilt(32, 96, 3, norm="none"), plant(2560), SETTINGS, tmp_path / "checkpoint"))
    assert steps_done(tmp_path / "checkpoint") == 5


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


def test_the_average_of_two_steps_by_hand(tmp_path):
    def trained(n_steps, ema):
        settings = TrainSettings(n_tokens=512 * n_steps, batch_tokens=512, lr=1e-2, ema=ema)
        topk = small_topk()
        list(train_dictionary(topk, plant(2560), settings, tmp_path / f"{n_steps}-{ema}"))
        return topk

    first, second, averaged = trained(1, None), trained(2, None), trained(2, 0.9)
    # Sum .1 * .9 * first + .1 * second of weights .09 + .1 = 1 - .9^2.
    for name in ("W_enc", "b_dec"):
        expected = (0.09 * getattr(first, name) + 0.1 * getattr(second, name)) / 0.19
        torch.testing.assert_close(getattr(averaged, name), expected)
        assert not torch.allclose(getattr(averaged, name), getattr(second, name))
    mean_rows = 0.09 * first.W_dec + 0.1 * second.W_dec
    torch.testing.assert_close(averaged.W_dec, torch.nn.functional.normalize(mean_rows, dim=1))


def test_a_diverging_run_stops_with_one_line(tmp_path):
    settings = TrainSettings(**{**vars(SETTINGS), "lr": 1e38})
    with pytest.raises(
        SettingError,
        match=r"training.lr=1e\+38 is not allowed: lower: loss of the dictionary no longer finite at step 2",
    ):
        list(train_dictionary(small_topk(), plant(2560), settings, tmp_path / "checkpoint"))


def test_a_device_that_is_not_here_stops_with_one_line(tmp_path):
    settings = TrainSettings(**{**vars(SETTINGS), "device": "gpu"})
    with pytest.raises(SettingError, match=r"training\.device='gpu' is not allowed: a device that torch finds here"):
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
        ({"clip_norm": 0.0}, r"training.clip_norm=0.0 is not allowed: above 0, or null for no limit"),
        ({"ema": 1.0}, r"training.ema=1.0"),
        ({"block_tokens": 0}, r"training.block_tokens=0"),
        ({"seed": -1}, r"training.seed=-1 is not allowed: at least 0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(SettingError, match=message):
        TrainSettings(**{**vars(SETTINGS), **change})
