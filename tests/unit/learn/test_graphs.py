"""One function of images alone: the probabilities of inference for every kind of target, view and reduction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.config import Input, Model, Predict
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.learn import graphs, inference, models
from tapetum.learn.side import Scaling

TARGETS = (
    Target("one", "single", ("x", "y", "z")),
    Target("step", "ordinal", ("1", "2", "3", "4")),
    Target("some", "multi", ("p", "q")),
    Target("age", "regression"),
    Target("who", "single", ("a", "b"), scored=False),
)


@pytest.fixture(scope="module")
def networks():
    model = Model(backbone="test_efficientnet", weights="none", heads={"step": "coral"})
    return [models.build(model, TARGETS, 4, Input(size=32), side=2, seed=seed).eval() for seed in (0, 1)]


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (3, 4, 32, 32), dtype=np.uint8)), torch.tensor(
        [[1.0, 8.0], [2.0, float("nan")], [0.0, 4.0]]
    )


@pytest.mark.parametrize(
    "predict",
    [
        Predict(),
        Predict(views="flips", reduce="mean"),
        Predict(views="dihedral", reduce="logits"),
        Predict(views="hflip", reduce={"one": "plain", "some": "max"}),
        Predict(views=("plain", "vflip"), reduce="max"),
    ],
    ids=["plain", "flips", "dihedral", "each", "max"],
)
def test_a_graph_answers_as_inference(predict, networks, batch):
    x, side = batch
    scaling = Scaling(("a", "b"), (1.0, 2.0), (2.0, 4.0))
    graph = graphs.Graph(networks, [scaling, scaling], predict, shared=False)
    scaled = torch.nan_to_num((side - torch.tensor(scaling.mean)) / torch.tensor(scaling.std))
    with torch.inference_mode():
        found = graph(x, side)
        assert list(graph.targets) == ["one", "step", "some", "age"]
        for fold, network in enumerate(networks):
            gathered = inference._Gathered(network, len(x), predict)
            wanted = inference._wanted(predict, gathered.alone)
            gathered.take(np.arange(3), [network(view, scaled) for view in inference._views(x, wanted, [0] * 3)], np.ones(3, dtype=bool))
            for p, name in zip(found, graph.targets, strict=True):
                np.testing.assert_allclose(p[:, fold].numpy(), gathered.p[name], atol=1e-6, rtol=1e-5)


def test_a_shared_backbone_runs_once(networks, batch, monkeypatch):
    x, side = batch
    calls = []
    plain = type(networks[0]).head_inputs
    monkeypatch.setattr(type(networks[0]), "head_inputs", lambda self, x: (calls.append(self), plain(self, x))[1])
    scaling = Scaling(("a", "b"), (0.0, 0.0), (1.0, 1.0))
    with torch.inference_mode():
        graphs.Graph(networks, [scaling, scaling], Predict(), shared=True)(x, side)
    assert calls == [networks[0]]


@pytest.mark.parametrize("view", ["random", "crops", {"name": "scales", "factors": [1.0, 0.5]}])
def test_views_that_draw_or_resize_are_refused(view, networks):
    with pytest.raises(UserError, match="cannot be exported"):
        graphs.Graph(networks, [None, None], Predict(views=view), shared=False)
