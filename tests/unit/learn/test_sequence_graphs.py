"""Windows of a sequence as graphs: the probabilities of the networks for every body, target and mask, also as ONNX."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.config import Input, Model, SequenceConfig
from tapetum.core.targets import Target
from tapetum.learn import graphs, models, sequence_graphs, sessions
from tapetum.learn.models import sequence as over
from tapetum.learn.side import Scaling

TARGETS = (
    Target("stage", "single", ("x", "y", "z")),
    Target("step", "ordinal", ("1", "2", "3")),
    Target("age", "regression"),
    Target("who", "single", ("a", "b"), scored=False),
)
BILSTM = {"name": "bilstm", "hidden": 8, "project": 8, "layers": 1}
TRANSFORMER = {"name": "transformer", "layers": 1, "width": 16, "heads": 2}
JOINED = {"windows": 3, "window_width": 24, "window_stride": 12}
SCALING = Scaling(("a", "b"), (1.0, 2.0), (2.0, 4.0))


def networks_of(how, side, targets=TARGETS, count=2):
    model = Model(backbone="test_resnet", weights="none", heads={"step": "coral"} if len(targets) > 1 else {})
    made = [models.build(model, targets, 3, Input(size=(32, 64)), side=side, seed=seed) for seed in range(count)]
    return [over.around(one, model, how, side=side, seed=number).eval() for number, one in enumerate(made)]


def given(how, rows, seed=0):
    """Return images of windows, masks (whole, with a gap, one step, none), and side numbers with a missing one."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (rows, how.length, 3, 32, 64), dtype=np.uint8))
    mask = torch.from_numpy(rng.random((rows, how.length)) < 0.6)
    mask[0], mask[1] = True, False
    mask[2] = torch.arange(how.length) == how.length - 1
    side = torch.from_numpy(rng.normal(size=(rows, how.length, 2) if how.target == "all" else (rows, 2)).astype(np.float32))
    side[0, 0] = float("nan")
    return images, mask, side


CASES = {
    "all": {"head": BILSTM},
    "last": {"head": BILSTM, "target": "last", "positions": 2},
    "centre": {"head": TRANSFORMER, "target": "centre"},
    "joined": {"head": BILSTM, "target": "last", **JOINED},
}


@pytest.mark.parametrize(("case", "side"), [("all", 2), ("last", 0), ("centre", 2), ("joined", 0)])
def test_written_windows_answer_as_the_networks(case, side):
    how = SequenceConfig(length=4, **CASES[case])
    as_onnx = how.target != "last"  # one network and one target there: the exporter takes long
    networks = networks_of(how, side, TARGETS[:1], 1) if as_onnx else networks_of(how, side)
    images, mask, numbers = given(how, 6)
    whole = sequence_graphs.WindowGraph(networks, [SCALING if side else None] * len(networks))
    with torch.inference_mode():
        values = images
        if not how.windows:
            flat = sequence_graphs.StepGraph(networks)(images.flatten(0, 1))[0]
            values = flat.unflatten(0, (6, how.length))
            np.testing.assert_array_equal(flat[:, -1].numpy(), networks[-1].step_vectors(images.flatten(0, 1)).numpy())
        scaled = torch.nan_to_num((numbers - torch.tensor(SCALING.mean)) / torch.tensor(SCALING.std)) if side else None
        wanted = [one.probabilities(one(images, scaled, mask)) for one in networks]
    arrays = (values.contiguous(), mask, *((numbers,) if side else ()))
    two = tuple(one[:2].clone() for one in arrays)
    if as_onnx:
        pytest.importorskip("onnxscript")
        found = sessions.open_onnx(graphs.to_onnx(whole, two, whole.inputs, whole.outputs))(*(one.numpy() for one in arrays))
    else:
        with torch.no_grad():
            found = [one.numpy() for one in graphs._traced(whole, two, whole.inputs).module()(*arrays)]
    assert list(whole.targets) == (["stage"] if as_onnx else ["stage", "step", "age"])
    assert found[0].shape == ((6, 4, 1, 3) if how.target == "all" else (6, len(networks), 3))
    for number, of_network in enumerate(wanted):
        for name, p in zip(whole.targets, found, strict=True):
            np.testing.assert_allclose(p[..., number, :], of_network[name].numpy(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_bilstm_reads_each_window_from_its_own_first_step(layers):
    torch.manual_seed(0)
    body = over.BiLSTM(5, hidden=4, layers=layers, project=0).eval()
    mask = torch.rand(20, 7) < 0.5
    x = torch.randn(20, 7, 5) * mask[..., None]
    with torch.inference_mode():
        torch.testing.assert_close(body.unpacked(x, mask), body(x, mask), atol=1e-6, rtol=1e-5)


def test_a_shared_backbone_gives_vectors_once():
    how = SequenceConfig(length=4, head=BILSTM)
    networks = networks_of(how, 0)
    images, mask, _ = given(how, 3)
    with torch.inference_mode():
        one = sequence_graphs.StepGraph(networks[:1])(images.flatten(0, 1))[0].unflatten(0, (3, 4))
        assert one.shape[2] == 1
        found = sequence_graphs.WindowGraph(networks, [None, None])(one, mask)[0]
        second = networks[1].from_steps(one[:, :, 0], mask)
        np.testing.assert_allclose(found[..., 1, :].numpy(), networks[1].probabilities(second)["stage"].numpy(), atol=1e-6)
