"""Where released files come from, and the command's own checks."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from toy_report import build_toy

from flows.explanations import layer_of, main
from flows.released import address_of, released_files
from latentese.errors import LatenteseError, SettingError


def groups(source: str) -> list[list[str]]:
    return [[name for name, _ in group] for group in released_files(source)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("explanations/3/1.jsonl", "collated-activations/3/1.json", "explanations/4/1.jsonl", "notes.md"):
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path / "release"


def test_files_of_one_layer_come_in_one_group(folder: Path) -> None:
    found = groups(str(folder))
    short = [[name.removeprefix(f"{folder}/") for name in group] for group in found]
    assert short == [["collated-activations/3/1.json", "explanations/3/1.jsonl"], ["explanations/4/1.jsonl"]]


def test_a_list_names_paths_and_addresses(folder: Path) -> None:
    listing = folder / "neurons.txt"
    listing.write_text(f"# two neurons\n{folder}/explanations/3/1.jsonl\n\n{folder}/explanations/4/1.jsonl\n")
    assert [len(group) for group in groups(str(listing))] == [1, 1]
    assert groups(str(folder / "explanations/4/1.jsonl")) == [[f"{folder}/explanations/4/1.jsonl"]]


def test_the_releases_own_addresses_are_served_over_https() -> None:
    assert address_of("az://openaipublic/a/1.json") == "https://openaipublic.blob.core.windows.net/a/1.json"
    assert address_of("http://localhost/1.json") == "http://localhost/1.json"
    assert address_of("explanations/3/1.jsonl") is None


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    """Address of an HTTP server of the folder."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_addresses_are_fetched_and_what_is_not_there_is_one_line(served: str, tmp_path: Path) -> None:
    listing = tmp_path / "neurons.txt"
    listing.write_text(f"{served}/explanations/3/1.jsonl\n{served}/explanations/3/2.jsonl\n")
    (group,) = released_files(str(listing))
    assert next(group) == (f"{served}/explanations/3/1.jsonl", b"{}")
    with pytest.raises(LatenteseError, match=r"2.jsonl: cannot be read \(HTTP Error 404"):
        next(group)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.txt", "nowhere/1.json"])
def test_a_missing_source_is_one_line(source: str) -> None:
    with pytest.raises(LatenteseError, match=rf"{source}: cannot be read \(.*No such file"):
        [list(group) for group in released_files(source)]


def test_a_folder_without_such_files_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LatenteseError, match=r"no file ends in \.json or \.jsonl"):
        released_files(str(tmp_path))


def test_the_layer_is_that_of_the_hookpoint() -> None:
    assert layer_of("layers.12.resid_post") == 12
    with pytest.raises(SettingError, match="hookpoint='embed' is not allowed"):
        layer_of("embed")


def test_a_target_is_exported_imported_and_listed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = build_toy(tmp_path / "toy")
    (tmp_path / "artifacts/targets").mkdir(parents=True)
    (tmp_path / "artifacts/contexts").symlink_to(toy.contexts)
    (tmp_path / "artifacts/targets/latents").symlink_to(toy.targets["latents"].scores.parent)
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=r"target='features' is not allowed: one of latents, neurons"):
        main("export", "features", "out")
    main("export", "latents", "out", "--simulator", "similarity")
    main("import", "out", "imported")
    said = capsys.readouterr().out
    assert "23 explanations of 12 units in out\nleft out: 2 simulations without an answer" in said
    assert "layer 12: 23 explanations in imported/layer_12" in said
    main("list", "imported/layer_12", "--lines", "3")
    assert "3 of 23, best first" in capsys.readouterr().out
    main("list", "latents", "--simulator", "similarity")
    listed = capsys.readouterr().out
    assert "token_activation" in listed
    assert "failed" in listed, "a unit without an explanation is listed as such"
    with pytest.raises(SettingError, match=r"--metric='auroc' is not allowed: one of correlation"):
        main("list", "latents", "--simulator", "similarity", "--metric", "auroc")
