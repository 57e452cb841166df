"""In 8 bits the first layer stays in 32; depthwise convolutions too where more would be lost than the bound allows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.core.targets import Target
from tapetum.pipeline import quantised

onnx = pytest.importorskip("onnx")


def graph():
    """Image → its size and its halves → a convolution each → one depthwise → a product with a matrix."""
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["image"], ["shape"], name="shape"),
        make("Div", ["image", "two"], ["half"], name="half"),
        make("Conv", ["half", "w"], ["a"], name="stem"),
        make("Flip", ["half"], ["flipped"], name="flip"),
        make("Conv", ["flipped", "w"], ["b"], name="stem of the view"),
        make("Conv", ["a", "w"], ["c"], name="deep", group=3),
        make("Conv", ["c", "w"], ["d"], name="later"),
        make("MatMul", ["d", "shape"], ["p"], name="head"),
    ]
    value = onnx.helper.make_tensor_value_info
    return onnx.helper.make_graph(nodes, "g", [value("image", 1, [1])], [value("p", 1, [1])])


def test_what_sees_images_first_stays_in_32_bits():
    assert quantised._names(graph(), quantised.KEPT[0]) == ["stem", "stem of the view"]
    assert quantised._names(graph(), quantised.KEPT[1]) == ["stem", "stem of the view", "deep"]
    assert quantised._names(graph(), "") == []


@pytest.mark.parametrize(("scores", "kept"), [([0.9, 0.895], 0), ([0.9, 0.88, 0.895], 1), ([0.9, 0.88, 0.88], None)])
def test_more_stays_in_32_bits_only_where_the_bound_asks(scores, kept, tmp_path, monkeypatch):
    member = SimpleNamespace(spec={"name": "main", "files": {"main.onnx": ""}})
    loaded = SimpleNamespace(members=[member], targets={"c": Target("c", "single", ("a", "b"))})
    monkeypatch.setattr(quantised.Exported, "load", lambda folder: loaded)
    monkeypatch.setattr(quantised, "_scores", lambda *_: {"main": {"c": scores.pop(0)}})
    monkeypatch.setattr(quantised, "inputs", lambda *_: [])
    given = []
    monkeypatch.setattr(quantised, "write_8_bits", lambda model, place, images, kept: given.append((model, kept)))
    (tmp_path / "main.onnx").write_bytes(b"in 32 bits")
    files.write_json(tmp_path / "ensemble.json", {"members": [{"name": "main", "files": {"main.onnx": ""}}]})
    held = SimpleNamespace(split=np.full(8, "train"), fold=np.zeros(8), where=lambda rows: None)
    if kept is None:
        with pytest.raises(DataError, match=r"0\.9000 becomes 0\.8800"):
            quantised.quantise(tmp_path, held, lambda _: None)
    else:
        found = quantised.quantise(tmp_path, held, lambda _: None)
        assert found["kept"] == quantised.KEPT[kept]
        assert f"{quantised.KEPT[kept]} in 32" in found["summary"]
        assert files.read_json(tmp_path / "ensemble.json")["int8"] == found
    assert [model for model, _ in given] == [b"in 32 bits"] * len(given)  # never of what is in 8 bits already
    assert [one for _, one in given] == list(quantised.KEPT[: len(given)])


def test_loss_of_8_bits_counts_rows_by_weight():
    kind = Target("c", "single", ("a", "b"))
    p, y = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]], np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]

    class Held:
        fold, weight = np.zeros(4), np.array([3.0, 1.0, 3.0, 1.0])

        def __len__(self):
            return 4

        def truth(self, name):
            return y

    answered = SimpleNamespace(targets={"c": kind}, by_member=lambda rows: {"main": {0: {"c": SimpleNamespace(p=p)}}})
    assert quantised._scores(answered, Held())["main"]["c"] == pytest.approx(0.75)  # 0.5 where each row counts 1
