from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from simulated_predictions import dense_of
from tapetum.core import config, files
from tapetum.core.errors import DataError, UserError
from tapetum.core.ledger import Ledger
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.decide.external import write_csv
from tapetum.workflow.commands.submit import predictions_of, submit, submit_cycles
from tapetum.workflow.session import Prepared

KIND = Target("kind", "single", ("ant", "bee", "cat"))
TAGS = Target("tags", "multi", ("big", "old"))
P = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])


def answers(target, p, prefix="t", y=None):
    p = np.array(p, dtype=np.float32)
    dense = dense_of(target, p, np.full_like(p, np.nan) if y is None else y, np.full(len(p), -1), prefix)
    dense.status[:] = np.where(np.isnan(p).any(axis=1), "missing", "ok")
    return dense


def figure(target, name, how, metric, value):
    return {"target": target, "name": name, "how": how, "metric": metric, "value": value, "low": value, "high": 1.0, "n": 4, "groups": 2}


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a finished run's folder of test answers."""

    def run(*test):
        made = Run(tmp_path / "run")
        files.write_text(made.recipe_file, config.load(flags={"seed": 4}).recipe.to_toml())
        truth = np.eye(3)[[0, 1, 1, 1]]
        oof = [answers(d.target, np.full((4, d.target.width), 1 / 3), "r", truth[:, : d.target.width]) for d in test]
        Predictions.from_dense(oof).write(made.file("oof.parquet"))
        Predictions.from_dense(test, role="test").write(made.file("test.parquet"))
        own = [figure("kind", "final", "in-sample", "accuracy", 0.9), figure("kind", "final", "cross-validated", "accuracy", None)]
        own += [figure("kind", "final", "cross-validated", "macro_f1", 0.7), figure("kind", "probe", "cross-validated", "macro_f1", 0.8)]
        files.write_json(made.file("metrics.json"), {"figures": own})
        return made

    return run


@pytest.fixture
def hand_in(tmp_path):
    """Return a function that submits with a template over t0 to t3 in another order and returns the lines written."""

    def write(source, *, target=None, fill="none", ids=("t2", "t0", "t3", "t1"), log=None):
        template = tmp_path / "sample.csv"
        template.write_text("id,answer\n" + "".join(f"{name},\n" for name in ids))
        made = submit(source, template, tmp_path / "out" / "mine.csv", target=target, fill=fill, log=log or Record())
        assert made["sha256"] == files.sha256(made["out"])
        return (tmp_path / "out" / "mine.csv").read_text().splitlines()[1:]

    return write


def test_probabilities_decide_where_the_run_decided_nothing_else(make, hand_in):
    assert hand_in(make(answers(KIND, P)).root) == ["t2,cat", "t0,ant", "t3,ant", "t1,bee"]


def test_labels_that_the_run_decided_win_over_probabilities(make, hand_in):
    said = dataclasses.replace(answers(KIND, P), answer=np.eye(3, dtype=np.float32)[[1, 1, 2, 1]])
    run = make(said, answers(TAGS, np.full((4, 2), 0.9)))
    assert hand_in(run.root, target="kind") == ["t2,cat", "t0,bee", "t3,bee", "t1,bee"]
    assert hand_in(run.file("test.parquet"), target="kind") == ["t2,cat", "t0,bee", "t3,bee", "t1,bee"]


def test_decided_sets_of_labels_are_written_also_empty_ones(make, hand_in):
    said = dataclasses.replace(answers(TAGS, np.full((4, 2), 0.9)), answer=np.array([[1, 1], [0, 0], [0, 1], [0, 0]], dtype=np.float32))
    assert hand_in(make(said).root) == ["t2,old", "t0,big old", "t3,", "t1,"]


def test_unanswered_rows_are_refused_or_filled_by_the_prior(make, hand_in):
    p = P.copy()
    p[1] = np.nan
    run = make(dataclasses.replace(answers(KIND, p), answer=np.where(np.isnan(p), np.nan, np.eye(3)[0]).astype(np.float32)))
    with pytest.raises(DataError, match="t1"):
        hand_in(run.root)
    assert not run.file("ledger.jsonl").exists()
    assert hand_in(run.root, fill="prior") == ["t2,ant", "t0,ant", "t3,ant", "t1,bee"]  # three of the four training rows are bees
    assert hand_in(run.root, fill="cat")[-1] == "t1,cat"


def test_ledger_holds_file_recipe_and_first_cross_validated_estimate(make, hand_in):
    run = make(answers(KIND, P))
    hand_in(run.root)
    hand_in(run.root)  # the same bytes are the same submission
    (entry,) = Ledger(run.root).submissions()
    assert entry.sha256 == files.sha256(run.root.parent / "out" / "mine.csv")
    told = {"how": "cross-validated", "marks": []}
    assert (entry.metric, entry.own) == ("macro_f1", {"value": 0.7, "low": 0.7, "high": 1.0, "n": 4, "groups": 2, **told})
    assert entry.recipe == {"name": "default", "hash": run.recipe().hash()}


def test_predictions_file_is_taken_and_enters_no_ledger(tmp_path, hand_in):
    for name, member in (("one", "other"), ("final", "final")):
        Predictions.from_dense(answers(KIND, P), member=member, role="test").write(tmp_path / f"{name}.parquet")
        assert hand_in(tmp_path / f"{name}.parquet") == ["t2,cat", "t0,ant", "t3,ant", "t1,bee"]
    assert not list(tmp_path.rglob("ledger.jsonl"))


