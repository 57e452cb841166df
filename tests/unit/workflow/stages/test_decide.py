from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from simulated_predictions import dense_of
from tapetum.core import config, files, metrics
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.decide import choose
from tapetum.decide.steps import Rows
from tapetum.pipeline.combine import combine
from tapetum.workflow.commands.finish import table
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages.decide import decide_run
from tapetum.workflow.stages.measure import measure_run

FOLDS, EACH = 4, 12  # rows of each fold


class Desk:
    """A run folder whose members have just been trained: a manifest, and what each member said of the rows it held out."""

    def __init__(self, root, truth, targets, **sets):
        self.run = Run(root)
        ids = [f"r{i:02d}" for i in range(FOLDS * EACH)]
        more = pl.DataFrame({"row_id": ["t0", "x0"], "split": ["test", "extra"], "fold": [-1, -1]})
        frame = pl.DataFrame({"row_id": ids, "split": "train", "fold": np.repeat(np.arange(FOLDS), EACH), **truth})
        frame = pl.concat([frame, more], how="diagonal").with_columns(path=pl.concat_list(pl.col("row_id") + ".png"))
        manifest = Manifest(frame.sample(fraction=1, shuffle=True, seed=3), targets, root)  # rows stand in no helpful order
        every = [np.flatnonzero(manifest.split == part) for part in ("train", "extra", "test")]
        self.prepared = Prepared(manifest, frozenset(), *every, form=Form(3, (32, 32), "uint8"))
        self.ids, self.fold, self.record = ids, np.repeat(np.arange(FOLDS), EACH), Record()
        self.recipe = config.load(flags=sets).recipe

    def truth(self, name):
        place = {row_id: i for i, row_id in enumerate(self.prepared.manifest.row_ids)}
        return self.prepared.manifest.truth(name)[[place[row_id] for row_id in self.ids]]

    def says(self, member, answers, folds=range(FOLDS)):
        """Write held-out answers: {checkpoint: {target: p}} of a member, {target: p} of the probe; NaN rows are missing."""
        for fold in folds:
            tables = []
            for checkpoint, by_target in answers.items() if member != PROBE else [("final", answers)]:
                for name, p in by_target.items():
                    dense = dense_of(self.prepared.manifest.target(name), p, self.truth(name), self.fold)
                    lost = np.isnan(dense.p).any(axis=1)
                    dense.row_ids[:], dense.status[:] = self.ids, np.where(lost, "missing", "ok")
                    tables.append(Predictions.from_dense(dense.where(self.fold == fold), member=member, checkpoint=checkpoint))
            name = "oof.parquet" if member == PROBE else "epochs.parquet"
            Predictions.concat(tables).write(self.run.member(member, fold) / name)
        return self

    def decide(self):
        session = Session(self.run, self.prepared, self.recipe, self.record)
        return measure_run(session, decide_run(session))

    def oof(self, name, ids=None):
        return Predictions.read(self.run.file("oof.parquet")).dense(name, row_ids=ids or self.ids)


KIND = Target("kind", "single", ("ant", "bee"))
LABELS = np.array(["ant", "bee"])[np.arange(FOLDS * EACH) % 2]


def sure(y, right, rng=None):
    """Return p (N, K) that gives the truth ``right`` (N,) or the other class, about as sure of either."""
    noise = 0 if rng is None else rng.uniform(0, 0.2, (len(y), 1))
    told = np.where(np.broadcast_to(right, len(y))[:, None], y, 1 - y)
    return np.where(told == 1, 0.9 - noise, 0.1 + noise)


@pytest.fixture
def kinds(tmp_path):
    def make(**sets):
        return Desk(tmp_path / "run", {"kind": LABELS}, (KIND,), **{"train.monitor": "accuracy", **sets})

    return make


