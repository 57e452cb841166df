"""The report in a browser: sorted, cells opened, thresholds moved, on a phone, on paper, without a network."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from importlib import resources

import pytest

from report_runs import TARGETS, make_run
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Predictions
from tapetum.show import words
from tapetum.show.report import write_report
from tapetum.show.run_files import read_run
from tapetum.show.target_sections import answered


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("page"), rows=60, sequences=4)
    write_report(run)
    return run


def opened(browser, place, **how):
    """Open a page; whatever it asks of the network, and each error of its script, is kept in ``asked``."""
    page = browser.new_context(**how).new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.on("pageerror", lambda error: page.asked.append(str(error)))
    page.goto(place.as_uri())
    return page


def test_tables_sort_by_click_and_by_key(browser, run):
    page = opened(browser, run / "report.html")
    table = page.locator("#classes-1 table")
    read = lambda: [float(row.locator("td").first.inner_text()) for row in table.locator("tbody tr").all()]  # noqa: E731
    head = table.locator("thead th", has_text=re.compile(r"^n$"))
    head.click()
    assert read() == sorted(read(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.focus()
    page.keyboard.press("Enter")
    assert read() == sorted(read())
    assert page.asked == []


def test_a_cell_opens_the_images_it_counts(browser, run):
    page = opened(browser, run / "report.html")
    dense = read_run(run).held_out(TARGETS[0])
    rows = dense.where(dense.scorable)
    true, given = rows.y.argmax(1), answered(rows).argmax(1)
    cell = page.locator("#confusion-1 table.confusion button[data-cell]").nth(1)
    i, j = map(int, cell.get_attribute("data-cell").split(","))
    inside = set(rows.row_ids[(true == i) & (given == j)].tolist())
    assert int(cell.inner_text()) == len(inside)
    cell.focus()
    page.keyboard.press("Enter")
    panel = page.locator("#opened-1")
    panel.wait_for(state="visible")
    assert f"{len(inside)} image" in panel.locator("h3").inner_text()
    named = {small.inner_text() for small in panel.locator("figcaption small").all()}
    assert named <= inside
    assert len(named) == min(len(inside), 12)
    assert panel.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.asked == []


def test_threshold_shows_what_the_rows_give(browser, run):
    page = opened(browser, run / "report.html")
    dense = read_run(run).held_out(TARGETS[1])
    rows = dense.where(dense.scorable)
    slider = page.locator("#threshold-2 .slider")
    slider.locator("select").select_option("1")
    for step in (50, 80):
        slider.locator("input").evaluate("(range, step) => { range.value = step; range.dispatchEvent(new Event('input')); }", step)
        above, positive = rows.p[:, 1] >= step / 100, rows.y[:, 1] > 0.5
        shown = {name: slider.locator(f"[data-of={name}]").inner_text() for name in ("tp", "fp", "fn", "precision", "recall")}
        assert shown["tp"] == str((above & positive).sum())
        assert shown["fp"] == str((above & ~positive).sum())
        assert shown["fn"] == str((~above & positive).sum())
        assert float(shown["recall"]) == pytest.approx((above & positive).sum() / positive.sum(), abs=5e-4)
        assert slider.locator("output").inner_text() == f"{step / 100:.2f}"
        assert slider.locator("[data-of=precision]").inner_text() == words.number((above & positive).sum() / above.sum())
    slider.locator("input").focus()
    page.keyboard.press("ArrowLeft")
    assert slider.locator("output").inner_text() == "0.79"
    assert page.asked == []


def test_slider_and_server_round_halves_alike(browser, tmp_path):
    found = json.dumps(
        {"classes": ["a"], "steps": 15, "n": 32, "tp": [list(range(1, 17))], "fp": [list(range(15, -1, -1))], "positive": [16]}
    )
    script = resources.files("tapetum.show").joinpath("report.js").read_text(encoding="utf-8")
    parts = "".join(f'<b data-of="{name}"></b>' for name in ("tp", "fp", "fn", "precision", "recall", "f1", "specificity"))
    (tmp_path / "page.html").write_text(
        f'<div class="slider" hidden><input type="range" min="0" max="15"><output></output>{parts}'
        f'<script type="application/json">{found}</script></div><script>{script}</script>'
    )
    page = opened(browser, tmp_path / "page.html")
    for step in range(16):
        page.locator("input").evaluate("(range, step) => { range.value = step; range.dispatchEvent(new Event('input')); }", step)
        assert page.locator("[data-of=precision]").inner_text() == words.number((step + 1) / 16)
    assert page.asked == []


def test_map_brings_one_label_forward(browser, run):
    page = opened(browser, run / "report.html")
    page.locator("#map select").select_option("1")
    assert page.locator("#map .map2 g:not(.away)").count() == 1
    page.locator("#map select").select_option("")
    assert page.locator("#map .map2 g.away").count() == 0


def named_at_length(target):
    """Return a target whose classes have names of any length and writing."""
    return dataclasses.replace(target, classes=("x" * 700, "a very long name " * 50, "\u05e9\u05dc\u05d5\u05dd (1)", target.classes[2]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_a_phone(browser, run, tmp_path, scheme):
    other = make_run(tmp_path, rows=20)
    blend = {"members": ["a rather long name of a member"], "calibrate": {"name": "temperature_for_each_class"}, "final": {"w": [0.25] * 9}}
    files.write_json(other / "decisions.json", {"steps": {"breed": {"fold": {"0": blend, "final": blend}}}})
    write_report(other)
    shutil.copytree(other, named := tmp_path / "named")
    target, table = named_at_length(TARGETS[0]), Predictions.read(named / "oof.parquet")
    renamed = [dataclasses.replace(table.dense(t.name), target=target if t.name == target.name else t) for t in table.targets]
    Predictions.from_dense(renamed).write(named / "oof.parquet")
    write_report(named)
    places = [other / "report.html", named / "report.html", run / "report.html"]
    places += [tmp_path / "index.html", tmp_path / "comparison.html"]
    api.list_runs(tmp_path, places[3])
    api.report(run, places[4], others=[other])
    for place in places:
        page = opened(browser, place, viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        text, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
        light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (text, ground)]
        assert (light[0] < light[1]) == (scheme == "light")
        assert page.asked == []


def test_paper_opens_what_is_folded(browser, run, tmp_path):
    page = opened(browser, run / "report.html")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("nav").is_visible()
    assert not page.locator(".slider").first.is_visible()
    assert page.locator("#threshold-2 table").is_visible()


def test_the_page_says_everything_without_its_script(browser, run):
    page = opened(browser, run / "report.html", java_script_enabled=False)
    assert page.locator("#summary").is_visible()
    assert not page.locator(".slider").first.is_visible()
    assert not page.locator(".pick").first.is_visible()
    page.locator("#threshold-2 summary").click()
    assert page.locator("#threshold-2 table").is_visible()
