"""Answers of every kind from one table: single, ordered, numeric, several at once, composed of others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from kinds import fit, plant_people
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Manifest, Predictions
from tapetum.learn.models import Network
from tapetum.pipeline import Pipeline

AGES = ("<30", "30-60", ">=60")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A finished run of five targets: mask, gender, an ordered age group, a bordered age, and their composition ``ans``."""
    root = tmp_path_factory.mktemp("people")
    table = plant_people(root / "data", blanks=True)
    said: list[str] = []
    targets = ["mask", "gender", "age_group:ordinal=young<middle<old", "age:regression=30,60"]
    derive = {"ans": "mask*6 + gender*3 + age_group"}
    more = {"train__monitor": "ans/macro_f1", "data__group": "person", "loss__weights": "learned", "model__sharing": "cross-stitch"}
    fit(table, root / "run", said, data__targets=targets, data__derive=derive, **more)
    return root, said


def dense(root, target):
    return Predictions.read(root / "run" / "oof.parquet").dense(target)


def test_a_derived_answer_is_the_product_of_its_parts(people):
    root, _ = people
    parts = {name: dense(root, name) for name in ("mask", "gender", "age_group")}
    ans = dense(root, "ans")
    by_hand = np.einsum("nm,ng,na->nmga", *(parts[n].p.astype(np.float64) for n in parts)).reshape(len(ans.p), 18)
    np.testing.assert_allclose(ans.p, by_hand, atol=1e-6)
    assert set(Predictions.read(root / "run" / "oof.parquet").select(target="ans").frame["source"]) == {"product"}


def test_its_macro_f1_is_scikit_learns_on_the_composed_labels(people):
    root, _ = people
    frame = Manifest.read(root / "run" / "manifest.parquet").frame
    classes = {"mask": ["no", "wrong", "yes"], "gender": ["female", "male"], "age_group": ["young", "middle", "old"]}
    codes = {n: [None if c is None else names.index(c) for c in frame[n].to_list()] for n, names in classes.items()}
    truth = {
        row_id: None if None in own else own[0] * 6 + own[1] * 3 + own[2]
        for row_id, *own in zip(frame["row_id"], *(codes[n] for n in classes), strict=True)
    }
    ans = dense(root, "ans")
    known = [i for i, row_id in enumerate(ans.row_ids) if truth[row_id] is not None]
    expected = f1_score(
        [truth[ans.row_ids[i]] for i in known], ans.p[known].argmax(axis=1), labels=range(18), average="macro", zero_division=0
    )
    figures = files.read_json(root / "run" / "metrics.json")["figures"]
    (found,) = [
        f["value"] for f in figures if (f["target"], f["name"], f["metric"], f["how"]) == ("ans", "final", "macro_f1", "cross-validated")
    ]
    assert found == pytest.approx(expected)
    assert len(known) < len(ans.row_ids)  # rows with a blank part have no truth, and are answered all the same


def test_training_stops_and_epochs_are_chosen_by_the_derived_answer(people):
    root, _ = people
    history = pl.read_csv(root / "run" / "members" / "main" / "fold-0" / "history.csv")
    assert history["monitor"].to_list() == history["ans/macro_f1"].to_list()
    decisions = files.read_json(root / "run" / "decisions.json")
    assert decisions["composed"]["finetune"] == ["ans", "age_class"]


def test_a_number_with_borders_keeps_its_value_and_its_classes(people):
    root, said = people
    table = Predictions.read(root / "run" / "oof.parquet")
    value, decoded = table.dense("age"), table.dense("age_class")
    assert (decoded.target.kind, decoded.target.classes) == ("ordinal", AGES)
    assert set(table.select(target="age_class").frame["source"]) == {"decoded"}
    assert set(table.select(target="age").frame["source"]) == {"head"}
    known = ~np.isnan(value.y[:, 0])
    np.testing.assert_array_equal(decoded.y[known].argmax(axis=1), np.digitize(value.y[known, 0], [30, 60]))
    np.testing.assert_allclose(decoded.p.sum(axis=1), 1, atol=1e-5)
    sure = np.abs(value.p[:, :1] - np.array([30, 60])).min(axis=1) > 15  # far from both borders the value's class is the likeliest
    np.testing.assert_array_equal(decoded.p[sure].argmax(axis=1), np.digitize(value.p[sure, 0], [30, 60]))
    metrics = {f["metric"] for f in files.read_json(root / "run" / "metrics.json")["figures"] if f["target"] in ("age", "age_class")}
    assert {"mae", "r2", "rmse", "ordinal_mae", "quadratic_kappa"} <= metrics
    assert any("'age_class': 3 classes" in line for line in said)


def test_blank_cells_neither_train_nor_score_their_target(people):
    root, said = people
    assert any("target 'mask' is blank in 3 of 48" in line for line in said)
    for name in ("mask", "gender", "age_group", "age"):
        assert int(np.isnan(dense(root, name).y).any(axis=1).sum()) == 3


