from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapetum import api
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.data.simulate import ordered
from tapetum.learn.training.keep import Keeper
from tapetum.pipeline import Pipeline
from tapetum.pipeline.answer import answer, images_of

TINY = (
    "data.targets=['stage']", "data.sequence=night", "data.position=place", "data.path=file", "split.folds=2", "augment=[]",
    "input.size=16", "model.backbone=test_resnet", "model.weights=none", "probe.enabled=false", "decide.choose=finetune",
    "train.threads=1", "train.precision='32'", "train.start=random", "optimizer.rate=3e-3",
)  # fmt: skip


def _fit(data: ordered.Ordered, folder: Path, *sets: str) -> dict:
    return api.fit(data.root / "labels.csv", folder, recipe=api.load_recipe(sets=(*TINY, *sets)))


def _accuracy(result: dict, name: str) -> float:
    found = [f for f in result["figures"] if f["name"] == name and f["metric"] == "accuracy" and f["how"] == "cross-validated"]
    return found[0]["value"]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> ordered.Ordered:
    return ordered.simulate(tmp_path_factory.mktemp("few"), nights=4, length=10)


def test_the_order_is_learnt_where_the_signal_lies_in_it(tmp_path):
    data = ordered.simulate(tmp_path / "data", nights=24, length=40)
    sets = (
        "sequence.length=16",
        "sequence.features=frozen",
        "train.epochs=5",
        "probe.enabled=true",
        "probe.size=16",
        "probe.views=['plain']",
    )
    result = _fit(data, tmp_path / "run", *sets)
    single, together, best = _accuracy(result, "probe"), _accuracy(result, "final"), data.best()
    assert single < best["alone"] + 0.03  # one image cannot tell more than there is in it
    assert (together - single) / (best["together"] - single) >= 0.6
    assert together <= best["together"] + 0.03


FROZEN = ("sequence.length=4", "sequence.features=frozen", "train.epochs=2")
JOINED = ("sequence.length=3", "sequence.target=last", "sequence.windows=4", "sequence.window_width=24", "sequence.window_stride=8")


@pytest.mark.parametrize(
    "sets",
    [
        FROZEN,
        (*FROZEN, "data.side=['place']"),
        (*FROZEN, "sequence.target=centre", "sequence.head.name=transformer", "sequence.head.layers=1", "sequence.head.width=16"),
        ("sequence.length=3", "sequence.target=last", "sequence.positions=1", "train.epochs=1"),
        (*JOINED, "train.epochs=1"),
    ],
    ids=["frozen-all", "frozen-side", "frozen-transformer-centre", "end-to-end-last", "joined"],
)
def test_what_ships_answers_as_what_was_trained(few, tmp_path, sets):
    _fit(few, tmp_path / "run", *sets)
    run = Run.existing(tmp_path / "run")
    manifest = run.manifest()
    pipeline = Pipeline.load(run.root)
    member = pipeline.members[0]
    answered = answer(member, images_of(member, manifest, None), pipeline.targets)[0]
    assert member.shared == ("sequence.features=frozen" in sets)  # one pass over the images serves all folds
    final = pipeline.decisions["epochs"]["main"]["final"]
    for fold in (0, 1):
        held = Predictions.read(run.member("main", fold) / "epochs.parquet").dense("stage", "main", checkpoint=final)
        place = {row_id: i for i, row_id in enumerate(manifest.row_ids)}
        shipped = answered[fold]["stage"].p[[place[r] for r in held.row_ids]]
        assert np.abs(shipped - held.p).max() < 2e-5


def test_member_reads_features_of_another_member_also_in_refit(few, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[member]]\nname = "single"\n[[member]]\nname = "nights"\n[member.sequence]\nlength = 4\nfeatures = "single"\n', encoding="utf-8"
    )
    sets = (*TINY, "train.epochs=1", "decide.pipeline=refit")
    api.fit(few.root / "labels.csv", tmp_path / "run", recipe=api.load_recipe(recipe, sets=sets))
    run = Run.existing(tmp_path / "run")
    for fold in (0, 1, -1):
        spec = files.read_json(run.member("nights", fold) / "spec.json")
        assert spec["features"]["from"]["folder"] == f"../../single/{'refit' if fold < 0 else f'fold-{fold}'}"
        assert not any(key.startswith("backbone.") for key in Keeper(run.member("nights", fold)).checkpoint("epoch-001"))
    pipeline = Pipeline.load(run.root)
    one, other = (m.networks[-1].backbone.state_dict() for m in pipeline.members)
    assert all(bool((one[key] == other[key]).all()) for key in one)
    assert len(list((run.pipeline / "backbones").iterdir())) == 1
    p = pipeline.answer(run.manifest())["stage"].p
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)


def test_probe_and_frozen_windows_share_kept_vectors(few, tmp_path):
    _fit(few, tmp_path / "run", *FROZEN, "probe.enabled=true", "probe.size=16", "probe.views=['plain']", "probe.strengths=[1.0]")
    stores = [folder for folder in (tmp_path / "run" / "features").iterdir() if folder.is_dir()]
    assert len(stores) == 1


def test_sequence_pipeline_refuses_images_without_a_sequence(few, tmp_path):
    _fit(few, tmp_path / "run", *FROZEN, "train.epochs=1")
    with pytest.raises(Exception, match="sequence"):
        Pipeline.load(tmp_path / "run").predict_proba([np.zeros((16, 16, 3), dtype=np.uint8)])


def test_rows_far_away_in_a_sequence_change_no_answer(few, tmp_path):
    result = _fit(few, tmp_path / "run", *FROZEN, "train.epochs=1")
    pipeline = Pipeline.load(result["pipeline"])
    whole = pipeline.read([few.root / "labels.csv"], lambda _: None)
    night = np.flatnonzero(whole.frame["night"] == whole.frame["night"][0]) if "night" in whole.frame.columns else np.arange(10)

    def first_answer(*rows: int) -> np.ndarray:
        return pipeline.answer(whole.where(night[list(rows)]))["stage"].p[0]

    assert np.array_equal(first_answer(0), first_answer(0, 9))
    assert not np.array_equal(first_answer(0), first_answer(0, 1))
