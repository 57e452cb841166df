"""The review of a night at the command line: its page, its keys in a browser, the corrected hypnogram and the log of changes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import signal
import subprocess
import sys
import urllib.request

import polars as pl
import pytest
from PIL import Image

import small_runs
from browsers import open_review, press, shown
from edf_bytes import NAME, plus
from tapetum import api
from tapetum.core.errors import EnvironmentFault
from tapetum.workflow.commands import review_night

for needed in ("starlette", "uvicorn"):
    pytest.importorskip(needed, reason="the review page needs the extra review")
STAGES = ["W", "W", "N2", "N2", "N1", "N2", "R", "N3"]  # N3 after REM is improbable, epoch 5 is uncertain


@pytest.fixture
def folder(tmp_path):
    """A night of 8 epochs with the answers of a program, as ``sleep stage`` is given them, and a colleague's stages."""
    (tmp_path / "night.edf").write_bytes(plus(240).bytes())
    rows = []
    for number, stage in enumerate(STAGES):
        sure = 0.5 if number == 4 else 0.8
        shares = [sure if name == stage else (1 - sure) / 4 for name in ("W", "N1", "N2", "N3", "R")]
        rows.append(f"{number + 1},{stage}," + ",".join(f"{one:.4f}" for one in shares))
    (tmp_path / "own.csv").write_text("epoch,stage,p_W,p_N1,p_N2,p_N3,p_R\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "colleague.txt").write_text("\n".join([*STAGES[:2], "N1", *STAGES[3:]]) + "\n", encoding="utf-8")
    return tmp_path


@contextlib.contextmanager
def served(folder, *more: str, out: str = "reviewed.csv"):
    """Serve the review of the night and give the address; it ends as Ctrl-C ends it."""
    command = [sys.executable, "-m", "tapetum", "sleep", "review", "night.edf", "--stages", "own.csv", *more, "--port", "0", "-o", out]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = next((part for line in process.stderr for part in line.split() if part.startswith("http://")), "")
    said: list[str] = []
    try:
        yield address, said
    finally:
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        said.append(text)


def decide(address: str, row: int, action: str, *labels: str) -> None:
    content = json.dumps({"row": row, "action": action, "labels": list(labels), "seen": 0, "window": "w", "reviewer": "ada"}).encode()
    headers = {"content-type": "application/json", "origin": address.rstrip("/")}
    with urllib.request.urlopen(urllib.request.Request(f"{address}decide", content, headers)) as found:
        assert found.status == 200


def test_decisions_become_a_hypnogram_and_a_log(folder):
    pytest.importorskip("edfio")
    with served(folder, "--stages", "colleague.txt", out="reviewed.edf") as (address, said):
        with urllib.request.urlopen(address) as found:
            page = found.read().decode()
        for place, size in (("image/4", (1920, 172)), ("image/4?small=1", (480, 43))):  # two channels of EEG
            with urllib.request.urlopen(f"{address}{place}") as found:
                assert Image.open(io.BytesIO(found.read())).size == size
        decide(address, 4, "relabel", "N2")
        decide(address, 7, "exclude")
        decide(address, 2, "keep")
        with urllib.request.urlopen(f"{address}decisions.csv") as found:
            assert found.read().decode().startswith("epoch,onset,from,to,at,reviewer\n5,120.0,N1,N2,20")
    assert "colleague: N1" in page  # disputed, so of most worth
    assert 'data-label="REM" data-key="r"' in page
    assert "<kbd>x</kbd> unscored</button>" in page
    assert "epoch 2: Wake</small>" in page
    assert "3 of 8 epochs decided (3 were listed): 1 confirmed, 1 changed, 1 unscored" in said[0]
    assert "N1 0.5 → 0.0" in said[0]
    changes = pl.read_csv(folder / "reviewed-changes.csv")
    assert changes.select("epoch", "from", "to", "reviewer").rows() == [
        (5, "N1", "N2", "ada"),
        (8, "N3", "?", "ada"),
        (3, "N2", "N2", "ada"),
    ]
    stats = small_runs.cli("sleep", "export", folder / "reviewed.edf", "-o", folder / "again.csv")
    assert stats.code == 0, stats.err
    assert pl.read_csv(folder / "again.csv")["stage"].to_list() == ["Wake", "Wake", "N2", "N2", "N2", "N2", "REM", "?"]
    for path in folder.glob("reviewed*"):
        assert NAME.encode() not in path.read_bytes(), path


def test_decisions_are_written_again_without_the_page(folder):
    with served(folder) as (address, _):
        decide(address, 4, "relabel", "N2")
    (folder / "reviewed.csv").unlink()
    args = ("sleep", "review", folder / "night.edf", "--stages", folder / "own.csv", "-o", folder / "reviewed.csv", "--export")
    said = small_runs.cli(*args, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["decided"], found["changed"]) == (1, 1)
    assert found["after"]["N1"] == 0.0
    table = pl.read_csv(folder / "reviewed.csv")
    assert table["stage"][4] == "N2"
    assert table["p_N1"][4] == 0.5, "probabilities stay those of the program"
    (folder / "own.csv").write_text("\n".join(["stage", *STAGES[::-1]]) + "\n", encoding="utf-8")
    said = small_runs.cli(*args)
    assert said.code == 3
    assert "holds decisions on other data" in said.err


def test_night_without_stages_is_told_how_to_get_them(folder):
    said = small_runs.cli("sleep", "review", folder / "night.edf", "-o", folder / "reviewed.csv", "--port", "0")
    assert said.code == 3
    assert "tapetum sleep stage" in said.err
    said = small_runs.cli("sleep", "review", folder / "night.edf", "--stages", folder / "own.csv", "-o", folder / "reviewed.parquet")
    assert said.code == 2
    assert ".csv" in said.err


def test_what_cannot_be_written_is_said_before_the_page(folder, monkeypatch):
    served, find = [], importlib.util.find_spec
    monkeypatch.setattr(review_night, "_serve", lambda *_: served.append(1))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "edfio" else find(name, *more))
    with pytest.raises(EnvironmentFault, match="edfio"):
        api.sleep_review(folder / "night.edf", folder / "reviewed.edf", stages=folder / "own.csv")
    assert not served


def test_night_is_reviewed_by_keys(browser, folder):
    with served(folder) as (address, said):
        page = browser.new_context().new_page()
        open_review(page, address)
        seen = []
        for key in ("2", "k", "x", "w"):
            seen.append(shown(page))
            press(page, key)
        assert seen[:2] == [7, 4]  # N3 after REM, then the uncertain one
        assert page.locator(".shares meter").count() == 5
        assert page.locator("figure.main img").evaluate("image => image.complete && image.naturalWidth") == 1920
    assert "4 of 8 epochs decided" in said[0]
    table = pl.read_csv(folder / "reviewed.csv")
    assert (table["stage"][7], table["stage"][4], table["stage"][seen[2]]) == ("N2", "N1", "?")
