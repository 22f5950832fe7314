"""What is composed goes to params.yaml, Prefect and MLflow, so it may hold no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import write_params
from latentese.errors import SettingError

ROOT = Path(__file__).parents[2]
SERVED = ("lm=openai", "lm.lm.endpoint.model=any", "~simulator@simulators.all_at_once", "scoring.limits=null")


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        ((*SERVED, "lm.lm.endpoint.key_env=sk-hush-0123"), "lm.lm.endpoint.key_env"),
        ((*SERVED, "lm.lm.endpoint.base_url='https://ada:hush@example.org/v1'"), "lm.lm.endpoint.base_url"),
        (("tracking.uri='postgresql://ada:hush@example.org/runs'",), "tracking.uri"),
        (("subject.mirrors=['https://hush@example.org/']",), r"subject.mirrors\[0\]"),
    ],
)
def test_a_secret_is_refused_unseen_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], setting: str
) -> None:
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=f"^{setting}='...' is not allowed") as refused:
        write_params(overrides)
    assert "hush" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
