import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax

from simulated_predictions import dense_of, multi, names, rows_of
from tapetum.core import files, metrics
from tapetum.core.config import Decide
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.decide import chain
from tapetum.decide.calibrate import Temperature
from tapetum.decide.ensemble import weighted
from tapetum.decide.steps import Rows
from tapetum.decide.thresholds import BestF1


def two_members(n=2000, k=4, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, k))
    y = np.eye(k)[(softmax(z, axis=1).cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)]
    rows = rows_of(n, n // 4)
    target = Target("stage", "single", names(k))
    told = [softmax(s * (z + rng.normal(0, e, z.shape)), axis=1) for s, e in ((2.5, 0.6), (0.5, 1.0))]
    return {"sharp": dense_of(target, told[0], y, rows.fold), "soft": dense_of(target, told[1], y, rows.fold)}, rows


FULL = Decide(calibrate="temperature", blend={"name": "weighted", "metric": "log_loss"}, steps=({"name": "logit_adjust", "tau": 0.5},))


def test_chain_is_its_parts_fitted_without_the_decided_fold():
    members, rows = two_members()
    found = chain.fit(members, rows, FULL)
    rest, inside = rows.fold != 2, rows.fold == 2
    step, blend = Temperature(), weighted(metric="log_loss")
    temperatures = {n: step.fit(m.where(rest), rows.where(rest)) for n, m in members.items()}
    warm = [step.apply(m, rows, temperatures[n]) for n, m in members.items()]
    weights = blend.fit([m.where(rest) for m in warm], rows.where(rest))
    own = found.json["by_fold"]["2"]
    assert own["calibrate"] == temperatures
    assert own["blend"]["weights"] == pytest.approx(weights["weights"], abs=1e-6)
    p = np.exp(np.log(blend.apply(warm, rows, weights).p) - 0.5 * np.log(own["steps"][0]["prior"]))
    assert np.allclose(found.nested.p[inside], (p / p.sum(1, keepdims=True))[inside], atol=1e-5)


def test_calibration_before_blending_pays_cross_validated():
    members, rows = two_members()
    loss = lambda d: metrics.score("log_loss", d.target, d.p, d.y)  # noqa: E731
    plain = chain.fit(members, rows)
    assert plain.nested is plain.optimistic  # the default learns nothing
    assert np.allclose(plain.nested.p, (members["sharp"].p + members["soft"].p) / 2, atol=1e-6)
    tuned = chain.fit(members, rows, FULL.model_copy(update={"steps": ()}))
    assert loss(tuned.nested) < loss(plain.nested) - 0.01
    assert loss(tuned.optimistic) <= loss(tuned.nested)


def test_new_images_are_decided_as_the_frozen_values_say():
    """Each fold's model at its fold's temperature, then the folds' mean, then the blend, then the steps; through a JSON file."""
    members, rows = two_members()
    values = json.loads(files.to_json(chain.fit(members, rows, FULL).json))
    new, _ = two_members(n=50, seed=9)
    rng = np.random.default_rng(0)
    by_fold = {
        name: {k: m.with_p(softmax(np.log(m.p) + rng.normal(0, 0.3, m.p.shape), axis=1)) for k in range(5)} for name, m in new.items()
    }
    out = chain.apply(values, by_fold)
    total = 0
    for name, weight in zip(values["members"], values["final"]["blend"]["weights"], strict=True):
        warm = [
            softmax(np.log(by_fold[name][k].p.astype(float)) / values["by_fold"][str(k)]["calibrate"][name]["temperature"], axis=1)
            for k in range(5)
        ]
        total = total + weight * np.mean(warm, axis=0)
    p = total / np.array(values["final"]["steps"][0]["prior"]) ** 0.5
    assert np.allclose(out.p, p / p.sum(1, keepdims=True), atol=1e-5)
    assert out.row_ids.tolist() == new["sharp"].row_ids.tolist()


def test_frozen_values_give_the_optimistic_table():
    members, rows = two_members(n=600)
    found = chain.fit(members, rows, FULL)
    assert np.allclose(chain.apply(found.json, members, rows).p, found.optimistic.p, atol=1e-6)


def test_an_image_missing_for_one_fold_model_is_missing():
    members, rows = two_members(n=200)
    found = chain.fit({"sharp": members["sharp"]}, rows)
    a = members["sharp"].where(np.arange(5))
    lost = dataclasses.replace(
        a, p=np.where(np.arange(5)[:, None] == 2, np.nan, a.p), status=np.array(["ok", "ok", "missing", "ok", "ok"], dtype=object)
    )
    out = chain.apply(found.json, {"sharp": {0: lost, 1: lost}})
    assert out.status.tolist() == ["ok", "ok", "missing", "ok", "ok"]
    assert np.allclose(out.p[[0, 1, 3, 4]], a.p[[0, 1, 3, 4]], atol=1e-6)


def test_thresholds_come_last_and_set_decisions():
    dense, rows = multi(n=1500)
    found = chain.fit({"main": dense}, rows, Decide(steps=("thresholds",)))
    assert found.optimistic.answer is not None
    assert found.nested.answer.shape == dense.p.shape
    assert found.json["final"]["steps"][0] == BestF1().fit(dense, rows)
    assert np.allclose(chain.apply(found.json, {"main": dense}).answer, found.optimistic.answer)


def test_members_of_different_rows_blend_on_common_ones():
    members, rows = two_members(n=400)
    rows = dataclasses.replace(rows, row_ids=members["sharp"].row_ids)
    order = np.flatnonzero(rows.fold != 4)[::-1]
    found = chain.fit({"soft": members["soft"].where(order), "sharp": members["sharp"]}, rows, FULL)
    assert found.nested.row_ids.tolist() == rows.row_ids.tolist()
    assert (found.nested.ok == (rows.fold != 4)).all()
    assert found.json["coverage"]["common"] == len(order)
    assert any("are predicted by all members" in note for note in found.notes)
    with pytest.raises(DataError, match="soft"):
        chain.fit({"soft": members["soft"].where(order), "sharp": members["sharp"]}, rows, FULL, strict=True)


def test_one_fold_draws_folds_and_new_images_get_final_values():
    members, rows = two_members(n=1000)
    only = {"main": members["sharp"].where(rows.fold == 0)}
    part = rows.where(rows.fold == 0)
    found = chain.fit(only, part, FULL)
    assert found.json["drawn"]
    assert len(found.json["by_fold"]) == 5
    new = {"main": {0: members["sharp"].where(np.arange(9))}}
    averaged = {"main": members["sharp"].where(np.arange(9))}
    assert np.allclose(chain.apply(found.json, new).p, chain.apply(found.json, averaged).p)


def test_unsuited_parts_are_left_out_and_logged():
    y = np.random.default_rng(0).normal(40, 5, (60, 1))
    dense = dense_of(Target("age", "regression"), y + 1, y)
    found = chain.fit({"a": dense, "b": dense}, rows_of(60), Decide(calibrate="temperature", blend="vote", steps=("thresholds",)))
    assert np.allclose(found.nested.p, dense.p)
    assert len(found.notes) == 3
    assert found.json["blend"]["name"] == "mean"


def test_weights_by_name_follow_the_member():
    members, rows = two_members(n=100)
    how = Decide(blend={"name": "power", "r": 0.5, "weights": {"soft": 0.06, "sharp": 0.94}})
    found = chain.fit(members, rows, how)
    root = 0.94 * np.sqrt(members["sharp"].p) + 0.06 * np.sqrt(members["soft"].p)
    assert (found.nested.p.argmax(1) == root.argmax(1)).all()
    with pytest.raises(DataError, match="vit"):
        chain.fit(members, rows, Decide(blend={"name": "power", "weights": {"vit": 1.0}}))


def test_wrong_names_and_members_are_refused():
    members, rows = two_members(n=100)
    with pytest.raises(UserError, match="Did you mean 'temperature'"):
        chain.fit(members, rows, Decide(calibrate="temprature"))
    found = chain.fit(members, rows)
    with pytest.raises(DataError, match="sharp, soft"):
        chain.apply(found.json, {"sharp": members["sharp"]})
    turned = {n: dataclasses.replace(m, target=dataclasses.replace(m.target, classes=m.target.classes[::-1])) for n, m in members.items()}
    with pytest.raises(DataError, match="same order"):
        chain.apply(found.json, turned)
    with pytest.raises(DataError, match="row_ids"):
        chain.fit(members, rows.where(np.arange(50)))
    leak = Rows(rows.groups, (np.arange(100) % 3).astype(np.int16))
    with pytest.raises(DataError, match="more than one fold"):
        chain.fit({n: dataclasses.replace(m, fold=leak.fold) for n, m in members.items()}, leak, FULL)


def test_power_mean_of_numbers_is_their_mean():
    """A recipe with a number among its targets is not refused after training; of numbers there is one mean."""
    rng = np.random.default_rng(0)
    y, size = rng.normal(size=(40, 1)), Target("size", "regression")
    rows = rows_of(40)
    members = {name: dense_of(size, y + rng.normal(size=(40, 1)), y, rows.fold) for name in ("one", "two")}
    found = chain.fit(members, rows, Decide(blend="power"))
    np.testing.assert_allclose(found.nested.p, (members["one"].p + members["two"].p) / 2, rtol=1e-5)
    assert any("power" in note and "mean" in note for note in found.notes)
