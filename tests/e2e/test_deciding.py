"""Anybody's predictions, decided, compared and ranked through the command line; no image and no torch in sight."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from typer.main import get_command

from tapetum.cli import app
from tapetum.core import errors
from tapetum.core.ledger import Ledger
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import Target

CLASSES = ("wake", "light", "deep")


def call(*words):
    done = CliRunner().invoke(get_command(app), [str(w) for w in words])
    if isinstance(done.exception, errors.TapetumError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


@pytest.fixture
def desk(tmp_path):
    """A manifest of 12 nights with a sticky truth, and two frameworks' predictions of it."""
    rng = np.random.default_rng(0)
    ids, nights, positions, truths = [], [], [], []
    for night in range(12):
        stage = 0
        for epoch in range(40):
            stage = stage if rng.random() < 0.85 else int(rng.integers(3))
            ids.append(f"n{night:02d}_{epoch:03d}")
            nights.append(f"n{night:02d}")
            positions.append(epoch)
            truths.append(stage)
    truth = np.array(truths)
    frame = pl.DataFrame(
        {
            "row_id": ids,
            "path": [[f"{i}.png"] for i in ids],
            "sequence": nights,
            "position": positions,
            "stage": [CLASSES[t] for t in truth],
            "fold": [int(n[1:]) % 4 for n in nights],
        }
    )
    manifest = Manifest(frame, (Target("stage", "single", CLASSES),), tmp_path)
    manifest.write(tmp_path / "manifest.parquet")
    for name, noise in (("a", 1.6), ("b", 2.0)):
        z = 2.0 * np.eye(3)[truth] + rng.normal(0, noise, (len(truth), 3))
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        table = pl.DataFrame({"row_id": ids, **{f"p_{c}": p[:, k] for k, c in enumerate(CLASSES)}})
        table.write_csv(tmp_path / f"{name}.csv")
        np.save(tmp_path / f"{name}.npy", p.astype(np.float32))
        (tmp_path / f"{name}.ids.txt").write_text("\n".join(ids) + "\n")
    return tmp_path


def decide(desk, *more, sources=("a.csv", "b.npy")):
    places = [desk / s for s in sources]
    return call(
        "decide",
        *places,
        "--manifest",
        desk / "manifest.parquet",
        "--target",
        "stage",
        "--classes",
        "wake,light,deep",
        "-o",
        desk / "out",
        *more,
    )


def accuracy(desk):
    dense = Predictions.read(desk / "out" / "oof.parquet").dense("stage")
    return float((dense.p.argmax(1) == dense.y.argmax(1)).mean()), len(dense.row_ids)


def test_blend_of_csv_and_array_beats_either(desk):
    code, text = decide(desk, "--set", "decide.calibrate=temperature", "--set", "decide.blend=weighted", "--json")
    assert code == 0, text
    found = json.loads(text)
    board = json.loads((desk / "out" / "metrics.json").read_text())["leaderboard"]
    figure = {row["name"]: row["value"] for row in board}
    assert figure["decided (cross-validated)"] > max(figure["a"], figure["b"])
    assert "cross-validated" in found["table"]
    assert accuracy(desk)[1] == 480


def test_files_of_one_name_are_two_members(desk):
    for name in ("a", "b"):
        (desk / name).mkdir()
        (desk / name / "oof.csv").write_bytes((desk / f"{name}.csv").read_bytes())
    code, text = decide(desk, sources=("a/oof.csv", "b/oof.csv"))
    assert code == 0, text
    board = json.loads((desk / "out" / "metrics.json").read_text())["leaderboard"]
    assert sum(row["name"].endswith("oof.csv") for row in board) == 2
    code, text = decide(desk, sources=("a.csv", "a.csv"))
    assert code == 2
    assert "given twice" in text


def test_context_lifts_sticky_sequences_and_is_judged_by_night(desk):
    decide(desk)
    plain, _ = accuracy(desk)
    code, text = decide(desk, "--set", 'decide.steps=["context"]')
    assert code == 0, text
    assert accuracy(desk)[0] > plain + 0.05
    steps = json.loads((desk / "out" / "decisions.json").read_text())["steps"]["stage"]
    assert sorted(steps["by_fold"]) == ["0", "1", "2", "3"]


def test_decided_csv_reads_back_as_a_member(desk):
    decide(desk)
    code, text = decide(desk, sources=("out/oof.csv", "a.csv"))
    assert code == 0, text