def test_predictions_in_a_csv_alone_are_submitted(tmp_path, hand_in):
    decided = dataclasses.replace(answers(KIND, P), answer=np.eye(3, dtype=np.float32)[[1, 1, 2, 1]])
    write_csv(tmp_path / "mine.csv", decided, print)
    assert hand_in(tmp_path / "mine.csv") == ["t2,cat", "t0,bee", "t3,bee", "t1,bee"]
    (tmp_path / "theirs.csv").write_text("id,p_ant,p_bee\nt0,0.9,0.1\nt1,0.2,0.8\nt2,0.6,0.4\nt3,0.1,0.9\n")
    assert hand_in(tmp_path / "theirs.csv") == ["t2,ant", "t0,ant", "t3,bee", "t1,bee"]


def test_prior_of_a_file_is_its_heldout_labels(tmp_path, hand_in):
    truth = np.eye(3)[[0, 1, 1, 1]]
    p = P.copy()
    p[1] = np.nan
    Predictions.from_dense(answers(KIND, p, y=truth)).write(tmp_path / "oof.parquet")
    assert hand_in(tmp_path / "oof.parquet", fill="prior")[-1] == "t1,bee"
    ages = answers(Target("age", "regression"), [[1], [np.nan], [3], [4]], y=np.array([[10.0], [20.0], [90.0], [np.nan]]))
    Predictions.from_dense(ages).write(tmp_path / "age.parquet")
    assert hand_in(tmp_path / "age.parquet", fill="prior")[-1] == "t1,20"


def test_differing_template_ids_are_named_and_nothing_written(make, hand_in, tmp_path):
    run = make(answers(KIND, P))
    for ids in (("t2", "t0", "t3"), ("t2", "t0", "t3", "t1", "t9")):
        with pytest.raises(DataError, match=r"t1|t9"):
            hand_in(run.root, ids=ids)
    assert not (tmp_path / "out").exists()


def test_several_targets_want_a_name(make, hand_in):
    run = make(answers(KIND, P), answers(TAGS, np.full((4, 2), 0.9)))
    with pytest.raises(UserError, match=r"kind, tags.*--target"):
        hand_in(run.root)
    assert hand_in(run.root, target="kind")[0] == "t2,cat"


def test_run_without_test_rows_gives_heldout_answers(make):
    run = make(answers(KIND, P))
    assert predictions_of(run.root).frame["role"].unique().to_list() == ["test"]
    files.remove(run.file("test.parquet"))
    assert predictions_of(run.root).frame["role"].unique().to_list() == ["oof"]
    files.remove(run.file("oof.parquet"))
    with pytest.raises(DataError, match="tapetum fit"):
        predictions_of(run.root)


def test_stage_estimate_says_steps_were_fitted_within_the_fold(tmp_path, monkeypatch):
    """40 rows are held out by one fold: the biases are fitted on some groups of them and judged on the others, and the ledger says so."""
    kind, n = Target("kind", "single", ("a", "b")), 40
    ids, y = np.array([f"r{i:02d}" for i in range(n)] + ["t0", "t1"], dtype=object), np.eye(2, dtype=np.float32)[np.arange(n + 2) % 2]
    frame = pl.DataFrame({"row_id": ids.tolist(), "split": ["train"] * n + ["test"] * 2, "fold": [0] * n + [-1] * 2})
    frame = frame.with_columns(kind=pl.Series(["a", "b"] * (n // 2) + [None] * 2), path=pl.concat_list("row_id"))
    manifest, run = Manifest(frame, (kind,), tmp_path), Run(tmp_path)
    manifest.write(run.manifest_file)
    p = np.clip(y * 0.4 + np.random.default_rng(0).random((n + 2, 1)) * 0.5, 0.01, 0.99)
    p /= p.sum(axis=1, keepdims=True)
    for rows, name, role in ((np.arange(n), "epochs", "oof"), (np.arange(n, n + 2), "stage-1", "test")):
        truth = y[rows] if role == "oof" else np.full((2, 2), np.nan, dtype=np.float32)
        fold, status = np.zeros(len(rows), dtype=np.int16), np.full(len(rows), "ok", dtype=object)
        dense = Dense(kind, ids[rows], p[rows].astype(np.float32), truth, fold, status)
        table = Predictions.from_dense(dense, member="main", checkpoint="epoch-001", role=role)
        table.write(run.member("main", 0) / f"{name}.parquet")
    every = np.arange(n + 2)
    prepared = Prepared(manifest, frozenset(), every[:n], every[:0], every[n:], form=Form(3, (32, 32), "uint8"))
    monkeypatch.setattr("tapetum.workflow.stages.prepare.prepared_of", lambda _: prepared)
    (tmp_path / "t.csv").write_text("id,kind\nt0,\nt1,\n")
    recipe = config.load(flags={"stages": [{"epochs": 1, "predict": True}], "decide.steps": ["bias"]}).recipe
    (line,) = submit_cycles(run, recipe, tmp_path / "t.csv", Record())
    assert line["how"] == "held-out"
    assert any("drawn" in mark for mark in line["marks"])