def test_every_fold_is_answered_at_the_others_best_epoch(kinds):
    desk = kinds(**{"decide.choose": "finetune"})
    y, first = desk.truth("kind"), desk.fold == 0
    early, late = sure(y, first), sure(y, ~first)  # the early epoch suits fold 0 alone, the late one all others
    desk.says("main", {"epoch-001": {"kind": early}, "epoch-002": {"kind": late}})
    found = desk.decide()
    epochs = found.decisions["epochs"]["main"]
    assert (epochs["final"], epochs["per_fold"], epochs["how"]) == ("epoch-002", dict.fromkeys("0123", "epoch-002"), "cross-fitted")
    assert np.allclose(desk.oof("kind").p, late)
    value = next(
        f["value"] for f in found.figures["figures"] if (f["name"], f["how"], f["metric"]) == ("final", "cross-validated", "accuracy")
    )
    assert value == pytest.approx(0.75)  # not the 1.0 of each fold at the epoch that suits it
    for fold, path in desk.run.folds_of("main", "oof.parquet").items():
        own = Predictions.read(path)
        assert own.frame["checkpoint"].unique().to_list() == ["epoch-002"]
        assert own.frame["row_id"].sort().to_list() == [r for r, f in zip(desk.ids, desk.fold, strict=True) if f == fold]


def test_the_recipes_epoch_is_taken_where_it_names_one(kinds):
    desk = kinds(**{"decide.choose": "finetune", "train.checkpoint": 1})
    y = desk.truth("kind")
    desk.says("main", {"epoch-001": {"kind": sure(y, False)}, "epoch-002": {"kind": sure(y, True)}})
    assert desk.decide().decisions["epochs"]["main"]["how"] == "recipe"
    assert np.allclose(desk.oof("kind").p, sure(y, False))


def test_each_scored_row_stands_once_even_unreadable(kinds):
    desk = kinds(**{"decide.choose": "finetune"})
    p = sure(desk.truth("kind"), True)
    p[[3, 17]] = np.nan
    figures = desk.says("main", {"epoch-001": {"kind": p}}, folds=(0, 1, 2)).decide().figures
    table = Predictions.read(desk.run.file("oof.parquet")).frame
    assert sorted(table["row_id"].to_list()) == desk.ids
    status = dict(table.select("row_id", "status").iter_rows())
    assert [status[row] for row in desk.ids] == ["missing" if i in (3, 17) else "ok" if i < 36 else "uncovered" for i in range(48)]
    counts = figures["counts"]
    assert (counts["rows"], counts["scored"], counts["ok"], counts["missing"], counts["uncovered"]) == (50, 48, 34, 2, 12)


def test_some_folds_alone_never_replace_the_probe(kinds):
    desk = kinds()
    y, rng = desk.truth("kind"), np.random.default_rng(0)
    desk.says(PROBE, {"kind": sure(y, rng.random(len(y)) < 0.7)}).says("main", {"epoch-001": {"kind": sure(y, True)}}, folds=(0, 1))
    choice = desk.decide().decisions["choice"]
    assert choice["final"] == PROBE
    assert set(choice["per_fold"].values()) == {PROBE}
    assert "50%" in choice["reason"]
    assert desk.oof("kind").ok.all()


def test_their_mean_is_taken_where_it_is_better_than_both(kinds):
    desk = kinds()
    y, place = desk.truth("kind"), np.arange(FOLDS * EACH) % 12
    # each is wrong, but unsure, on rows where the other is sure and right
    by_probe, by_main = place < 4, (place >= 4) & (place < 8)
    a, b = (np.where(y == 1, np.where(wrong, 0.45, 0.9)[:, None], np.where(wrong, 0.55, 0.1)[:, None]) for wrong in (by_probe, by_main))
    desk.says(PROBE, {"kind": a}).says("main", {"epoch-001": {"kind": b}})
    found = desk.decide()
    assert found.decisions["choice"]["final"] == "mean"
    assert np.allclose(desk.oof("kind").p, (a + b) / 2, atol=1e-6)
    assert Predictions.read(desk.run.file("oof.parquet")).frame["source"].unique().to_list() == ["blend"]
    lines = {f["name"]: f["value"] for f in found.figures["figures"] if f["metric"] == "accuracy" and f["how"] == "cross-validated"}
    assert lines == pytest.approx({"final": 1.0, PROBE: 2 / 3, "finetune": 2 / 3, "mean": 1.0})


def test_what_the_recipe_chooses_but_did_not_run_is_said(kinds):
    desk = kinds(**{"decide.choose": "finetune"}).says(PROBE, {"kind": sure(np.eye(2)[np.arange(48) % 2], True)})
    assert desk.decide().decisions["choice"]["final"] == PROBE
    assert any("'finetune', but it was not run" in line for line in desk.record.messages)


