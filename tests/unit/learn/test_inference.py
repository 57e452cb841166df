"""Answers stand at their rows: order, slots of unreadable images, views reduced as the recipe says, side numbers scaled."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from images import plant
from tapetum.core.config import Data, Input, Model, Predict
from tapetum.core.errors import DataError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import layouts
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import inference, models
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.side import Scaling

SETTINGS = Input(size=32)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    place = tmp_path_factory.mktemp("inference")
    plant(place, classes=2, each=5, size=32, truncated=True)
    return layouts.read(place / "labels.csv", Data(targets=("label",)), lambda _: None)


@pytest.fixture(scope="module")
def network(rows):
    return models.build(Model(backbone="test_efficientnet", weights="none"), rows.targets, 3, SETTINGS, seed=1)


def answer(network, rows, wanted, **predict):
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3))
    return inference.answer(network, images, np.asarray(wanted), Predict(**predict), Runtime(Engine("cpu", "32", False)), key=("k",))


def test_rows_are_answered_in_the_order_asked_and_once_each(network, rows):
    wanted = [7, 0, 3, 1]
    found, alone = answer(network, rows, wanted, batch=3), answer(network, rows, range(9), batch=4)
    assert np.allclose(found.p["label"], alone.p["label"][wanted], atol=1e-5)
    dense = found.dense({t.name: t for t in rows.targets}, rows.row_ids, {"label": rows.truth("label")}, 2)["label"]
    assert dense.row_ids.tolist() == [rows.row_ids[i] for i in wanted]
    assert np.array_equal(dense.y, rows.truth("label")[wanted])
    assert set(dense.fold) == {2}


def test_an_unreadable_image_keeps_its_slot_and_says_why(network, rows):
    with_it, without = answer(network, rows, range(10), batch=10), answer(network, rows, range(9), batch=10)
    assert np.isnan(with_it.p["label"][9]).all()
    assert with_it.ok.tolist() == [True] * 9 + [False]
    assert list(with_it.reasons) == [9]
    assert np.allclose(with_it.p["label"][:9], without.p["label"], atol=1e-6)


def test_missing_rows_change_no_bit_and_are_not_computed(network, rows, monkeypatch):
    whole = answer(network, rows, range(9), batch=3, views="flips")
    gone = dict.fromkeys([rows.row_ids[i] for i in (0, 1, 3, 4, 5, 7, 8)], "gone")
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3), missing=gone)
    passes, forward = [], type(network).forward
    monkeypatch.setattr(type(network), "forward", lambda self, x, side=None: passes.append(len(x)) or forward(self, x, side))
    told = []
    found = inference.answer(
        network, images, np.arange(9), Predict(batch=3, views="flips", keep_draws=True), Runtime(Engine("cpu", "32", False)), key=("k",),
        watch=inference.Watch(told.append),
    )  # fmt: skip
    assert np.array_equal(found.p["label"][[2, 6]], whole.p["label"][[2, 6]])
    assert found.ok.tolist() == [i in (2, 6) for i in range(9)]
    assert np.isnan(found.draws["label"][:, ~found.ok]).all()
    assert not np.isnan(found.draws["label"][:, found.ok]).any()
    assert passes == [3, 3]  # one batch in two views, not three
    assert told == [3, 6, 9]


def test_not_one_readable_row_is_answered_as_missing(network, rows):
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3), missing=dict.fromkeys(rows.row_ids, "gone"))
    found = inference.answer(network, images, np.arange(4), Predict(), Runtime(Engine("cpu", "32", False)))
    assert np.isnan(found.p["label"]).all()
    assert found.p["label"].shape == (4, 2)
    assert found.reasons == dict.fromkeys(range(4), "gone")


def test_views_are_reduced_as_probabilities_or_as_logits(network, rows):
    x = torch.stack([EvalTransform(SETTINGS)([np.array(_read(rows, i))], 0) for i in range(4)])
    network.eval()
    with torch.inference_mode():
        logits = [network(view)["label"] for view in (x, x.flip(-1))]
    p = [torch.softmax(one, 1) for one in logits]
    views = {"views": ("plain", "hflip")}
    assert np.allclose(answer(network, rows, range(4), **views).p["label"], (p[0] + p[1]) / 2, atol=1e-5)
    by_logits = torch.softmax((logits[0] + logits[1]) / 2, 1)
    assert np.allclose(answer(network, rows, range(4), reduce="logits", **views).p["label"], by_logits, atol=1e-5)
    most = torch.maximum(p[0], p[1])
    assert np.allclose(answer(network, rows, range(4), reduce="max", **views).p["label"], most / most.sum(1, keepdim=True), atol=1e-5)


def _read(rows, i):
    from PIL import Image

    return Image.open(rows.paths(i)[0]).convert("RGB")


def test_each_view_can_be_kept_beside_its_reduction(network, rows):
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3))
    predict, runtime = Predict(views=("plain", "hflip"), batch=2, keep_draws=True), Runtime(Engine("cpu", "32", False))
    found = inference.answer(network, images, np.arange(5), predict, runtime)
    assert found.draws["label"].shape == (2, 5, 2)
    assert np.allclose(found.draws["label"].mean(axis=0), found.p["label"], atol=1e-6)
    assert np.allclose(found.draws["label"][0], answer(network, rows, range(5)).p["label"], atol=1e-5)


def test_plain_image_is_answered_beside_other_views(network, rows):
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3))
    predict = Predict(views={"name": "random", "n": 2}, reduce={"label": "plain"}, keep_draws=True)
    found = inference.answer(network, images, np.arange(4), predict, Runtime(Engine("cpu", "32", False)))
    plain = answer(network, rows, range(4)).p["label"]
    assert np.allclose(found.p["label"], plain, atol=1e-6)
    assert len(found.draws["label"]) == 2
    assert not np.allclose(found.draws["label"][0], plain, atol=1e-6)


def test_random_views_belong_to_their_row(network, rows):
    spec = {"views": {"name": "random", "n": 2}}
    together, apart = answer(network, rows, [2, 5, 6], **spec), answer(network, rows, [6], **spec)
    assert np.allclose(together.p["label"][2], apart.p["label"][0], atol=1e-6)
    assert not np.allclose(answer(network, rows, [6]).p["label"], apart.p["label"], atol=1e-7)


@pytest.mark.parametrize("predict", [{"batch": 3}, {"views": ("plain", "hflip"), "batch": 4}])
def test_vectors_are_told_while_rows_are_answered(network, rows, predict):
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3))
    told, runtime, backwards = np.full((10, network.width), np.nan), Runtime(Engine("cpu", "32", False)), np.arange(9, -1, -1)
    found = inference.answer(network, images, backwards, Predict(**predict), runtime, watch=inference.Watch(vectors=told.__setitem__))
    assert np.array_equal(found.p["label"], answer(network, rows, backwards, **predict).p["label"], equal_nan=True)
    x = torch.stack([EvalTransform(SETTINGS)([np.array(_read(rows, i))], 0) for i in range(9)])
    with torch.inference_mode():
        assert np.allclose(told[:9], network.eval().features(x).numpy(), atol=1e-5)
    assert np.isnan(told[9]).all()  # it cannot be read


def test_heads_that_share_a_trunk_answer_as_if_alone(network, rows):
    other = models.build(Model(backbone="test_efficientnet", weights="none"), rows.targets, 3, SETTINGS, seed=2)
    other.backbone = network.backbone
    images = ImageDataset(rows, SETTINGS, EvalTransform(SETTINGS), form=Form(3))
    runtime = Runtime(Engine("cpu", "32", False))
    both = inference.answer_folds({3: network, 8: other}, images, np.arange(4), Predict(), runtime)
    assert np.allclose(both[3].p["label"], answer(network, rows, range(4)).p["label"], atol=1e-6)
    assert np.allclose(both[8].p["label"], answer(other, rows, range(4)).p["label"], atol=1e-6)
    assert not np.allclose(both[3].p["label"], both[8].p["label"], atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- side numbers


def manifest(age, weight):
    n = len(age)
    frame = pl.DataFrame(
        {"row_id": [str(i) for i in range(n)], "path": [["x"]] * n, "t": ["a"] * n, "age": age, "kg": weight},
        schema_overrides={"age": pl.Float64},
    )
    return Manifest(frame, (Target("t", "single", ("a", "b")),), ".", ("age", "kg"))


def test_side_numbers_are_scaled_and_missing_ones_are_means():
    rows = manifest([10.0, 20.0, 30.0, 1000.0, None], [5.0, 5.0, 5.0, 7.0, 5.0])
    scaling = Scaling.measure(rows, np.array([0, 1, 2]))
    std = np.std([10, 20, 30])
    assert np.allclose(scaling.apply(rows), [[-10 / std, 0], [0, 0], [10 / std, 0], [980 / std, 2], [0, 0]])
    assert Scaling.from_dict(scaling.to_dict()) == scaling
    assert scaling.apply(rows).dtype == np.float32


def test_absent_side_numbers_are_refused_by_name():
    rows = manifest([None, None, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="'age' is blank"):
        Scaling.measure(rows, np.array([0, 1]))
    scaling = Scaling.measure(rows, np.array([1, 2]))
    less = Manifest(rows.frame.drop("kg"), rows.targets, ".", ())
    with pytest.raises(DataError, match="'kg' is not in the table"):
        scaling.apply(less)
    assert Scaling.measure(less, np.array([0, 1])) is None
