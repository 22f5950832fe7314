from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from latentese.report.charts import Row, Scale, act_histogram, forest, mirrored_histogram, ticks
from latentese.report.page import edges, level_text, percent, score, script_json


def test_json_in_a_script_cannot_leave_it() -> None:
    hostile = {"text": "</script><!-- & \u2028 \u2029 {{ 7*7 }}"}
    written = str(script_json(hostile))
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == hostile


def test_numbers_as_people_read_them() -> None:
    assert [score(value) for value in (None, 0.5, -0.126, -0.001)] == ["—", "0.50", "\u22120.13", "0.00"]
    assert [edges(-0.004, 0.3), edges(None, None)] == ["[0.00, 0.30]", "(no interval)"]
    assert level_text(0.9) == "90\u00a0%"
    assert [percent(value) for value in (0.0, 0.00123, 0.5, 0.12)] == ["0 %", "0.12 %", "50 %", "12 %"]


def test_the_policy_names_exactly_the_inlined_script_and_style(published: Path) -> None:
    for page in (published / "index.html", published / "units" / "latents" / "17.html"):
        html = page.read_text()
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
        assert policy is not None
        found = policy[1].replace("&#39;", "'")
        for tag, name in (("script", "script-src"), ("style", "style-src")):
            bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
            hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
            assert hashes == re.findall(rf"{name} 'sha256-([^']+)'", found)
        assert "default-src 'none'" in found
        assert "unsafe" not in found


def test_pages_ask_for_nothing_from_elsewhere(published: Path) -> None:
    for page in published.rglob("*.html"):
        attributes = re.findall(r'\s(?:src|href|action)="([^"]*)"', page.read_text())
        assert all(not re.match(r"[a-z]+:|//", address) for address in attributes)


def test_links_between_pages_lead_somewhere(published: Path) -> None:
    for page in published.rglob("*.html"):
        for address in re.findall(r'href="([^"#]+)', page.read_text()):
            assert (page.parent / address).resolve().is_file(), (page, address)


def test_scale_maps_its_ends_and_holds_what_lies_beyond() -> None:
    scale = Scale(0.0, 2.0, 100.0, 0.0)
    assert [scale(value) for value in (0.0, 1.0, 2.0, 5.0)] == [100.0, 50.0, 0.0, 0.0]


def test_ticks_are_round() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(-0.43, 0.97, 8) == [-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8]


def test_a_forest_plot_draws_each_interval_on_its_axis() -> None:
    chart = forest([Row("right", 0.5, 0.25, 1.0, "right")], "correlation", "95 % intervals")
    interval = next(shape for shape in chart.shapes if shape.look == "right stroke")
    mean = next(shape for shape in chart.shapes if shape.look == "right fill")
    low, high, at = float(interval.attributes["x1"]), float(interval.attributes["x2"]), float(mean.attributes["cx"])
    assert (at - low) / (high - low) == 1 / 3 or abs((at - low) / (high - low) - 1 / 3) < 1e-3


def test_a_mean_without_an_interval_is_a_dot() -> None:
    chart = forest([Row("right", 0.5, None, None, "right")], "correlation", "95 % intervals")
    assert [shape.tag for shape in chart.shapes if shape.look.startswith("right ")] == ["circle"]


def test_the_page_names_the_level_of_the_scores_and_the_identity_has_no_cards(published: Path) -> None:
    html = (published / "index.html").read_text()
    assert "90\u00a0% bootstrap" in html
    assert "95" not in re.sub(r"<s(tyle|cript|vg).*?</s\1>", "", html, flags=re.DOTALL)
    assert html.count("variance unexplained") == 1
    assert html.count("KL with the reconstruction in the stream") == html.count("[0.28, 0.35]") == 1
    assert "firing threshold" in html
    neuron = next((published / "units" / "neurons").glob("*.html")).read_text()
    assert "True activations up to the firing threshold, 0.4, count as 0." in neuron
    latent = next((published / "units" / "latents").glob("*.html")).read_text()
    assert "firing threshold" not in latent


def test_a_histogram_puts_wrong_explanations_below_the_line() -> None:
    chart = mirrored_histogram([0.55, 0.55, 0.95], [0.05], "score")
    bars = [
        (shape.hint, float(shape.attributes["y"]), float(shape.attributes["height"]))
        for shape in chart.shapes
        if shape.tag == "rect"
    ]
    assert [hint for hint, _, _ in bars] == ["1 wrong, 0.0 to 0.1", "2 right, 0.5 to 0.6", "1 right, 0.9 to 1.0"]
    assert bars[1][2] == 2 * bars[2][2]
    assert bars[0][1] > bars[1][1]


def test_figures_are_well_formed_and_say_no_time(published: Path) -> None:
    figures = sorted((published / "figures").glob("*.svg"))
    assert [figure.stem for figure in figures] == [
        "densities_latents", "densities_neurons", "findings_density", "findings_kind", "findings_layer",
        "refinement_latents", "refinement_neurons",
        "scores_latents", "scores_neurons", "training_latents",
    ]  # fmt: skip
    for figure in figures:
        assert ET.parse(figure).getroot().tag.endswith("svg")
        assert "dc:date" not in figure.read_text()


def test_an_activation_histogram_shows_only_the_filled_range() -> None:
    chart = act_histogram([0.5, 1.0, 2.0, 4.0, 8.0], [0, 3, 0, 1])
    bars = [shape for shape in chart.shapes if shape.tag == "rect"]
    assert [shape.hint for shape in bars] == ["3 tokens, 1 to 2", "1 tokens, 4 to 8"]
    # log(1 + 1) / log(1 + 3) = 1/2
    assert float(bars[1].attributes["height"]) == 0.5 * float(bars[0].attributes["height"])
    assert [shape.text for shape in chart.shapes if shape.look == "tick"][:4] == ["1", "2", "4", "8"]
