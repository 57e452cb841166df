"""The review page of a target with several labels an image in a browser: marked labels, none of the classes, and undo."""

from __future__ import annotations

import signal
import subprocess
import sys

import polars as pl
import pytest

from browsers import open_review, press, shown
from images import plant, quiet
from tapetum.core.config import Data
from tapetum.data import audit, layouts

CLASSES = ["<b>ant</b>", 'bee "two"', "no label", "0"]


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, classes=2, each=6, size=32, group_size=2)
    table = pl.read_csv(tmp_path / "labels.csv")
    cells = ["|".join(CLASSES[:2]), "[]", *(CLASSES[row % 4] for row in range(10))]
    table.with_columns(pl.Series("label", cells)).write_csv(tmp_path / "labels.csv")
    return tmp_path


def test_none_of_the_classes_by_key_and_by_button(browser, folder):
    command = [sys.executable, "-m", "tapetum", "review", "labels.csv", "--target", "label:multi", "--port", "0", "-o", "decisions.csv"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = next((part for line in process.stderr for part in line.split() if part.startswith("http://")), "")
        page = browser.new_context().new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        open_review(page, f"{address}?state=all&text=_000")
        first = shown(page)
        press(page, "0")
        press(page, "u")
        assert shown(page) == first  # undone
        assert page.locator("#message").inner_text() == "undone"
        open_review(page, address)
        rows = [shown(page)]
        press(page, "0")
        rows.append(shown(page))
        before = page.locator("body").get_attribute("data-shown")
        page.locator("[data-action=none]").click()
        page.locator(f'body:not([data-shown="{before}"])').wait_for(state="attached")
        rows.append(shown(page))
        held = page.locator("#classes li[aria-selected=true]")
        for label in held.evaluate_all("all => all.map(one => one.dataset.key)"):
            page.keyboard.press(label)
        assert held.count() == 0
        page.keyboard.press("Enter")
        page.get_by_text("no label is marked; 0 gives none of the classes").wait_for()
        for label in ("<b>ant", "0"):
            page.keyboard.press("/")
            page.keyboard.type(label)
            page.keyboard.press("Enter")
        assert held.evaluate_all("all => all.map(one => one.dataset.label)") == ["0", "<b>ant</b>"]
        press(page, "Enter")
        page.goto(f"{address}?pass=2")
        open_review(page, f"{address}?pass=2")
        press(page, "0")
        assert not errors
    finally:
        process.send_signal(signal.SIGINT)
        _, faults = process.communicate(timeout=60)
    assert process.returncode == 0, faults
    manifest = layouts.read(folder / "labels.csv", Data(targets=("label:multi",)), quiet)
    done = audit.apply(manifest, audit.read_decisions(folder / "decisions.csv", manifest, quiet), quiet).frame["label"].to_list()
    expected = manifest.frame["label"].to_list()
    for row, labels in zip(rows, ([], [], ["0", "<b>ant</b>"]), strict=True):
        expected[row] = labels
    assert [None if cell is None else sorted(cell) for cell in done] == [sorted(cell) for cell in expected]
