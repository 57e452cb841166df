import hashlib
import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from tapetum.core.config import Input, Model
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features
from tapetum.learn.models import network
from tapetum.learn.runtime import Engine, Runtime

TARGET = Target("c", "single", ("a", "b"))
SMALL = Input(size=32)
RUNTIME = Runtime(Engine("cpu"), deterministic=False)


@pytest.fixture(scope="module")
def net():
    return network.build(Model(backbone="test_resnet", weights="none"), (TARGET,), 3, SMALL)


def manifest(folder, count=7):
    rng = np.random.default_rng(0)
    names = [f"p{i}.png" for i in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / name)
    return read(folder, names)


def read(folder, names):
    hashes = [hashlib.sha256((folder / n).read_bytes()).hexdigest() if (folder / n).exists() else None for n in names]
    frame = pl.DataFrame({"row_id": names, "path": [[n] for n in names], "c": ["a"] * len(names), "sha256": hashes})
    return Manifest(frame, (TARGET,), folder)


def extract(net, table, settings, **how):
    images = ImageDataset(table, settings, EvalTransform(settings), form=Form(3), missing=how.pop("missing", None))
    return features.extract(net, images, **how)


def test_vectors_are_the_networks_for_each_view_and_row(tmp_path, net):
    table = manifest(tmp_path)
    found = extract(net, table, SMALL, views=("plain", "hflip"), runtime=RUNTIME, batch=3)
    x = torch.stack([torch.from_numpy(np.array(Image.open(tmp_path / n))).permute(2, 0, 1) for n in table.row_ids])
    with torch.inference_mode():
        want = torch.stack([net.eval().features(x), net.features(x.flip(-1))], 1)
    np.testing.assert_allclose(found.vectors, want.numpy(), atol=1e-5)
    assert found.views == ("plain", "hflip")
    assert (found.status == "ok").all()


def test_a_second_call_reads_the_store_and_computes_nothing(tmp_path, net, monkeypatch):
    table = manifest(tmp_path)
    first = extract(net, table, SMALL, store=tmp_path / "f", runtime=RUNTIME)
    monkeypatch.setattr(features, "_computed", lambda *a: pytest.fail("computed again"))
    again = extract(net, table.where(np.array([4, 1])), SMALL, store=tmp_path / "f", runtime=RUNTIME)
    np.testing.assert_array_equal(again.vectors, first.vectors[[4, 1]])
    assert again.row_ids.tolist() == ["p4.png", "p1.png"]
    assert json.loads((tmp_path / "f" / first.key / "index.json").read_text())["what"]["engine"]["precision"] == "32"


def test_a_changed_image_is_computed_again(tmp_path, net):
    table = manifest(tmp_path)
    first = extract(net, table, SMALL, store=tmp_path / "f", runtime=RUNTIME)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "p2.png")
    again = extract(net, read(tmp_path, table.row_ids), SMALL, store=tmp_path / "f", runtime=RUNTIME)
    same = np.isclose(again.vectors, first.vectors, atol=1e-6).all(axis=(1, 2))
    assert same.tolist() == [True, True, False, True, True, True, True]


def test_unreadable_image_is_a_nan_row_and_moves_none(tmp_path, net):
    table = manifest(tmp_path)
    whole = extract(net, table, SMALL, runtime=RUNTIME, batch=4)
    (tmp_path / "p2.png").write_bytes((tmp_path / "p2.png").read_bytes()[:60])
    torn = extract(net, read(tmp_path, table.row_ids), SMALL, runtime=RUNTIME, batch=4, store=tmp_path / "f")
    assert np.isnan(torn.vectors[2]).all()
    assert torn.status.tolist() == ["ok", "ok", "missing", "ok", "ok", "ok", "ok"]
    assert list(torn.reasons) == ["p2.png"]
    rest = [0, 1, 3, 4, 5, 6]
    np.testing.assert_array_equal(torn.vectors[rest], whole.vectors[rest])


