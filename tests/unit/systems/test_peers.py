"""What `make bench-peers` shares between peers, and what it makes of their runs."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
import peers

PHOTOS = [{"path": f"/photos/{name}-{i}.jpg", "label": name} for i in range(6) for name in ("beagle", "boxer")]


def a_run(place: Path, key: str, wrong: int, cpu_s: float) -> None:
    """Write the run of a peer that takes the first ``wrong`` photos for the other class."""
    truth = [row["label"] == "boxer" for row in peers.read(place / "dogs.csv")]
    p = [[1.0 - (t != (i < wrong)), float(t != (i < wrong))] for i, t in enumerate(truth)]
    (place / f"dogs-{key}-0.json").write_text(json.dumps({"cpu_s": cpu_s, "peak_gb": 1.0, "p": p}), encoding="utf-8")


@pytest.fixture
def place(tmp_path):
    with (tmp_path / "dogs.csv").open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, ["path", "label", "fold"])
        writer.writeheader()
        writer.writerows(peers.drawn(PHOTOS, 2, 12))
    return tmp_path


def test_drawn_rows_are_balanced_over_classes_and_folds():
    rows = peers.drawn(PHOTOS, 2, 8)
    assert Counter((row["label"], row["fold"]) for row in rows) == {(n, f): 2 for n in ("beagle", "boxer") for f in "01"}
    assert rows == peers.drawn(PHOTOS, 2, 8)


def test_every_peer_gets_the_same_table(tmp_path, monkeypatch):
    (tmp_path / "dogs").mkdir()
    lines = "".join(f"{i}.jpg,{name}\n" for i in range(4) for name in ("beagle", "boxer"))
    (tmp_path / "dogs" / "labels.csv").write_text(f"file,breed\n{lines}", encoding="utf-8")
    given = []

    def pretended(words, log):
        rows = peers.read(Path(words[2]))
        given.append((words[1], rows, words[4:]))
        out = [f"{row['path']},{row['fold']},0.5,0.5\n" for row in reversed(rows)]
        Path(words[3]).write_text("path,fold,beagle,boxer\n" + "".join(out), encoding="utf-8")
        return {"cpu_s": 1.0, "peak_gb": 1.0}

    monkeypatch.setattr(peers, "measured", pretended)
    monkeypatch.setattr(peers, "python_of", lambda peer: Path("python"))
    monkeypatch.setattr(peers, "HOME", tmp_path)
    wish = argparse.Namespace(data=tmp_path, folds=2, limit=8, repeats=1, size=32, epochs=1)
    for _ in range(2):  # the second time all is there
        peers.run_set("dogs", wish)
    assert [Path(script).stem for script, *_ in given] == list(peers.SETS["dogs"][1])
    assert all(rows == given[0][1] and options == given[0][2] for _, rows, options in given)


@pytest.mark.parametrize("change", [("0", "1"), ("/photos", "/elsewhere")])
def test_answers_of_other_folds_or_rows_are_refused(tmp_path, change):
    rows = [{"path": "/photos/a.jpg", "label": "beagle", "fold": "0"}]
    (tmp_path / "out.csv").write_text("path,fold,beagle\n" + "/photos/a.jpg,0,0.9\n".replace(*change, 1), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"lacks 1 row"):
        peers.answers(tmp_path / "out.csv", rows)


def test_table_has_scores_differences_and_ratios(place):
    a_run(place, peers.PROBE, 1, 10.0)
    a_run(place, "frozen", 3, 25.0)
    found = {row["peer"]: row for row in peers.found_in("dogs", place)}
    assert found["frozen"]["times"] == 2.5
    assert found["frozen"]["gain"]["value"] == pytest.approx(2 / 12)
    shown = peers.shown(list(found.values()))
    assert "| Tapetum, probe | 0.917 " in shown
    assert "| 25 | 2.5× |" in shown


@pytest.mark.parametrize(
    ("wrong", "cpu_s", "said"),
    [
        (3, 200.0, "; reached for the score, reached for the time"),
        (1, 200.0, "; reached for the score, reached for the time"),
        (0, 200.0, "**not reached** for the score, reached for the time"),
        (3, 50.0, "; reached for the score, **not reached** for the time"),
    ],
)
def test_goal_of_dogs_is_score_and_time(place, wrong, cpu_s, said):
    a_run(place, peers.PROBE, 1, 10.0)
    a_run(place, "frozen", wrong, cpu_s)
    assert said in peers.goals({"dogs": peers.found_in("dogs", place)})["dogs"]


def test_equal_score_is_not_higher_for_faces(place):
    a_run(place, peers.PROBE, 1, 10.0)
    a_run(place, "fastai_tuning", 1, 100.0)
    assert "**not reached** for the score" in peers.goals({"faces": peers.found_in("dogs", place)})["faces"]


def test_best_peer_of_equal_scores_is_the_cheapest(place):
    a_run(place, peers.PROBE, 1, 10.0)
    a_run(place, "timm_training", 2, 200.0)
    a_run(place, "frozen", 2, 50.0)
    assert "at 0.20 of its CPU" in peers.goals({"dogs": peers.found_in("dogs", place)})["dogs"]


def test_stopped_run_has_no_verdict_but_a_table(place):
    a_run(place, "frozen", 1, 10.0)
    found = peers.found_in("dogs", place)
    assert "scikit-learn" in peers.shown(found)
    assert peers.lacking("dogs", found).startswith("Not run yet: Tapetum, probe, fastai")
    assert "needs a run" in peers.goals({"dogs": found})["dogs"]


def test_cpu_seconds_are_those_of_the_child(tmp_path):
    log = tmp_path / "log"
    used = peers.measured([sys.executable, "-c", "import os; print('threads', os.environ['OMP_NUM_THREADS'])"], log)
    assert log.read_text() == "threads 1\n"
    assert used["cpu_s"] > 0
    assert used["peak_gb"] > 0
    with pytest.raises(SystemExit, match="ended with 3"):
        peers.measured([sys.executable, "-c", "raise SystemExit(3)"], log)
