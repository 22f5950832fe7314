"""Which units fire on a typed text: a planted model, whose neurons are known to fire on the words of a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from planted import CLASSES
from planted_study import HOOKPOINT, PlantedStudy, write_planted_study

from flows import fires
from latentese.errors import SettingError
from latentese.reading.base import ReadText
from latentese.records import Context, Explanation
from latentese.store.artifact import open_draft
from latentese.store.tables import write_explanations

COLOURS, CATS = list(CLASSES).index("colours"), list(CLASSES).index("animals")
READ = ReadText(
    Context(-1, ("\n", " the", " cat", " sat"), (False, True, True, True), -1, "typed", "explain"),
    np.array([[9.0, 9, 9], [0, 0.4, 0], [2, 3, 0.5], [1, 1, 0]], dtype=np.float32),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def project(study: PlantedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    target = tmp_path / "artifacts" / "targets" / "neurons"
    target.mkdir(parents=True)
    for name in ("examples", "dictionary"):
        (target / name).symlink_to(getattr(study.places, name))
    (tmp_path / "artifacts" / "contexts").symlink_to(study.places.contexts)
    params = {
        "targets": {"neurons": {"hookpoint": HOOKPOINT}},
        "subject": {"_target_": "latentese.weights.local.LocalModel", "path": str(study.model)},
        "capture": {"dtype": "float32", "device": "cpu"},
        "explainers": {"human": {}, "token_table": {}},
    }
    OmegaConf.save(OmegaConf.create(params), tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def write_words(folder: Path, **text_of: str | None) -> None:
    """One explanation of the colours' neuron per explainer."""
    written = [Explanation(f"1.{name}.0", COLOURS, name, 0, text, "m", "", ()) for name, text in text_of.items()]
    with open_draft(folder / "artifacts" / "targets" / "neurons" / "explanations", "explanations", {}, {}) as draft:
        write_explanations(written, draft.path / "explanations.jsonl")
        draft.publish({})


def test_the_strongest_above_their_thresholds_strongest_first() -> None:
    thresholds = np.array([0.0, 0.5, 0.5])
    found = fires.strongest(READ, thresholds, 2)
    # " the": .4 is not above .5. " cat": 3 before 2, and .5 is not above .5. " sat": equal ones in order of number.
    assert [[(f.unit, f.act) for f in token] for token in found[1:]] == [[], [(1, 3.0), (0, 2.0)], [(0, 1.0), (1, 1.0)]]
    assert [len(token) for token in fires.strongest(READ, thresholds, 1)[1:]] == [0, 1, 1]


def test_each_word_is_shown_with_the_neuron_that_it_is_known_to_drive(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_words(project, token_table="tokens: 'red'", human="names of colours")
    fires.main("neurons", " when they saw the red dog", "--n-strongest", "1")
    rows = {cells[0]: cells[1:] for line in capsys.readouterr().out.splitlines() if (cells := line.split())}
    assert rows["red"][0] == str(COLOURS) and float(rows["red"][1]) > 1
    assert rows["red"][2:] == ["names", "of", "colours"]  # the first of the configured explainers that has words
    assert (rows["dog"][0], rows["dog"][2]) == (str(CATS), "-")


def test_an_explainer_without_an_answer_leaves_the_word_to_the_next(project: Path) -> None:
    params = {"explainers": {"human": {}, "token_table": {}}}
    assert fires.explained(params, "neurons") == {}
    write_words(project, human=None, token_table="tokens: 'red'")
    assert fires.explained(params, "neurons") == {COLOURS: "tokens: 'red'"}


def test_one_unit_is_shown_at_every_token(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fires.main("neurons", " when they saw the red dog", "--unit", str(COLOURS))
    heading, line, footing = capsys.readouterr().out.strip().splitlines()
    assert heading == f"unit {COLOURS}: not explained"
    before, _, after = line.partition(" red[")
    assert before.strip() == "when they saw the" and after.endswith("] dog")
    assert float(after.removesuffix("] dog")) > 1
    assert footing.startswith("fires above ")


def test_a_long_text_is_cut_and_that_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fires.main("neurons", " red" * 40)
    assert "Read up to 16 tokens" in capsys.readouterr().out
    fires.main("neurons", " red")
    assert "Read up to" not in capsys.readouterr().out


def test_typed_control_characters_and_mark_up_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = ReadText(Context(-1, ("\n", "\x1b[31m[red]"), (False, True), -1, "typed", "explain"), READ.acts[2:4])
    said = {0: "\x1b[2J[bold]x[/bold]"}
    for shown in (
        fires.strongest_table(hostile, fires.strongest(hostile, np.zeros(3), 1), said),
        fires.unit_line(hostile, 0, (0.0, 2.0), said),
    ):
        fires.Console(width=120).print(shown)
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.count("U+001B\u203a[31m[red]") == 2 and out.count("[bold]x[/bold]") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["latents", "a"], "target='latents' is not allowed: one of neurons"),
        (["neurons", "a", "--unit", "12"], r"--unit=12 is not allowed: 0\.\.11"),
        (["neurons", "a", "--n-strongest", "0"], "--n-strongest=0 is not allowed"),
        (["neurons", ""], "text='' is not allowed"),
    ],
)
def test_bad_input_is_one_line(project: Path, words: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said) as raised:
        fires.main(*words)
    assert "\n" not in str(raised.value)