def test_every_target_has_its_figures_and_its_decisions(people):
    root, _ = people
    figures = files.read_json(root / "run" / "metrics.json")["figures"]
    assert {f["target"] for f in figures} == {"mask", "gender", "age_group", "age", "ans", "age_class"}
    history = pl.read_csv(root / "run" / "members" / "main" / "fold-1" / "history.csv")
    assert {"mask/macro_f1", "gender/macro_f1", "age_group/ordinal_mae", "age/mae"} <= set(history.columns)


def test_a_pipeline_answers_all_targets_as_the_run_would(people, tmp_path):
    root, _ = people
    api.predict(root / "run", [root / "data" / "labels.csv"], tmp_path / "p.parquet")
    table = Predictions.read(tmp_path / "p.parquet")
    assert {t.name for t in table.targets} == {"mask", "gender", "age_group", "age", "ans", "age_class"}
    parts = [table.dense(n).p.astype(np.float64) for n in ("mask", "gender", "age_group")]
    np.testing.assert_allclose(table.dense("ans").p, np.einsum("nm,ng,na->nmga", *parts).reshape(-1, 18), atol=1e-6)
    api.predict(root / "run", [root / "data" / "labels.csv"], tmp_path / "p.csv")
    assert {"mask", "gender", "age_group", "age", "ans", "age_class"} <= set(pl.read_csv(tmp_path / "p.csv").columns)


def test_one_answer_of_several_is_submitted_by_name(people, tmp_path):
    root, _ = people
    ids = [f"p{i:02d}.png" for i in range(48)]
    files.write_text(tmp_path / "template.csv", "ImageID,ans\n" + "".join(f"{i},0\n" for i in ids))
    api.submit(root / "run", tmp_path / "template.csv", tmp_path / "out.csv", target="ans")
    found = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    ans = Predictions.read(root / "run" / "oof.parquet").dense("ans", row_ids=ids)
    assert found["ans"].to_list() == [str(k) for k in ans.p.argmax(axis=1)]


def test_joint_head_and_product_stand_beside_the_answer(tmp_path):
    table = plant_people(tmp_path / "data")
    targets, derive = ["mask", "gender", "age:regression=30,60"], {"ans": "mask*6 + gender*3 + age"}
    fit(table, tmp_path / "run", data__targets=targets, data__derive=derive, model__heads={"ans": "linear"}, data__side=["count"])
    oof = Predictions.read(tmp_path / "run" / "oof.parquet")
    assert set(oof.select(target="ans").frame["source"]) <= {"head", "product"}
    figures = files.read_json(tmp_path / "run" / "metrics.json")["figures"]
    assert {f["name"] for f in figures if f["target"] == "ans"} == {
        "final",
        "probe",
        "finetune",
        "mean",
        "head",
        "product",
        "chance",
    }
    held = Predictions.read(tmp_path / "run" / "members" / "main" / "fold-0" / "epochs.parquet")
    assert "ans" in {t.name for t in held.targets}


@pytest.mark.parametrize("head", ["linear", "coral"])
def test_ordered_classes_are_answered_as_probabilities_of_each(tmp_path, head):
    table = plant_people(tmp_path / "data")
    target = "age_group:ordinal=young<middle<old"
    fit(table, tmp_path / "run", data__targets=[target], model__head=head, decide__choose="finetune", train__epochs=2)
    p = dense(tmp_path, "age_group").p
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    pipeline = Pipeline.load(tmp_path / "run")
    (network, *_) = pipeline.members[0].networks.values()
    assert network.head("age_group").__class__.__name__ == {"linear": "Linear", "coral": "Coral"}[head]


def test_side_numbers_are_scaled_on_the_training_fold(tmp_path, monkeypatch):
    table = plant_people(tmp_path / "data")
    came = []
    plain = Network.from_features
    monkeypatch.setattr(Network, "from_features", lambda self, f, side=None, map_=None: (came.append(side), plain(self, f, side, map_))[1])
    fit(table, tmp_path / "run", data__targets=["gender"], data__side=["count"], probe__enabled=False)
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    for fold in (0, 1):
        kept = files.read_json(tmp_path / "run" / "members" / "main" / f"fold-{fold}" / "scaling.json")
        own = manifest.frame["count"].to_numpy()[manifest.fold != fold]
        np.testing.assert_allclose([kept["mean"][0], kept["std"][0]], [own.mean(), own.std()], rtol=1e-6)
    assert all(side is not None and side.shape[1] == 1 for side in came)
    assert api.predict(tmp_path / "run", [table], tmp_path / "p.parquet")["missing"] == 0
    from tapetum.core.errors import DataError

    with pytest.raises(DataError, match="count"):
        Pipeline.load(tmp_path / "run").predict([tmp_path / "data" / "p00.png"])


def test_fixed_weights_between_targets_and_attention_between_tasks(tmp_path):
    table = plant_people(tmp_path / "data", rows=24)
    weights = {"mask": 1.0, "gender": 0.0}
    more = {"model__sharing": "attention", "decide__choose": "finetune"}
    fit(table, tmp_path / "run", data__targets=["mask", "gender"], loss__weights=weights, **more)
    pipeline = Pipeline.load(tmp_path / "run")
    (network, *_) = pipeline.members[0].networks.values()
    assert network.sharing is not None
    assert pipeline.predict_proba([str(tmp_path / "data" / "p00.png")])["mask"].shape == (1, 3)
