"""The report in headless Chromium: hostile texts stay texts, the list works, nothing overflows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import open_chromium
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.alert import Alert
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from toy_study import HOSTILE_HTML, LONG

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def desktop() -> Iterator[webdriver.Chrome]:
    with open_chromium(1280, 900) as driver:
        yield driver


@pytest.fixture(scope="module")
def phone() -> Iterator[webdriver.Chrome]:
    with open_chromium(390, 844, dark=True) as driver:
        yield driver


def open_page(driver: webdriver.Chrome, page: Path) -> None:
    driver.get("about:blank")
    driver.get(page.as_uri())


def assert_quiet(driver: webdriver.Chrome) -> None:
    """No dialog, no element that a text smuggled in, no complaint in the console, nothing asked of the network."""
    with pytest.raises(NoAlertPresentException):
        _ = Alert(driver).text
    smuggled = (
        "return document.querySelectorAll('img, iframe, object, embed, script[src], link, [onerror], [style]').length"
    )
    assert driver.execute_script(smuggled) == 0
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def texts(driver: webdriver.Chrome, selector: str) -> list[str]:
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
    )
    return found


def rows(driver: webdriver.Chrome) -> list[str]:
    return texts(driver, "#rows td.unit")


def search(driver: webdriver.Chrome, query: str, n_found: int) -> None:
    box = driver.find_element(By.ID, "query")
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE, query)
    WebDriverWait(driver, 5).until(lambda d: d.find_element(By.ID, "count").text.startswith(f"{n_found} of"))


def test_the_first_page_shows_every_unit_and_hostile_texts_as_texts(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "index.html")
    assert len(rows(desktop)) == 24
    assert desktop.find_element(By.TAG_NAME, "h1").text == "Toy <study>"
    words = texts(desktop, "#rows td.words")
    assert f"markup such as {HOSTILE_HTML}" in words
    assert "templates: {{ 7*7 }} and {% include 'x' %}" in words
    assert any(word.startswith("text that runs \u2039U+202E\u203abackwards") for word in words)
    assert "no explanation" in words
    assert_quiet(desktop)


@pytest.mark.parametrize("unit", [512, 608, 777, 901, 1571, 1203, 17])
def test_every_hostile_units_page_is_quiet(desktop: webdriver.Chrome, published: Path, unit: int) -> None:
    open_page(desktop, published / "units" / "latents" / f"{unit}.html")
    assert_quiet(desktop)
    data_scripts = desktop.execute_script("return document.scripts.length")
    assert data_scripts == 1
    assert desktop.execute_script("return document.documentElement.scrollWidth") <= 1280


def test_a_hostile_token_is_one_cell_with_its_text(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "512.html")
    assert f"·{HOSTILE_HTML}" in texts(desktop, ".c b")
    assert any(LONG in text for text in texts(desktop, ".c b"))
    open_page(desktop, published / "units" / "latents" / "1571.html")
    marks = texts(desktop, ".c b")
    assert {"↵", "⇥", "\u2039U+0000\u203a"} <= {mark.removeprefix("·") for mark in marks}


def test_truth_and_simulation_stand_under_each_other(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "17.html")
    offsets = desktop.execute_script(
        "return [...document.querySelectorAll('.tokens:not(.single) .c')].map((c) => {"
        "const [a, b] = [...c.children].map((e) => e.getBoundingClientRect());"
        "return [a.left - b.left, b.top >= a.bottom - 1, c.children[0].textContent === c.children[1].textContent]})"
    )
    assert len(offsets) > 100
    assert all(abs(left) < 0.5 and below and same for left, below, same in offsets)


def test_arrow_keys_read_the_numbers_of_a_token(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "17.html")
    tokens = desktop.find_element(By.CSS_SELECTOR, ".tokens")
    tokens.send_keys(Keys.ARROW_RIGHT)
    tip = desktop.find_element(By.ID, "tip")
    assert tip.text == "token 0 · not counted: the first token of a context"
    tokens.send_keys(Keys.ARROW_RIGHT)
    assert re.fullmatch(r"token 1 · true [\d.]+ · simulated [\d.e-]+", tip.text)
    tokens.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_lineage_says_what_was_accepted_and_shows_counterexamples(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "17.html")
    steps = texts(desktop, ".lineage > li")
    assert [("accepted" in step, "control" in step.lower()) for step in steps] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert len(texts(desktop, ".lineage details .context")) == 8
    open_page(desktop, published / "units" / "latents" / "377.html")
    assert "rejected" in texts(desktop, ".lineage > li")[1]


def test_a_failed_explanation_is_said(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "1203.html")
    assert desktop.find_element(By.TAG_NAME, "h1").text == "No explanation"
    assert "'I cannot <help> with that'" in desktop.find_element(By.CSS_SELECTOR, ".lede").text


def test_a_failed_simulation_is_said_where_it_would_stand(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "units" / "latents" / "204.html")
    assert texts(desktop, ".context .err") == ["no simulation: expected 18 numbers, found 17"]
    assert texts(desktop, ".plain tbody tr:first-child td:last-child")[0] == "1 of 8"


def test_search_sort_and_filter(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "index.html")
    search(desktop, "RUNNING water", 2)
    search(desktop, "onerror", 2)
    search(desktop, "", 24)
    head = desktop.find_element(By.CSS_SELECTOR, "th[data-key=score]")
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    scores = [
        float(text.replace("\u2212", "-").split(" ")[0])
        for text in texts(desktop, "#rows td.number[data-name=score]")
        if text != "none"
    ]
    assert scores == sorted(scores, reverse=True)
    assert texts(desktop, "#rows td.number[data-name=score]")[-4:] == ["none"] * 4
    desktop.find_element(By.CSS_SELECTOR, "#status option[value=failed]").click()
    assert rows(desktop) == ["1203", "1130"]
    assert "status=failed" in desktop.current_url


def test_a_row_leads_to_its_page_and_on_to_the_next(desktop: webdriver.Chrome, published: Path) -> None:
    open_page(desktop, published / "index.html")
    desktop.find_element(By.CSS_SELECTOR, "#rows a").send_keys(Keys.ENTER)
    assert desktop.current_url.endswith("units/latents/3.html")
    desktop.find_element(By.CSS_SELECTOR, "a[rel=next]").send_keys(Keys.ENTER)
    assert desktop.current_url.endswith("units/latents/17.html")
    assert_quiet(desktop)


def test_ten_thousand_units_are_drawn_in_chunks(desktop: webdriver.Chrome, published: Path, tmp_path: Path) -> None:
    html = (published / "index.html").read_text()
    start = html.index('id="data">') + len('id="data">')
    data = json.loads(html[start : html.index("</script>", start)])
    first = data["rows"][0]
    data["rows"] = [[i, *first[1:]] for i in range(10_000)]
    page = tmp_path / "index.html"
    page.write_text(html[:start] + json.dumps(data) + html[html.index("</script>", start) :])
    open_page(desktop, page)
    assert len(rows(desktop)) < 1000
    desktop.execute_script("scrollTo(0, document.body.scrollHeight)")
    drawn = len(rows(desktop))
    WebDriverWait(desktop, 5).until(lambda d: len(rows(d)) > drawn - 1 >= 99)
    search(desktop, "9999", 1)
    assert rows(desktop) == ["9999"]


@pytest.mark.parametrize(
    "page", ["index.html", "units/latents/17.html", "units/latents/901.html", "units/neurons/630.html"]
)
def test_nothing_is_wider_than_a_phone(phone: webdriver.Chrome, published: Path, page: str) -> None:
    open_page(phone, published / page)
    assert phone.execute_script("return document.documentElement.scrollWidth") == 390
    background = phone.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(20, 23, 26)"
