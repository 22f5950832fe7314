"""An artifact is whole or absent; whatever is wrong with its files stops the reader in one line."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import polars as pl
import pytest

from latentese.errors import ArtifactError, LatenteseError
from latentese.store import artifact
from latentese.store.artifact import MANIFEST, open_artifact, open_draft
from latentese.store.files import write_text


def publish(out: Path, text: str = "hello", settings: dict[str, object] | None = None) -> Path:
    with open_draft(out, "scores", {}, settings or {"k": 1}) as draft:
        write_text(text, draft.path / "a.txt")
        draft.publish({"n": 1})
    return out


def test_published_folder_reads_back(tmp_path: Path) -> None:
    artifact = open_artifact(publish(tmp_path / "out"), "scores")
    assert artifact.file("a.txt").read_text() == "hello"
    assert artifact.manifest.settings == {"k": 1}
    assert artifact.manifest.counts == {"n": 1}


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = publish(tmp_path / "one"), publish(tmp_path / "two")
    assert (one / MANIFEST).read_bytes() == (two / MANIFEST).read_bytes()


def test_draft_survives_an_interruption_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), open_draft(out, "scores", {}, {"k": 1}) as draft:
        write_text("half", draft.path / "a.txt")
        raise KeyboardInterrupt
    assert not out.exists()
    with open_draft(out, "scores", {}, {"k": 1}) as draft:
        assert (draft.path / "a.txt").read_text() == "half"


def test_draft_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_draft(out, "scores", {}, {"k": 1}) as draft:
        write_text("of k=1", draft.path / "a.txt")
    with open_draft(out, "scores", {}, {"k": 2}) as draft:
        assert list(draft.path.iterdir()) == []
    with open_draft(out, "scores", {}, {"k": 1}) as draft:
        assert list(draft.path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), pl.exceptions.ComputeError("no room (os error 28)")]
)
def test_a_full_disk_is_one_line_whatever_is_written(tmp_path: Path, error: Exception) -> None:
    problem = r"cannot be written \(No space left on device\); what was there before is kept"
    before = publish(tmp_path / "out")
    with pytest.raises(ArtifactError, match=problem) as said, open_draft(before, "scores", {}, {"k": 2}) as draft:
        write_text("finished already", draft.path / "a.txt")
        raise error
    assert "\n" not in str(said.value)
    assert open_artifact(before, "scores").manifest.settings == {"k": 1}
    with open_draft(before, "scores", {}, {"k": 2}) as draft:
        assert (draft.path / "a.txt").read_text() == "finished already"


def test_what_may_not_be_read_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), open_draft(tmp_path / "out", "scores", {}, {}):
        raise PermissionError(errno.EACCES, "of another's file")


def test_a_kill_while_an_artifact_is_replaced_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of the steps of publishing: what is at `out` is the old artifact, the new one, or nothing."""
    out, found = publish(tmp_path / "out"), []

    def look(*_: object, **__: object) -> None:
        found.append(open_artifact(out, "scores").manifest.settings["k"] if out.exists() else None)

    for name in ("replace", "mkdir"):
        plain = getattr(Path, name)
        monkeypatch.setattr(
            Path, name, lambda self, *words, plain=plain, **named: (look(), plain(self, *words, **named), look())[1]
        )
    monkeypatch.setattr(artifact.shutil, "rmtree", look)
    publish(out, "new", {"k": 2})
    assert found[0] == 1
    assert found[-1] == 2
    assert None in found
    assert open_artifact(out, "scores").file("a.txt").read_text() == "new"


def test_work_folder_is_not_published(tmp_path: Path) -> None:
    with open_draft(tmp_path / "out", "scores", {}, {}) as draft:
        write_text("checkpoint", draft.path / "work" / "c.txt")
        artifact = draft.publish({})
    assert artifact.manifest.files == {}
    assert [path.name for path in (tmp_path / "out").iterdir()] == [MANIFEST]


def test_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    with (
        open_draft(tmp_path / "out", "scores", {}, {}),
        pytest.raises(LatenteseError, match="another process is writing it"),
        open_draft(tmp_path / "out", "scores", {}, {}),
    ):
        pass


def test_missing_manifest_means_no_artifact(tmp_path: Path) -> None:
    out = publish(tmp_path / "out")
    (out / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json: missing"):
        open_artifact(out, "scores")


def test_missing_file_is_named(tmp_path: Path) -> None:
    out = publish(tmp_path / "out")
    (out / "a.txt").unlink()
    with pytest.raises(ArtifactError, match=r"a\.txt: missing"):
        open_artifact(out, "scores")


def test_corrupt_file_is_named(tmp_path: Path) -> None:
    out = publish(tmp_path / "out")
    (out / "a.txt").write_text("hellO")
    with pytest.raises(ArtifactError, match=r"a\.txt: corrupt"):
        open_artifact(out, "scores")


def test_an_older_version_that_lacks_nothing_needed_is_still_read(tmp_path: Path) -> None:
    with open_draft(tmp_path / "out", "explanations", {}, {}) as draft:
        draft.publish({})
    file = tmp_path / "out" / MANIFEST
    manifest = json.loads(file.read_text())
    for version, is_read in ((0, False), (1, True), (2, True), (3, True), (4, False)):
        file.write_text(json.dumps(manifest | {"version": version}))
        if is_read:
            assert open_artifact(tmp_path / "out", "explanations").manifest.version == version
        else:
            with pytest.raises(ArtifactError, match="this release reads 3"):
                open_artifact(tmp_path / "out", "explanations")


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    out = publish(tmp_path / "out")
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(ArtifactError, match="schema version 99, this release reads 2"):
        open_artifact(out, "scores")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected an artifact of kind 'examples', found 'scores'"):
        open_artifact(publish(tmp_path / "out"), "examples")


def test_publishing_again_replaces(tmp_path: Path) -> None:
    publish(tmp_path / "out", "old")
    assert open_artifact(publish(tmp_path / "out", "new"), "scores").file("a.txt").read_text() == "new"
