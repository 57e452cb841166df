"""``tapetum runs`` and ``tapetum report A B`` on real runs."""

from __future__ import annotations

import json
import shutil

import small_runs
from tapetum.core import files


def test_runs_are_listed_for_people_and_machines(probed, tuned, tmp_path):
    for name, run in (("probed", probed), ("deep/tuned", tuned)):
        shutil.copytree(run, tmp_path / "runs" / name)
    said = small_runs.cli("runs", tmp_path / "runs", verbose=False)
    assert said.code == 0, said.err
    figure = next(f for f in files.read_json(probed / "metrics.json")["figures"] if f["name"] == "final")
    assert any(line.startswith("probed ") and f"{figure['value']:.3f}" in line for line in said.out.splitlines())
    place = tmp_path / "index.html"
    listed = json.loads(small_runs.cli("runs", tmp_path / "runs", "-o", place, "--json", verbose=False).out)
    assert {line["run"] for line in listed["runs"]} == {"probed", "deep/tuned"}
    assert 'href="runs/deep/tuned/report.html"' in place.read_text(encoding="utf-8")


def test_report_of_two_runs_compares_them(probed, tuned, tmp_path):
    place = tmp_path / "comparison.html"
    said = small_runs.cli("report", probed, tuned, "-o", place, verbose=False)
    assert (said.code, said.out.strip()) == (0, str(place)), said.err
    page = place.read_text(encoding="utf-8")
    assert "common images" in page
    assert "train.epochs" in page.replace("<wbr>", "")
    wrong = small_runs.cli("report", probed, tmp_path, verbose=False)
    assert wrong.code == 2
    assert "is not a run" in wrong.error
