"""What a person wrote: read, added to and refused, and given as explanations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.errors import ArtifactError, SettingError
from latentese.explainers.annotations import Annotation, append_annotation, read_annotations
from latentese.explainers.base import ForTarget
from latentese.explainers.human import HumanExplainer
from latentese.records import Explanation, Unit

ADA = Annotation("latents", 19, 'rivers, lakes and "villages"', "Ada")
JSONL = '{"target": "latents", "unit": 3, "explanation": "months"}\n\n{"unit":4,"target":"neurons","explanation":"x1"}'
CSV = '\ufeffunit,target,explanation\r\n3,latents,"March, April"\r\n\r\n4,neurons,x1\r\n'


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_json_lines_and_csv_with_columns_in_any_order(tmp_path: Path) -> None:
    x1 = Annotation("neurons", 4, "x1")
    assert read_annotations(write(tmp_path / "a.jsonl", JSONL)) == [Annotation("latents", 3, "months"), x1]
    assert read_annotations(write(tmp_path / "a.csv", CSV)) == [Annotation("latents", 3, "March, April"), x1]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.jsonl", JSONL + "\n{", "line 4: not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.jsonl", "[1]", "line 1: not a JSON object"),
        ("a.jsonl", JSONL.replace("neurons", "latents").replace("4", "3"), "line 3: unit 3 of latents .* on line 1"),
        ("a.jsonl", '{"target": "latents", "unit": 3}', "line 1: no explanation; the columns are target, unit"),
        ("a.jsonl", '{"target": "a", "unit": "three", "explanation": "b"}', "line 1: unit 'three' is no number"),
        ("a.jsonl", '{"target": "a", "unit": -3, "explanation": "b"}', "line 1: unit -3 is no number"),
        ("a.jsonl", '{"target": "a", "unit": 3, "explanation": "..."}', "line 1: explanation='...' is not allowed"),
        ("a.jsonl", '{"target": "a", "unit": 3, "explanation": "b\\nc"}', "line 1: explanation=.* one line"),
        ("a.jsonl", '{"target": "", "unit": 3, "explanation": "b"}', "line 1: target='' is not allowed"),
        ("a.csv", "unit,explanation\n3,b\n", "line 2: no target"),
        ("a.csv", "target,unit,explanation,why\na,3,b,c\n", "line 2: unknown why"),
        ("a.csv", f'target,unit,explanation\na,3,"b{"c" * 140_000}', "line 2: not CSV"),
        ("a.csv", "target,unit,explanation\na,3,b,c\n", "line 2: unknown more columns than the heading"),
    ],
)
def test_a_line_that_is_no_annotation_is_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(ArtifactError, match=problem) as raised:
        read_annotations(write(tmp_path / name, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_of_another_kind_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"missing; `python -m flows\.annotate` makes it"):
        read_annotations(tmp_path / "a.jsonl")
    with pytest.raises(SettingError, match=r"ends in \.jsonl or \.csv"):
        read_annotations(tmp_path / "a.xlsx")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="not UTF-8 text"):
        read_annotations(tmp_path / "b.csv")


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", JSONL), ("a.csv", CSV), ("a.csv", CSV.rstrip())])
def test_a_line_is_added_and_no_other_byte_is_changed(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    before = read_annotations(path)
    append_annotation(Annotation("latents", 19, ADA.explanation), path)
    assert path.read_bytes().startswith(text.encode())
    assert read_annotations(path) == [*before, Annotation("latents", 19, ADA.explanation)]
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_the_first_line_makes_the_file(tmp_path: Path, name: str) -> None:
    append_annotation(ADA, tmp_path / name)
    append_annotation(Annotation("neurons", 19, "same number, another target"), tmp_path / name)
    assert read_annotations(tmp_path / name)[0] == ADA
    assert len(read_annotations(tmp_path / name)) == 2


@pytest.mark.parametrize("text", ['{"target": "latents", "unit": 19, "explanation": "lakes"}\n', "not json\n"])
def test_what_cannot_be_added_leaves_the_file_as_it_was(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.jsonl", text)
    with pytest.raises(ArtifactError, match=r"explains unit 19 of latents already: 'lakes'|line 1: not JSON"):
        append_annotation(ADA, path)
    assert path.read_bytes() == text.encode()


def test_an_author_is_refused_where_the_file_has_no_column_for_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    with pytest.raises(ArtifactError, match=r"a\.csv: has no column for the author 'Ada': add `author` to its heading"):
        append_annotation(ADA, path)
    assert path.read_bytes() == CSV.encode()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_any_one_line_of_words_comes_back_from_both_kinds_of_file(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    if text != text.strip() or not text.isprintable() or not any(char.isalnum() for char in text):
        with pytest.raises(SettingError, match="explanation"):
            Annotation("latents", 1, "\n" + text)
        return
    folder = tmp_path_factory.mktemp("files")
    for name in ("a.jsonl", "a.csv"):
        append_annotation(Annotation("latents", 1, text), folder / name)
        assert read_annotations(folder / name) == [Annotation("latents", 1, text)]


def explain(path: Path, target: str, unit: int) -> Explanation | None:
    explainer = HumanExplainer(str(path)).for_target(target, ["latents", "neurons"])
    return asyncio.run(explainer.explain(Unit(unit, 0.1, 1.0, 1.0, 0.0), []))


def test_a_unit_is_explained_in_the_persons_words_and_others_have_no_row(tmp_path: Path) -> None:
    append_annotation(ADA, tmp_path / "a.jsonl")
    assert explain(tmp_path / "a.jsonl", "latents", 19) == Explanation(
        "19.human.0", 19, "human", 0, ADA.explanation, "human: Ada", "", ()
    )
    assert explain(tmp_path / "a.jsonl", "latents", 20) is None
    assert explain(tmp_path / "a.jsonl", "neurons", 19) is None


@pytest.mark.parametrize(("name", "text", "line"), [("a.jsonl", JSONL, 3), ("a.csv", CSV, 4)])
def test_a_line_of_a_target_or_a_unit_that_the_study_has_not_is_named(
    tmp_path: Path, name: str, text: str, line: int
) -> None:
    human = HumanExplainer(str(write(tmp_path / name, text)))
    with pytest.raises(ArtifactError) as raised:
        human.for_target("latents", ["latents", "mlp"])
    assert str(raised.value) == f"{human.path}: line {line}: target='neurons' is not allowed: one of latents, mlp"
    neurons = human.for_target("neurons", ["latents", "neurons"])
    neurons.check_units([7, 4])  # unit 3 is of the other target
    with pytest.raises(ArtifactError) as raised:
        neurons.check_units([7, 5])
    allowed = "one of the 2 units that are explained, 5, 7 ... (explaining.n_units)"
    assert str(raised.value) == f"{human.path}: line {line}: unit=4 is not allowed: {allowed}"


def test_a_file_that_cannot_be_read_stops_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        HumanExplainer(str(tmp_path / "nothing.jsonl"))
    assert isinstance(HumanExplainer(str(write(tmp_path / "a.csv", CSV))), ForTarget)
