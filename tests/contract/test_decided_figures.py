"""What `metrics.json` holds of a run's decided labels is what every reader of its `oof.parquet` finds: kinds of target × what decides."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, f1_score

from simulated_predictions import dense_of
from tapetum.core import config, files, metrics
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest, Predictions, decided
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.decide import external
from tapetum.decide.steps import Rows
from tapetum.workflow.commands import ablate, trials, tune
from tapetum.workflow.commands.compare import compare_sources
from tapetum.workflow.commands.leaderboard import board_of
from tapetum.workflow.commands.submit import submit
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages.decide import decide_run
from tapetum.workflow.stages.measure import measure_run

N, FOLDS = 120, 4
STAGE = Target("stage", "single", ("wake", "light", "deep"))
LEVEL = Target("stage", "ordinal", ("low", "middle", "high"))
MARKS = Target("stage", "multi", ("big", "old", "rare"))
BIAS, CONTEXT = "bias", {"name": "context", "method": "viterbi"}
DECIDING = {  # what decides → target, [decide], and whether its labels differ from those of the largest p (or of p ≥ ½)
    "single-vote": (STAGE, {"decide.blend": "vote"}, False),
    "single-bias": (STAGE, {"decide.steps": [BIAS]}, True),
    "single-context": (STAGE, {"decide.steps": [CONTEXT]}, True),
    "single-smooth": (STAGE, {"decide.steps": ["smooth"]}, True),
    "single-prior": (STAGE, {"decide.steps": ["prior"]}, False),
    "single-logit_adjust": (STAGE, {"decide.steps": ["logit_adjust"]}, False),
    "single-vote-smooth": (STAGE, {"decide.blend": "vote", "decide.steps": ["smooth"]}, True),
    "ordinal": (LEVEL, {}, True),
    "ordinal-largest": (LEVEL, {"decide.ordered": "largest"}, False),
    "ordinal-bias": (LEVEL, {"decide.steps": [BIAS]}, True),
    "ordinal-context": (LEVEL, {"decide.steps": [CONTEXT]}, True),
    "multi-vote": (MARKS, {"decide.blend": "vote"}, False),
    "multi-thresholds": (MARKS, {"decide.steps": ["thresholds"]}, True),
    "multi-class_rates": (MARKS, {"decide.steps": ["class_rates"]}, True),
    "multi-fixed": (MARKS, {"decide.steps": [{"name": "fixed", "value": 0.3}]}, True),
    "multi-temperature-thresholds": (MARKS, {"decide.calibrate": "temperature", "decide.steps": ["thresholds"]}, True),
}


def told(target: Target, truth: np.ndarray, seed: int) -> np.ndarray:
    """Return p (N, K) that knows something, doubts much, and says the last class too seldom."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1, truth.shape) + 1.6 * truth - np.array([0.0, 0.3, 1.2])
    if target.kind == "multi":
        return 1 / (1 + np.exp(1.5 - z))
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module", params=DECIDING)
def decided_run(request, tmp_path_factory):
    """A run that two members have decided, and what metrics.json holds of its final answers: metric → value."""
    target, sets, differs = DECIDING[request.param]
    run, rng = Run(tmp_path_factory.mktemp("run")), np.random.default_rng(1)
    ids, fold, place = [f"r{i:03d}" for i in range(N)], np.arange(N) // 10 % FOLDS, np.arange(N) % 10
    if target.kind == "multi":
        truth = (rng.random((N, 3)) < [0.5, 0.3, 0.15]).astype(float)
        cells = [[c for c, one in zip(target.classes, row, strict=True) if one] for row in truth]
    else:
        truth = np.eye(3)[(place // 4 + np.arange(N) // 10) % 3]  # runs of one class, as context expects
        cells = [target.classes[k] for k in truth.argmax(axis=1)]
    frame = pl.DataFrame({"row_id": ids, "split": "train", "fold": fold, "stage": cells, "position": place})
    frame = frame.with_columns(path=pl.concat_list("row_id"), sequence=pl.Series([f"s{i // 10}" for i in range(N)]))
    manifest = Manifest(frame, (target,), run.root)
    manifest.write(run.manifest_file)
    sets = {
        "member": [{"name": "one"}, {"name": "two"}],
        "train.checkpoint": 1,
        "decide.choose": "finetune",
        "decide.calibrate": "none",
    } | sets
    recipe = config.load(flags=sets).recipe
    files.write_text(run.recipe_file, recipe.to_toml())
    for seed, member in enumerate(("one", "two")):
        dense = dense_of(target, told(target, truth, seed), truth, fold)
        dense.row_ids[:] = ids
        for k in range(FOLDS):
            table = Predictions.from_dense(dense.where(fold == k), member=member, checkpoint="epoch-001")
            table.write(run.member(member, k) / "epochs.parquet")
    every = np.arange(N)
    prepared = Prepared(manifest, frozenset(), every, every[:0], every[:0], form=Form(3, (32, 32), "uint8"))
    session = Session(run, prepared, recipe, Record())
    found = measure_run(session, decide_run(session))
    how = found.figures["figures"][0]["how"]  # of the final answer under decisions of the other folds
    figures = {f["metric"]: f["value"] for f in found.figures["figures"] if (f["name"], f["how"]) == ("final", how)}
    return run, recipe, target, figures, differs


def test_the_decided_figure_beside_the_selection_is_the_final_one(decided_run):
    run, _, target, figures, _ = decided_run
    decided = files.read_json(run.file("metrics.json"))["choice"]["decided"]
    assert decided["metric"] == metrics.default_metric(target)
    assert decided["value"] == pytest.approx(figures[decided["metric"]], abs=1e-12)


def test_the_table_gives_the_figures_of_metrics_json(decided_run):
    run, _, target, figures, differs = decided_run
    dense = Predictions.read(run.file("oof.parquet")).dense("stage")
    assert len(figures) >= 3
    for metric, value in figures.items():
        assert metrics.score(metric, target, dense.p, dense.y, answer=dense.answer) == pytest.approx(value, abs=1e-6), metric
    plain = metrics.score("macro_f1", target, dense.p, dense.y)
    if differs:
        assert abs(plain - metrics.score("macro_f1", target, dense.p, dense.y, answer=dense.answer)) > 0.005  # else nothing is shown here


@pytest.mark.parametrize("metric", ["auto", "accuracy"])
def test_the_leaderboard_and_comparisons_score_what_was_decided(decided_run, metric):
    run, _, target, figures, _ = decided_run
    metric = {"multi": "micro_f1", "ordinal": "quadratic_kappa"}.get(target.kind, metric) if metric != "auto" else metric
    board = board_of(run, metric=metric)["leaderboard"]
    (final,) = [row for row in board if row["name"] == "final"]
    assert final["value"] == pytest.approx(figures[final["metric"]], abs=1e-6)
    files.copy(run.file("oof.parquet"), run.root / "alone.parquet")
    named = {"run": run.root, "file": run.root / "alone.parquet"}
    (pair,) = compare_sources(named, metric=metric, target=None, manifest=None, reference=None)["pairs"]
    assert pair["value_a"] == pair["value_b"] == pytest.approx(figures[pair["metric"]], abs=1e-6)
    assert pair["difference"] == 0
    assert pair["only_a"] == pair["only_b"] == 0


def test_tune_and_ablate_score_what_was_decided(decided_run):
    run, recipe, target, figures, _ = decided_run
    dense = trials.answers(run, "stage")
    rows = Rows.of(run.manifest(), dense.row_ids.tolist())
    default = metrics.default_metric(target)
    sign = 1 if metrics.METRICS[default].greater_is_better else -1
    assert tune._figure({"stage": dense}, recipe, rows) == pytest.approx(sign * figures[default], abs=1e-6)
    picked = tune._picked({0: dense, 1: dense}, dict.fromkeys(range(FOLDS), 1), dense.fold)
    np.testing.assert_array_equal(decided(picked), decided(dense))
    assert ablate._score(default, dense, rows) == pytest.approx(figures[default], abs=1e-6)


def test_a_submission_and_a_csv_hold_what_was_decided(decided_run, tmp_path):
    run, _, target, figures, _ = decided_run
    dense = Predictions.read(run.file("oof.parquet")).dense("stage")
    (tmp_path / "t.csv").write_text("id,answer\n" + "".join(f"{row},\n" for row in dense.row_ids))
    submit(run.root, tmp_path / "t.csv", tmp_path / "s.csv", target=None, fill="none", log=Record())
    cells = [line.partition(",")[2] for line in (tmp_path / "s.csv").read_text().splitlines()[1:]]
    if target.kind == "multi":
        answer = np.array([[float(c in cell.split()) for c in target.classes] for cell in cells])
        assert f1_score(dense.y, answer, average="macro", zero_division=0) == pytest.approx(figures["macro_f1"], abs=1e-6)
    else:
        truth = [target.classes[k] for k in dense.y.argmax(axis=1)]
        assert accuracy_score(truth, cells) == pytest.approx(figures["accuracy"], abs=1e-6)
    external.write_csv(tmp_path / "oof.csv", dense, print)
    again = external.read_csv(tmp_path / "oof.csv", run.manifest(), "stage").dense("stage", row_ids=dense.row_ids.tolist())
    np.testing.assert_array_equal(decided(again), decided(dense))
