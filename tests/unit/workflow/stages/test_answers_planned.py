"""The engine of held-out answers is planned by what its conversions cost; few images are answered by the engine that trains."""

from __future__ import annotations

import types

import numpy as np
import pytest

import small_runs
from tapetum.core.agreement import Agreement
from tapetum.core.runs import Record
from tapetum.data.images.form import Form
from tapetum.learn import engines
from tapetum.learn.runtime import Engine
from tapetum.learn.speed import Measured
from tapetum.workflow.stages import answering

TORCH, ONNX = Engine("cpu", "32", True), Engine("cpu", "32", True, "onnx")
PLAN = {"folds": [0, 1], "epochs": 3}


@pytest.fixture
def world(monkeypatch):
    """A machine on which torch needs 30 ms an image, ONNX Runtime 10, and a conversion 2 s."""

    class World:
        said, asked, same = [], {}, True

        def plan(self, heldout, **values):
            recipe = list(small_runs.recipe(**{"predict__engine": "auto", **values}).recipe.members().values())[-1]
            manifest = types.SimpleNamespace(split=np.full(2 * heldout, "train"))
            prepared = types.SimpleNamespace(manifest=manifest, form=Form(3), heldout=lambda fold: np.arange(heldout))
            session = types.SimpleNamespace(prepared=prepared, log=Record(self.said.append), devices=1, manifest=manifest)
            return answering.plan_answers(session, recipe, None, TORCH, PLAN)

        def choose(self, measured, beside, network, work, rows, judge, *, force, conversions):
            self.asked.update(rows=rows, conversions=conversions, force=force)
            if not self.same:
                return engines.Choice(measured, {}, "onnx-32 gives other labels")
            seconds = {**measured.seconds, ONNX.name: 0.010}
            agrees = Agreement(64, {"label": {"agreement": 1.0, "largest_difference": 0.0, "differ": 0, "close_calls": 0}})
            return engines.Choice(Measured(ONNX, seconds), {ONNX.name: agrees.to_dict()}, "onnx-32 agrees")

    found = World()
    monkeypatch.setattr(engines, "offered", lambda train, wanted, own: [] if wanted == "torch" else [ONNX])
    monkeypatch.setattr(engines, "choose", found.choose)
    monkeypatch.setattr(answering, "_judge", lambda *_: None)
    monkeypatch.setattr(answering, "seconds_to_convert", lambda *_: 2.0)
    monkeypatch.setattr(answering.speed, "decide_engine", lambda *_, **__: Measured(TORCH, {TORCH.name: 0.030}))
    return found


def test_conversions_of_every_epoch_are_counted(world):
    found = world.plan(300)
    assert (found["engine"], found["from_images"], found["convert_seconds"]) == (ONNX.to_dict(), 101, 2.0)
    assert found["parity"]["onnx-32"]["targets"]["label"]["agreement"] == 1
    assert world.asked == {"rows": 2 * 3 * 300, "conversions": 6, "force": False}
    world.plan(300, average__name="ema")
    assert world.asked["conversions"] == 12
    world.plan(300, predict__views="flips", predict__reduce="auto")  # two views at the end of a fold
    assert world.asked == {"rows": 2 * (3 * 300 + 2 * 300), "conversions": 8, "force": False}


def test_few_images_are_not_converted(world):
    assert world.plan(99) is None
    found = world.plan(120)
    assert (list(found), world.asked) == (["why"], {})
    assert "120 images at once take 3.6 s by cpu-32-channels_last" in found["why"]
    assert world.said == [f"held-out answers: by the engine that trains; {found['why']}"]


def test_only_uses_with_enough_images_count(world):
    world.plan(120, predict__views="flips", predict__reduce="auto")
    assert world.asked == {"rows": 2 * 240, "conversions": 2, "force": False}


def test_an_engine_with_other_labels_does_not_answer(world):
    world.same = False
    assert world.plan(300) == {"why": "onnx-32 gives other labels"}


def test_a_named_engine_is_taken_and_torch_is_not_left(world):
    assert world.plan(5, predict__engine="onnx")["from_images"] == 0
    assert world.plan(300, predict__engine="torch") is None


def test_kept_vectors_are_converted_once_or_by_fold(world):
    windowed = {"sequence__length": 3, "sequence__features": "frozen", "predict__engine": "auto"}
    world.plan(300, **windowed)
    assert (world.asked["rows"], world.asked["conversions"]) == (600, 1)
    first = {"name": "main", "sequence": {"length": 1}}
    other = {"name": "after", "sequence": {"length": 3, "features": "main"}}
    world.plan(300, member=[first, other])
    assert (world.asked["rows"], world.asked["conversions"]) == (1200, 2)
    assert world.plan(300, **{**windowed, "sequence__features": "end-to-end"}) is None