def test_rows_known_to_be_missing_are_neither_opened_nor_computed(tmp_path, net, monkeypatch):
    table = manifest(tmp_path, 40)
    whole = extract(net, table, SMALL, runtime=RUNTIME, batch=4)
    there = [1, 6, 22, 39]
    gone = {row_id: "no such file" for i, row_id in enumerate(table.row_ids) if i not in there}
    opened, passes, read = [], [], ImageDataset.read
    monkeypatch.setattr(ImageDataset, "read", lambda self, row: opened.append(row) or read(self, row))
    monkeypatch.setattr(features, "CHUNK", 8)
    forward = type(net).features
    monkeypatch.setattr(type(net), "features", lambda self, x: passes.append(len(x)) or forward(self, x))
    found = extract(net, table, SMALL, runtime=RUNTIME, batch=4, missing=gone)
    np.testing.assert_array_equal(found.vectors[there], whole.vectors[there])
    assert np.isnan(found.vectors[[i for i in range(40) if i not in there]]).all()
    assert opened == there
    assert passes == [4, 4]  # places 1, 2, 2 and 3 of their batches
    assert found.reasons == gone


def test_not_one_readable_row_is_not_an_error(tmp_path, net):
    table = manifest(tmp_path, 3)
    found = extract(net, table, SMALL, runtime=RUNTIME, store=tmp_path / "f", missing=dict.fromkeys(table.row_ids, "gone"))
    assert found.status.tolist() == ["missing"] * 3


def test_killed_extraction_resumes_with_the_same_bits(tmp_path, net, monkeypatch):
    table = manifest(tmp_path)
    monkeypatch.setattr(features, "CHUNK", 2)
    whole = extract(net, table, SMALL, runtime=RUNTIME, batch=2)
    done, compute = [], features._computed

    def killed(work, rows):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(rows.tolist())
        return compute(work, rows)

    monkeypatch.setattr(features, "_computed", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(net, table, SMALL, store=tmp_path / "f", runtime=RUNTIME, batch=2)
    later = []
    monkeypatch.setattr(features, "_computed", lambda work, rows: later.append(rows.tolist()) or compute(work, rows))
    again = extract(net, table, SMALL, store=tmp_path / "f", runtime=RUNTIME, batch=2)
    assert later == [[4, 5], [6]]
    np.testing.assert_array_equal(again.vectors, whole.vectors)
    assert not (tmp_path / "f" / again.key / "parts").exists()


def test_the_key_tells_weights_size_views_pooling_and_engine_apart(net):
    def key(model=net, settings=SMALL, views=("plain",), engine=Engine("cpu")):
        return features.files.fingerprint(features.describe(model, settings, views, Runtime(engine, deterministic=False)))

    other = network.build(Model(backbone="test_resnet", weights="none"), (TARGET,), 3, SMALL, seed=1)
    pooled = network.build(Model(backbone="test_resnet", weights="none", pooling="max"), (TARGET,), 3, SMALL)
    bare = network.build(Model(backbone="test_resnet", weights="none"), (TARGET,), 3, Input(size=32, normalise="none"))
    levels = network.build(Model(backbone="test_resnet", weights="none", pooling="levels"), (TARGET,), 3, SMALL)
    keys = [key(), key(other), key(pooled), key(levels), key(bare), key(settings=Input(size=48)), key(views=("plain", "hflip"))]
    keys.append(key(engine=Engine("cpu", "bf16", True)))
    assert len(set(keys)) == len(keys)
    assert key() == key()


def test_rows_are_found_by_id_and_unknown_ones_are_nan(tmp_path, net):
    found = extract(net, manifest(tmp_path, 3), SMALL, runtime=RUNTIME)
    out = found.of(["p2.png", "elsewhere", "p0.png"])
    np.testing.assert_array_equal(out[[0, 2]], found.vectors[[2, 0]])
    assert np.isnan(out[1]).all()