@pytest.fixture
def unmeasured(monkeypatch):
    """Leave out the figures, whose intervals take most of the time."""
    monkeypatch.setattr("tapetum.workflow.stages.measure.figures_of", lambda *_: {"differences": []})


CROSSFITTED = {  # what decides → the recipe's words for it, one at a time: a later one is fitted on answers of earlier ones
    "epoch": {"decide.choose": "finetune"},
    "temperature and weights": {
        "decide.choose": "finetune",
        "train.checkpoint": 1,
        "decide.calibrate": "temperature",
        "decide.blend": "weighted",
    },
    "choice": {"decide.choose": "auto", "train.checkpoint": 1},
    "step": {"decide.choose": "finetune", "train.checkpoint": 1, "decide.steps": ["bias"]},
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("deciding", CROSSFITTED)
def test_a_folds_own_truth_changes_nothing_of_its_own_answers(tmp_path, deciding):
    """What decides a fold comes from the others: giving its rows other labels must show there alone."""
    rng = np.random.default_rng(5)
    target = Target("kind", "single", ("ant", "bee", "cat"))
    truth, fold = rng.integers(0, 3, FOLDS * EACH), np.repeat(np.arange(FOLDS), EACH)
    sets = {"train.monitor": "accuracy", "member": [{"name": "one"}, {"name": "two"}], **CROSSFITTED[deciding]}
    told = {}
    for place, member in enumerate((PROBE, "one", "two")):
        for epoch in (1, 2):  # the later epoch is better only where fold 1's labels are as they are
            z = (
                rng.normal(0, 1, (len(truth), 3))
                + np.eye(3)[truth] * np.where(fold == 1, (0.5, 6)[epoch - 1], (2, 1.7)[epoch - 1])[:, None]
            )
            told[member, epoch] = np.exp(z * (1 + place)) / np.exp(z * (1 + place)).sum(1, keepdims=True)
    found = []
    for name, labels in (("as it is", truth), ("turned", np.where(fold == 1, (truth + 1) % 3, truth))):
        desk = Desk(tmp_path / name, {"kind": np.array(target.classes)[labels]}, (target,), **sets)
        desk.says(PROBE, {"kind": told[PROBE, 1]})
        for member in ("one", "two"):
            desk.says(member, {f"epoch-00{epoch}": {"kind": told[member, epoch]} for epoch in (1, 2)})
        decided = desk.decide()
        dense = decided.nested["kind"]
        shown = dense.p if dense.answer is None else np.hstack([dense.p, dense.answer])
        found.append((dict(zip(dense.row_ids, shown, strict=True)), decided.decisions))
    (plain, before), (turned, after) = found
    changed = np.array([not np.array_equal(plain[row], turned[row]) for row in desk.ids])
    assert not changed[fold == 1].any()
    assert changed[fold != 1].any()  # the other folds did see it, and so did what ships
    assert before != after


@pytest.mark.usefixtures("unmeasured")
def test_derived_target_is_the_product_of_parts_by_fold(tmp_path):
    rng = np.random.default_rng(2)
    n = FOLDS * EACH
    parts = (Target("a", "single", ("0", "1", "2")), Target("b", "single", ("0", "1")))
    both = Target("both", "single", tuple(map(str, range(6))), expression="a*2+b")
    truth = {"a": [str(v) for v in rng.integers(0, 3, n)], "b": [str(v) for v in rng.integers(0, 2, n)]}
    desk = Desk(tmp_path / "run", truth, (*parts, both))
    p = {t.name: rng.dirichlet(np.ones(len(t.classes)), n) for t in parts}
    found = desk.says(PROBE, p).decide()
    product = (p["a"][:, :, None] * p["b"][:, None, :]).reshape(n, 6)
    assert np.allclose(desk.oof("both").p, product, atol=1e-6)
    assert found.decisions["composed"] == {PROBE: ["both"]}
    sources = dict(Predictions.read(desk.run.file("oof.parquet")).frame.select("target", "source").unique().iter_rows())
    assert sources == {"a": "head", "b": "head", "both": "product"}
    assert np.array_equal(found.nested["both"].y.argmax(1), found.nested["a"].y.argmax(1) * 2 + found.nested["b"].y.argmax(1))


def _joint(tmp_path, right_head, right_parts, **sets):
    """Two targets and one derived of them, all three with a head of the probe: (N,) says of each row who is right."""
    rng, n = np.random.default_rng(2), FOLDS * EACH
    parts = (Target("a", "single", ("0", "1")), Target("b", "single", ("0", "1")))
    both = Target("both", "single", tuple(map(str, range(4))), expression="a*2+b")
    truth = {name: [str(v) for v in rng.integers(0, 2, n)] for name in "ab"}
    desk = Desk(tmp_path / "run", truth, (*parts, both), **sets)
    told = {t.name: sure(desk.truth(t.name), right_parts(desk.fold), rng) for t in parts}
    y = desk.truth("both")
    told["both"] = np.where(right_head(desk.fold)[:, None], y, np.roll(y, 1, axis=1)) * 0.9 + 0.025
    return desk.says(PROBE, told), told


@pytest.mark.usefixtures("unmeasured")
def test_head_or_product_answers_by_the_other_folds(tmp_path):
    desk, told = _joint(tmp_path, lambda fold: fold == 0, lambda fold: fold > 0)
    found = desk.decide()
    product = (told["a"][:, :, None] * told["b"][:, None, :]).reshape(-1, 4)
    assert np.allclose(desk.oof("both").p, product, atol=1e-6)  # fold 0, too: on the others the product is better
    choice = found.decisions["composition"]["both"]
    assert choice["final"] == choice["per_fold"]["0"] == "product"
    assert {"head", "product"} <= set(found.candidates)
    answers = {PROBE: {0: {t: dense_of(desk.prepared.manifest.target(t), p, np.full_like(p, np.nan), desk.fold) for t, p in told.items()}}}
    rows = Rows.new(answers[PROBE][0]["both"].row_ids)
    shipped = combine(found.decisions, {t.name: t for t in desk.prepared.manifest.targets}, answers, rows)
    assert np.allclose(shipped["both"].p, product, atol=1e-6)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("sets", [{}, {"decide.choose": "probe"}])
def test_a_head_answers_unless_the_product_is_clearly_better(tmp_path, sets):
    right = (lambda fold: fold >= 0) if not sets else (lambda fold: fold > FOLDS)  # asked for by name, it answers though it is wrong
    desk, told = _joint(tmp_path, right, lambda fold: fold >= 0, **sets)
    found = desk.decide()
    assert np.allclose(desk.oof("both").p, told["both"], atol=1e-6)
    assert found.decisions["composed"][PROBE] == []


def _numbers(tmp_path, folds=FOLDS, **sets):
    """A number with a border and a derived target of it; the probe is off by 0.1, the network by 5."""
    rng, n = np.random.default_rng(4), FOLDS * EACH
    size = Target("size", "regression", borders=(0.0,))
    big = Target("big", "single", ("0", "1"), expression="size")
    desk = Desk(tmp_path / "run", {"size": rng.normal(0, 2, n)}, (size, big), **{"train.monitor": "size/mae", **sets})
    desk.fold[:] = desk.fold % folds
    noise = rng.normal(0, 1, (n, 1))
    told = {PROBE: desk.truth("size") + 0.1 * noise, "main": desk.truth("size") + 5 * noise}
    return desk.says(PROBE, {"size": told[PROBE]}).says("main", {"epoch-001": {"size": told["main"]}}), told


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("chosen", ["probe", "finetune"])
def test_the_deviations_that_ship_are_those_of_the_chosen_candidate(tmp_path, chosen):
    desk, told = _numbers(tmp_path, **{"decide.choose": chosen})
    decisions = desk.decide().decisions
    expected = np.std(told[PROBE if chosen == "probe" else "main"] - desk.truth("size"))
    assert decisions["choice"]["final"] == chosen
    assert decisions["deviations"]["size"] == pytest.approx(expected, rel=1e-4)


# ------------------------------------------------------------------------------------------------------- what figures are


def _how(decided, name="final", metric="accuracy"):
    return [(f["how"], f["marks"]) for f in decided.figures["figures"] if (f["name"], f["metric"]) == (name, metric)]


def _state(desk, fold, **values):
    files.write_json(desk.run.member("main", fold) / "state.json", {"status": "done", "stop": "", "epochs": 8, **values})


@pytest.fixture
def one_fold(kinds):
    """One fold is held out, and the network is far better on it than the probe."""

    def make(checkpoint="epoch-008", **sets):
        desk = kinds(**sets)
        manifest = desk.prepared.manifest
        frame = manifest.frame.with_columns(fold=pl.when(pl.col("fold") > 0).then(0).otherwise(pl.col("fold")))
        desk.prepared = dataclasses.replace(desk.prepared, manifest=Manifest(frame, manifest.targets, manifest.root))
        desk.fold[:] = 0
        y, rng = desk.truth("kind"), np.random.default_rng(0)
        desk.says(PROBE, {"kind": sure(y, rng.random(len(y)) < 0.6)}, folds=(0,))
        return desk.says(
            "main", {"epoch-001": {"kind": sure(y, True)}, checkpoint: {"kind": sure(y, rng.random(len(y)) < 0.9)}}, folds=(0,)
        )

    return make


def test_one_fold_is_answered_by_rule_as_held_out(one_fold):
    found = one_fold().decide()
    assert found.decisions["choice"]["final"] == PROBE
    assert found.decisions["epochs"]["main"]["per_fold"] == {"0": "epoch-008"}  # not the better first one
    assert _how(found) == [("held-out", [])]
    assert _how(found, "finetune") == [("held-out", [])]
    assert not any(f["how"] == "cross-validated" for f in found.figures["figures"])


def test_steps_of_one_fold_are_fitted_over_drawn_folds(one_fold):
    found = one_fold(**{"decide.steps": ["bias"]}).decide()
    assert _how(found)[0][0] == "held-out"
    assert "drawn" in _how(found)[0][1][0]
    assert [how for how, _ in _how(found)][1:] in ([], ["in-sample"])


def test_steps_that_learn_nothing_are_drawn_no_folds(one_fold):
    """Smoothing looks at no truth: nothing was fitted on the held-out rows, so no mark and no other figure stands beside it."""
    desk = one_fold(**{"decide.steps": ["smooth"], "decide.choose": "finetune"})
    frame = desk.prepared.manifest.frame.with_columns(sequence=pl.lit("night"), position=pl.int_range(pl.len()).cast(pl.Float64))
    old = desk.prepared.manifest
    desk.prepared = dataclasses.replace(desk.prepared, manifest=Manifest(frame, old.targets, old.root))
    assert _how(desk.decide()) == [("held-out", [])]


@pytest.mark.parametrize(
    "sets",
    [{"decide.steps": ["bias"]}, {"decide.calibrate": "temperature"}, {"decide.steps": ["bias", "smooth"]}],
    ids=["bias", "temperature", "smooth stays"],
)
def test_one_heldout_group_is_answered_without_fitted_parts(one_fold, sets):
    """After hours of training, that nothing can be fitted and judged on one group is no reason to end without an answer."""
    desk = one_fold(**sets, **{"decide.choose": "finetune"})
    old = desk.prepared.manifest
    frame = old.frame.with_columns(group=pl.col("split"), sequence=pl.col("split"), position=pl.int_range(pl.len()).cast(pl.Float64))
    desk.prepared = dataclasses.replace(desk.prepared, manifest=Manifest(frame, old.targets, old.root))
    found = desk.decide()
    assert _how(found) == [("held-out", [])]
    assert any("left out" in said and "one group" in said for said in desk.record.messages)
    steps = [step["name"] for step in found.decisions["steps"]["kind"]["steps"]]
    assert steps == (["smooth"] if "smooth" in str(sets) else [])


def test_undefined_figure_is_null_in_the_files(kinds):
    """Two members on different folds have no row in common: nothing of their blend can be scored, and the probe answers."""
    desk = kinds(**{"member": [{"name": "one", "only_folds": [0]}, {"name": "two", "only_folds": [1]}]})
    y = desk.truth("kind")
    desk.says(PROBE, {"kind": sure(y, True)})
    for fold, member in enumerate(("one", "two")):
        desk.says(member, {"epoch-001": {"kind": sure(y, True)}}, folds=(fold,))
    found = desk.decide()
    assert files.read_json(desk.run.file("decisions.json"))["choice"]["figures"]["finetune"] is None
    assert found.decisions["choice"]["final"] == PROBE
    assert _how(found)[0] == ("cross-validated", [])


def test_the_figures_of_a_choice_count_weights(kinds):
    desk = kinds()
    y, right = desk.truth("kind"), np.arange(FOLDS * EACH) % 2 == 0
    old = desk.prepared.manifest
    counts = {row_id: float(is_right) for row_id, is_right in zip(desk.ids, right, strict=True)}
    frame = old.frame.with_columns(weight=pl.col("row_id").replace_strict(counts, default=1.0))
    desk.prepared = dataclasses.replace(desk.prepared, manifest=Manifest(frame, old.targets, old.root))
    desk.says(PROBE, {"kind": sure(y, right)})
    assert desk.decide().decisions["choice"]["figures"][PROBE] == pytest.approx(1.0)


@pytest.mark.parametrize("chosen", [PROBE, "finetune"])
@pytest.mark.parametrize(
    ("sets", "checkpoint", "state", "text"),
    [
        ({"average.name": "soup"}, "soup", {}, "soup"),
        ({"schedule.name": "plateau"}, "epoch-008", {}, "plateau"),
        ({}, "epoch-008", {"stop": "patience: no better for 2 epochs"}, "stopped"),
    ],
)
def test_choice_on_judged_rows_is_in_sample_everywhere(one_fold, sets, checkpoint, state, text, chosen):
    desk = one_fold(checkpoint, **{"decide.choose": chosen, **sets})
    _state(desk, 0, **state)
    found = desk.decide()
    ((how, marks),) = _how(found, "finetune")
    assert how == "in-sample"
    assert len(marks) == 1
    assert text in marks[0]
    assert _how(found, PROBE) == [("held-out", [])]
    assert _how(found) == ([("in-sample", marks)] if chosen == "finetune" else [("held-out", [])])
    assert found.figures["marks"] == marks
    against = {d["b"]: d["marks"] for d in found.figures["differences"]}
    assert against["finetune"] == marks
    assert against[PROBE] == (marks if chosen == "finetune" else [])
    assert "in-sample [1]" in table(found.figures)
    assert f"marked: {marks[0]} [1]" in table(found.figures)


@pytest.mark.parametrize(
    ("sets", "checkpoint", "state"),
    [
        ({"average.name": "soup", "average.best": 8}, "soup", {}),  # all epochs: nothing was picked
        ({}, "epoch-008", {"stop": "budget"}),
        ({"schedule.name": "plateau"}, "epoch-000", {}),  # the probe's heads: not trained
    ],
)
def test_what_chose_nothing_is_not_marked(kinds, sets, checkpoint, state):
    desk = kinds(**{"decide.choose": "finetune", "train.checkpoint": checkpoint, **sets})
    desk.says("main", {checkpoint: {"kind": sure(desk.truth("kind"), True)}})
    for fold in range(FOLDS):
        _state(desk, fold, **state)
    assert _how(desk.decide())[0] == ("cross-validated", [])


@pytest.mark.parametrize(("rates", "how"), [([1e-3, 1e-3, 1e-3], "held-out"), ([1e-3, 1e-3, 1e-4], "in-sample")])
def test_a_plateau_marks_only_what_it_lowered(one_fold, rates, how):
    desk = one_fold("epoch-008", **{"decide.choose": "finetune", "schedule.name": "plateau"})
    _state(desk, 0)
    files.write_csv(desk.run.member("main", 0) / "history.csv", pl.DataFrame({"epoch": [1, 2, 3], "rate": rates}))
    ((found, marks),) = _how(desk.decide(), "finetune")
    assert found == how
    assert bool(marks) == (how == "in-sample")


def test_an_answer_below_the_baseline_is_a_warning(one_fold):
    desk = one_fold("epoch-008", **{"decide.choose": "finetune"})
    desk.says("main", {"epoch-008": {"kind": sure(desk.truth("kind"), False)}}, folds=(0,))
    _state(desk, 0)
    (text,) = [text for text in desk.decide().figures["warnings"] if "baseline" in text]
    assert text.startswith("the final answer to 'kind' is clearly worse than the baseline by ")


def test_fold_stopped_before_the_fixed_epoch_is_named(kinds):
    desk = kinds(**{"decide.choose": "finetune", "train.checkpoint": 2})
    y = desk.truth("kind")
    desk.says("main", {f"epoch-00{e}": {"kind": sure(y, True)} for e in (1, 2)}, folds=(0, 1, 2))
    desk.says("main", {"epoch-001": {"kind": sure(y, True)}}, folds=(3,))
    for fold in range(FOLDS):
        _state(desk, fold, stop="patience: no better for 1 epoch")
    ((how, marks),) = _how(desk.decide(), "finetune")
    assert how == "in-sample"
    assert "(fold 3)" in marks[0]


def test_pseudo_labels_mark_every_figure_but_chance(kinds):
    desk = kinds()
    manifest = desk.prepared.manifest
    frame = manifest.frame.with_columns(pseudo=pl.col("split") == "extra")
    desk.prepared = dataclasses.replace(desk.prepared, manifest=Manifest(frame, manifest.targets, manifest.root))
    found = desk.says(PROBE, {"kind": sure(desk.truth("kind"), True)}).decide()
    for figure in found.figures["figures"]:
        assert len(figure["marks"]) == (0 if figure["name"] == "chance" else 1)
        assert figure["how"] in ("cross-validated", "in-sample", "baseline")
    assert "pseudo-labels" in found.figures["marks"][0]


def test_what_is_written_is_what_is_returned(kinds):
    desk = kinds(**{"split.allow_leak": "the write-up did"})
    found = desk.says(PROBE, {"kind": sure(desk.truth("kind"), True, np.random.default_rng(0))}).decide()
    assert files.read_json(desk.run.file("decisions.json")) == files.read_json(
        files.write_json(desk.run.file("again.json"), found.decisions)
    )
    assert files.read_json(desk.run.file("metrics.json"))["marks"] == ["leaks by intent: the write-up did"]
    table = Predictions.read(desk.run.file("oof.parquet"))
    assert (table.manifest_hash, table.recipe_hash) == (desk.prepared.manifest.content_hash(), desk.recipe.hash())
    dense = desk.oof("kind")
    assert metrics.score("log_loss", KIND, dense.p, dense.y) == pytest.approx(-np.log((dense.p * dense.y).sum(1)).mean(), rel=1e-5)


@pytest.fixture
def tied(tmp_path):
    """A run of two voters who always disagree: on every row the surer one is right, and the vote is a tie."""
    desk = Desk(
        tmp_path / "run", {"kind": LABELS}, (KIND,), **{"decide.blend": "vote", "decide.choose": "finetune", "decide.calibrate": "none",
        "member": [{"name": "one"}, {"name": "two"}], "train.checkpoint": 1},
    )  # fmt: skip
    y = desk.truth("kind")
    told = {"one": sure(y, True), "two": sure(y, True)}
    told["one"][y[:, 1] == 1] = [0.6, 0.4]
    told["two"][y[:, 0] == 1] = [0.4, 0.6]
    for member, p in told.items():
        desk.says(member, {"epoch-001": {"kind": p}})
    return desk, told, y


def test_tied_vote_keeps_its_decision_in_run_and_pipeline(tied):
    desk, told, y = tied
    found = desk.decide()
    dense = desk.oof("kind")
    assert np.allclose(dense.p, 0.5)
    np.testing.assert_array_equal(dense.answer, y)
    final = [f for f in found.figures["figures"] if (f["name"], f["metric"]) == ("final", "macro_f1")]
    assert [f["value"] for f in final] == [1.0, 1.0]  # nested and optimistic
    answers = {m: {0: {"kind": dense_of(KIND, p, np.full_like(p, np.nan), np.zeros(len(p)))}} for m, p in told.items()}
    shipped = combine(found.decisions, {"kind": KIND}, answers, Rows.new(answers["one"][0]["kind"].row_ids))["kind"]
    np.testing.assert_array_equal(shipped.answer, y)


@pytest.mark.usefixtures("unmeasured")
def test_each_fold_keeps_what_its_own_candidate_decided(tied, monkeypatch):
    desk, _, y = tied
    desk.says(PROBE, {"kind": sure(y, False)})
    folds = dict.fromkeys(range(FOLDS), "finetune") | {1: PROBE}
    for final in ("finetune", PROBE):
        chosen = choose.Choice(folds, final, {}, "as the test says")
        monkeypatch.setattr("tapetum.workflow.stages.decide._choose", lambda *_, chosen=chosen: chosen)
        desk.decide()
        np.testing.assert_array_equal(desk.oof("kind").answer, np.where(desk.fold[:, None] == 1, 1 - y, y))
