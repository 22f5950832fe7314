"""The templates' environment: everything escaped, scripts and styles inline under a policy that names their hashes.

A page is one file: it opens from a disk, from a tracking server's viewer or from a mail, and asks for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from latentese.report.numbers import edges_text, percent, two_digits
from latentese.report.visible import visible

MINUS = "\N{MINUS SIGN}"

LABELS = {
    "refined": "refined",
    "rejected": "not improved",
    "first": "first explanation",
    "apart": "not refined",
    "unscored": "no score",
    "failed": "failed",
    "accepted": "accepted",
}
"""What the pages call a status."""


def render(template: str, script: str, values: Mapping[str, Any]) -> str:
    """Render one template of `report/page` with its script and the common style sheet inlined."""
    style_text, script_text = _asset("style.css"), _asset(script)
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            labels=LABELS,
            style=Markup(style_text),
            script=Markup(script_text),
            policy=content_policy(script_text, style_text),
        )
    )


def content_policy(script: str, style: str) -> str:
    """Write a Content-Security-Policy that lets exactly this script and this style run, and nothing be fetched."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> Markup:
    """Write JSON that is safe inside a script element: it cannot close the element, open a comment or break a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def score(value: float | None, signed: bool = False) -> str:
    """Write a score with two digits; an em dash where there is none."""
    return "—" if value is None else two_digits(value, signed).replace("-", MINUS)


def whole(value: float | None) -> str:
    """Write a count without digits after the point; an em dash where there is none."""
    return "—" if value is None else f"{value:,.0f}"


def edges(low: float | None, high: float | None, signed: bool = False) -> str:
    """Write an interval; a score over one document has none."""
    return edges_text(low, high, signed).replace("-", MINUS)


def level_text(level: float) -> str:
    """Write the level of intervals as a percentage, with a space that does not break."""
    return f"{100 * level:g}\N{NO-BREAK SPACE}%"


def span(row: Mapping[str, Any], prefix: str) -> str:
    """Write the interval of one score of a study row."""
    if row[f"{prefix}_score"] is None:
        return "not defined"
    return edges(row[f"{prefix}_low"], row[f"{prefix}_high"])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("latentese.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=score, percent=percent, span=span, edges=edges, whole=whole, visible=visible)
    return environment


def _asset(name: str) -> str:
    return (files("latentese.report") / "page" / name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
