"""The command: what it is given by the configuration, and that a rerun says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_puzzles import write_toy

from flows.config import composed_params
from flows.puzzles import PuzzleSettings, judges_of, main, without_subject
from latentese.errors import ArtifactError, SettingError
from latentese.puzzles.puzzle import KINDS


@pytest.fixture(autouse=True)
def _in_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def test_all_packaged_puzzles_are_read_kind_by_kind() -> None:
    kinds = [puzzle.kind for puzzle in PuzzleSettings("page.md").read()]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert len(kinds) >= 20


def test_own_files_come_beside_the_packaged_ones(tmp_path: Path) -> None:
    own = str(write_toy(tmp_path))
    assert [p.name for p in PuzzleSettings("page.md", packaged=False, files=(own,)).read()] == ["red"]
    n_lexical = len(PuzzleSettings("page.md", kinds=("lexical",)).read())
    assert len(PuzzleSettings("page.md", files=(own,), kinds=("lexical",)).read()) == n_lexical + 1


def test_judges_are_the_configured_simulators_or_those_named() -> None:
    params = composed_params(["puzzles=packaged"])
    assert {judge.name for judge in judges_of(params, None)} >= {"embedding", "all_at_once", "token_table"}
    assert [judge.name for judge in judges_of(params, ["embedding"])] == ["embedding"]
    with pytest.raises(SettingError, match=r"puzzles\.judges='nobody' is not allowed: null, or some of"):
        judges_of(params, ["nobody"])


def test_what_runs_the_subject_is_left_out() -> None:
    class WithSubject:
        def with_reader(self, reader: object) -> WithSubject:
            return self

    assert without_subject({"a": WithSubject(), "b": 1}) == {"b": 1}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["puzzles.kinds=[lexicall]"], r"puzzles\.kinds=\['lexicall'\] is not allowed"),
        (["puzzles.packaged=false"], r"puzzles\.files=\[\] is not allowed"),
        (["puzzles.explainers=[nobody]"], r"puzzles\.explainers='nobody' is not allowed"),
        (["+puzzles.colour=red"], r"puzzles\.colour='red' is not allowed: unknown key"),
    ],
)
def test_a_mistake_is_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        main(*overrides)


def test_a_missing_file_stops_before_anything_is_asked() -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.toml: there is no such file"):
        main("puzzles.files=[nowhere.toml]")


def test_an_explainer_that_had_nothing_to_choose_by_is_said_not_to_have_chosen(tmp_path: Path) -> None:
    """The embedding that would choose is never loaded."""
    own, page = write_toy(tmp_path), tmp_path / "page.md"
    main(
        "lm=scripted", "~simulator@simulators.all_at_once", "scoring.limits=null", "puzzles.packaged=false",
        "+explainer@explainers.best_of_3=best_of_3", "puzzles.explainers=[best_of_3]", f"puzzles.files=[{own}]",
        "puzzles.judges=[token_table]", f"puzzles.page={page}",
    )  # fmt: skip
    line = "best_of_3 takes its likeliest answer in 1 of 1 puzzles: every context in which the unit fires was shown"
    assert f"- {line}, and none is left to choose by\n" in page.read_text(encoding="utf-8")


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, page = write_toy(tmp_path), tmp_path / "page.md"
    words = [
        "lm=scripted", "~simulator@simulators.all_at_once", "scoring.limits=null", "puzzles.packaged=false",
        f"puzzles.files=[{own}]", "puzzles.judges=[token_table]", f"puzzles.page={page}",
    ]  # fmt: skip
    main(*words)
    first = page.read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"{first}\n"
    assert "not tried, for it reads no sentences: token_table" in first
    figures = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert [one["explainer"] for one in figures["written"]] == ["token_activation", "token_table"]
    # The table of the explainer, looked up: it saw " red" fire with 4 every time, and other tokens never.
    assert [round(one["value"], 6) for one in figures["found"]] == [1.0]
    main(*words)
    assert page.read_text(encoding="utf-8") == first
