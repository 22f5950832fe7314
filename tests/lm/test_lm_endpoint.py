"""Where text may go, and a key that shows nowhere."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from latentese.errors import SettingError
from latentese.lm.endpoint import Endpoint

KEY = "sk-secret-0123456789"
HOSTED = "https://api.example.com/v1"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://localhost:1234/v1", "http://[::1]:80/v1", "http://127.9.9.9/v1"]
)
def test_this_machine_needs_no_permission(url: str) -> None:
    assert Endpoint(url, "m").is_loopback


@pytest.mark.parametrize(
    "url",
    [
        HOSTED,
        "http://192.168.1.7:8000/v1",
        "http://0.0.0.0:8000/v1",
        "http://localhost.example.com/v1",
        "http://10.0.0.1",
    ],
)
def test_another_machine_needs_permission_and_the_refusal_says_what_would_go_where(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        Endpoint(url, "gpt-x")
    assert str(refused.value) == (
        "allow_remote=False is not allowed: true sends excerpts of the corpus, activations and explanations to "
        f"{url} (model gpt-x); nothing was sent"
    )
    assert not Endpoint(url, "gpt-x", allow_remote=True).is_loopback


@pytest.mark.parametrize("url", ["", "api.example.com/v1", "ftp://127.0.0.1/v1", "http://", "http://127.0.0.1:port/v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingError, match=r"^base_url="):
        Endpoint(url, "m")


@pytest.mark.parametrize(
    "url", [f"http://me:{KEY}@127.0.0.1/v1", f"http://127.0.0.1/v1?key={KEY}", f"ftp://u:{KEY}@h/"]
)
def test_a_key_in_the_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingError, match=r"^base_url=") as refused:
        Endpoint(url, "m")
    assert KEY not in str(refused.value)


def test_a_key_where_its_name_belongs_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingError, match="the NAME of an environment variable") as refused:
        Endpoint("http://127.0.0.1/v1", "m", key_env=KEY)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("value", ["", "  ", "clé", "two words", "a\nb"])
def test_a_key_that_is_missing_or_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TOY_KEY", value)
    with pytest.raises(SettingError, match="key_env='TOY_KEY'") as refused:
        Endpoint("http://127.0.0.1/v1", "m", key_env="TOY_KEY")
    assert not value.strip() or value not in str(refused.value)


def test_a_key_does_not_travel_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    with pytest.raises(SettingError, match="https for another machine"):
        Endpoint("http://192.168.1.7/v1", "m", key_env="TOY_KEY", allow_remote=True)


def test_the_key_is_in_no_field_and_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", f" {KEY}\n")
    endpoint = Endpoint(HOSTED, "m", key_env="TOY_KEY", allow_remote=True)
    assert endpoint.key() == KEY
    assert KEY not in f"{endpoint!r}{asdict(endpoint)}{endpoint.name}"
    assert endpoint.scrub(f"bad key\n{KEY}, twice {KEY}") == "bad key [key], twice [key]"
    assert len(endpoint.scrub("x" * 1000)) == 300


def test_the_name_is_model_and_address_or_what_it_is_kept_as() -> None:
    assert Endpoint("http://127.0.0.1:8000/v1/", "m").name == "m@127.0.0.1:8000/v1"
    assert Endpoint("http://127.0.0.1:8001/v1", "m", kept_as="sha256-ab12").name == "m@sha256-ab12"


@pytest.mark.parametrize(
    ("fields", "setting"),
    [({"model": ""}, "model"), ({"model": "???"}, "model"), ({"timeout_seconds": 0}, "timeout_seconds")],
)
def test_other_bad_settings(fields: dict[str, object], setting: str) -> None:
    with pytest.raises(SettingError, match=f"^{setting}="):
        Endpoint(**({"base_url": "http://127.0.0.1/v1", "model": "m"} | fields))  # type: ignore[arg-type]
