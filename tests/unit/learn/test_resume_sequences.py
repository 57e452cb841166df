from __future__ import annotations

import pytest

import small_runs
from tapetum import api
from tapetum.core import files
from tapetum.data.simulate import ordered
from tapetum.learn.training import job

TINY = (
    "data.targets=['stage']", "data.sequence=night", "data.position=place", "data.path=file", "split.folds=2", "augment=['hflip']",
    "input.size=16", "model.backbone=test_resnet", "model.weights=none", "probe.enabled=false", "decide.choose=finetune",
    "train.threads=1", "train.precision='32'", "train.epochs=3", "train.batch=8",
)  # fmt: skip
KINDS = {
    "kept vectors, every step": ("sequence.length=4", "sequence.features=frozen", "sequence.head.name=bilstm", "sequence.head.dropout=0.3"),
    "end to end, SWA tail": (
        "sequence.length=3", "sequence.target=last", "train.epochs=2", "average.name=swa", "average.epochs=2", "split.folds=2",
    ),
    "end to end, EMA": ("sequence.length=3", "sequence.target=centre", "average.name=ema"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ordered.Ordered:
    return ordered.simulate(tmp_path_factory.mktemp("few"), nights=4, length=6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_job_over_neighbours_ends_with_the_same_bits(data, tmp_path, kind):
    api.fit(data.root / "labels.csv", tmp_path / "run", recipe=api.load_recipe(sets=(*TINY, *KINDS[kind])))
    spec = files.read_json(tmp_path / "run/members/main/fold-0/spec.json")
    whole, broken = (tmp_path / "run" / "members" / name / "fold-0" for name in ("whole", "broken"))
    for folder in (whole, broken):
        files.write_json(folder / "spec.json", spec)
    state = job.run(whole / "spec.json")
    last, kills = small_runs.killed_after_each_epoch(broken / "spec.json")
    assert kills >= 1
    assert last == state
    kept = [small_runs.contents(folder, "checkpoints/*.safetensors") for folder in (whole, broken)]
    assert kept[0] == kept[1] != {}
    assert (whole / "epochs.parquet").read_bytes() == (broken / "epochs.parquet").read_bytes()
