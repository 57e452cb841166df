"""Sessions: a batch is answered in parts that fit into a processor's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tapetum.learn import sessions


class Sums:
    """Stands for ONNX Runtime's session: sums of images and of side numbers; keeps how many rows it was given each time."""

    seen: list[int]

    def __init__(self, *_: Any, **__: Any) -> None:
        Sums.seen = []

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": name})() for name in ("image", "side")]

    def run(self, _: Any, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        Sums.seen.append(len(given["image"]))
        return [given["image"].sum(axis=(1, 2, 3)), given["side"] * 2]


@pytest.mark.parametrize(("pixels", "threads", "wanted"), [(224, 1, [4, 4, 2]), (224, 2, [8, 2]), (448, 1, [1] * 10), (32, 1, [10])])
def test_a_batch_is_answered_in_cache_sized_parts(monkeypatch, pixels, threads, wanted):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", Sums)
    x = np.random.default_rng(0).integers(0, 256, (10, 3, pixels, pixels)).astype(np.uint8)
    side = np.arange(20, dtype=np.float32).reshape(10, 2)
    sums, doubled = sessions.open_onnx(b"", threads)(x, side)
    assert Sums.seen == wanted
    assert np.array_equal(sums, x.sum(axis=(1, 2, 3)))
    assert np.array_equal(doubled, side * 2)