def test_compare_clusters_by_night_and_corrects_for_many(desk):
    for name in ("a", "b"):
        assert call("decide", desk / f"{name}.csv", "--manifest", desk / "manifest.parquet", "-o", desk / name)[0] == 0
    code, text = call(
        "compare", desk / "a/oof.parquet", desk / "b/oof.parquet", "--metric", "accuracy", "--manifest", desk / "manifest.parquet", "--json"
    )
    assert code == 0, text
    (pair,) = json.loads(text)["pairs"]
    assert pair["groups"] == 12
    assert pair["low"] < pair["difference"] < pair["high"]
    assert pair["only_a"] + pair["only_b"] > 0


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda t: t.with_columns(row_id=pl.Series([f"x{i}" for i in range(len(t))])), "x0"),
        (lambda t: t.with_columns(p_wake=pl.lit(float("nan"))), "finite"),
        (lambda t: t.with_columns(p_wake=pl.col("p_wake") * 0.5), "sum to 1"),
        (lambda t: t.rename({"p_deep": "p_dep"}), "dep"),
        (lambda t: pl.concat([t, t.head(1)]), "n00_000"),
    ],
    ids=["rows that do not match", "NaN", "sums off", "unknown class", "doubled row"],
)
def test_bad_predictions_are_named_and_refused(desk, damage, says):
    damage(pl.read_csv(desk / "a.csv")).write_csv(desk / "bad.csv")
    code, text = decide(desk, sources=("bad.csv",))
    assert code == errors.DATA
    assert says in text
    assert not (desk / "out" / "oof.parquet").exists()


def test_predictions_of_test_rows_alone_are_refused(desk):
    assert decide(desk)[0] == 0
    table = Predictions.read(desk / "out" / "oof.parquet")
    Predictions(table.frame.with_columns(role=pl.lit("test")), table.targets).write(desk / "test.parquet")
    code, text = decide(desk, sources=("test.parquet",))
    assert code == errors.DATA
    assert "test.parquet holds no out-of-fold predictions (its rows are: test)" in text


def test_another_class_order_is_refused(desk):
    decide(desk)
    table = Predictions.read(desk / "out" / "oof.parquet")
    Predictions(table.frame, (Target("stage", "single", CLASSES[::-1]),)).write(desk / "turned.parquet")
    code, text = decide(desk, sources=("turned.parquet",))
    assert code == errors.DATA
    assert "deep" in text


def test_folds_that_cut_a_night_are_refused_by_name(desk):
    manifest = Manifest.read(desk / "manifest.parquet")
    manifest.with_column("fold", [i % 4 for i in range(len(manifest))]).write(desk / "manifest.parquet")
    code, text = decide(desk, "--set", "decide.calibrate=temperature")
    assert code == errors.DATA
    assert "n00" in text


@pytest.mark.parametrize(("column", "says"), [(None, "position"), ([0] * 480, "n00")], ids=["no positions", "doubled positions"])
def test_context_needs_one_position_for_each_row_of_a_sequence(desk, column, says):
    manifest = Manifest.read(desk / "manifest.parquet")
    frame = manifest.frame.drop("position") if column is None else manifest.frame.with_columns(position=pl.Series(column, dtype=pl.Float64))
    Manifest(frame, manifest.targets, desk).write(desk / "manifest.parquet")
    code, text = decide(desk, "--set", 'decide.steps=["context"]')
    assert code == errors.DATA
    assert says in text


def test_members_with_other_rows_blend_on_common_ones(desk):
    pl.read_csv(desk / "b.csv").head(400).write_csv(desk / "part.csv")
    code, text = decide(desk, sources=("a.csv", "part.csv"))
    assert code == 0, text
    dense = Predictions.read(desk / "out" / "oof.parquet").dense("stage")
    assert (dense.status == "uncovered").sum() == 80
    code, text = decide(desk, "--strict", sources=("a.csv", "part.csv"))
    assert code == errors.DATA
    assert "part" in text


def test_deciding_imports_no_torch(desk):
    code = (
        "import sys\nfrom tapetum import api\n"
        f"api.decide([{str(desk / 'a.csv')!r}], manifest={str(desk / 'manifest.parquet')!r}, out={str(desk / 'o')!r}, "
        "sets=['decide.calibrate=temperature', 'decide.steps=[\"context\"]'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


def test_ledger_relates_own_estimates_and_outside_scores(tmp_path):
    book = Ledger(tmp_path)
    for i, own in enumerate((0.70, 0.75, 0.80)):
        file = tmp_path / f"s{i}.csv"
        file.write_text(f"{i}\n")
        book.add(file, metric="accuracy", own={"value": own, "low": own - 0.05, "high": own + 0.05})
        book.score(file.name, own - 0.02, board="public")
    found = book.relation("public")
    assert found.n == 3
    assert found.rank_correlation == pytest.approx(1)
    assert found.offset == pytest.approx(-0.02)
    assert found.inside == 3
