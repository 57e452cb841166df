from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from images import quiet
from small_runs import contents
from tapetum import api
from tapetum.core.config import Data
from tapetum.core.errors import UserError
from tapetum.data import layouts
from tapetum.systems.sleep_images.hypnograms import STAGES
from tapetum.systems.sleep_images.simulate import simulate_sleep

SIZE = 130


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("sleep")
    return out, simulate_sleep(out, size=SIZE, seed=4)


def test_exams_read_back_with_unscored_epochs_as_context(made):
    out, summary = made
    source, truth = Path(summary["paths"]["source"]), pl.read_csv(out / "truth.csv")
    scored = layouts.read(source, Data(), quiet)
    assert scored.target("stage").classes == STAGES
    assert len(scored) == summary["counts"]["train"] + summary["counts"]["test"]
    every = layouts.read(source, Data(blank="context"), quiet)
    assert len(every) == len(truth) == SIZE == len(scored) + summary["counts"]["in no table"]
    assert set(every.row_ids) == set(truth["row_id"])
    read = scored.frame.filter(pl.col("split") == "train").select("row_id", "stage").sort("row_id")
    told = truth.filter((pl.col("split") == "train") & pl.col("stage").is_not_null()).select("row_id", "stage").sort("row_id")
    assert read.equals(told)
    assert scored.frame.filter(pl.col("split") == "test")["stage"].null_count() == summary["counts"]["test"]
    for (_,), exam in every.frame.group_by("sequence"):
        assert sorted(exam["position"].to_list()) == list(range(1, len(exam) + 1))
        assert exam.filter(pl.col("split") != "spare")["split"].n_unique() == 1  # spare: in no table, context alone


def test_files_are_as_the_challenge_gives_them(made):
    source = Path(made[1]["paths"]["source"])
    for name in ("trainset-for_user.csv", "testset-for_user.csv"):
        assert (source / name).read_bytes().startswith(b"\xef\xbb\xbfA2019-NX-01-")
    answers = (source / "files.csv").read_text().splitlines()
    assert len(answers) == made[1]["counts"]["test"] == len((source / "testset-for_user.csv").read_text().splitlines())
    assert set(answers) <= set(STAGES)
    for file in list(source.rglob("*.png"))[:5]:
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("L", (480, 270))
            assert not np.asarray(image)[268:].any()
        assert file.name.startswith(f"{file.parent.name}_")
    assert not [p for p in source.rglob("*") if "truth" in p.name]


def test_bytes_depend_on_the_seed_alone(made, tmp_path):
    out, _ = made
    simulate_sleep(tmp_path / "again", size=SIZE, seed=4)
    assert contents(tmp_path / "again") == contents(out)
    simulate_sleep(tmp_path / "other", size=SIZE, seed=5)
    assert set(contents(tmp_path / "other")) != set(contents(out))


def test_context_raises_the_best_score_and_scorers_slips_bound_it(made):
    _, summary = made
    found = {name: scores["macro_f1"] for name, scores in summary["ceilings"].items()}
    assert found["frame_wise"] < found["order"] == summary["ceiling"] < 0.95
    assert summary["counts"]["slips"] > 0


def test_the_simulator_refuses_a_side_archives_and_few_images(tmp_path):
    with pytest.raises(UserError, match="'sleep' writes images of one size"):
        api.simulate("sleep", tmp_path / "a", size=SIZE, px=128)
    with pytest.raises(UserError, match="'sleep' writes folders alone"):
        api.simulate("sleep", tmp_path / "a", size=SIZE, zip=True)
    with pytest.raises(UserError, match="at least 120"):
        simulate_sleep(tmp_path / "a", size=10)


def test_recording_holds_the_signals_of_the_images(tmp_path):
    pytest.importorskip("edfio")
    from tapetum.sleep.drawing import draw
    from tapetum.sleep.edf import read_edf
    from tapetum.systems.sleep_images.cues import draw_cues
    from tapetum.systems.sleep_images.recordings import write_recording
    from tapetum.systems.sleep_images.signals import Recording, draw_sleeper

    rng, stages = np.random.default_rng(0), np.array([0, 2, 3, 4])
    recording = Recording(draw_cues(stages, rng), draw_sleeper(rng, 0))
    labels = np.array([0, -1, 3, 4])
    night = read_edf(write_recording(tmp_path / "a.edf", recording, labels))
    assert not [one for one in night.issues if one.kind != "note"]
    assert [one.text for one in night.annotations] == [f"Sleep stage {name}" for name in ("W", "?", "N3", "R")]
    wanted = recording.epoch(2)
    assert list(night.channels) == list(wanted)
    rates = {name: channel.rate for name, channel in night.channels.items()}
    read = {name: night.samples(name)[round(60 * rate) : round(90 * rate)] for name, rate in rates.items()}
    assert np.abs(draw(wanted, rates).astype(int) - draw(read, rates)).mean() < 1, "but for 16-bit rounding"


@pytest.mark.slow
def test_exams_of_the_test_part_tell_no_stages(tmp_path):
    pytest.importorskip("edfio")
    from tapetum.sleep.edf import read_edf

    found = simulate_sleep(tmp_path / "out", size=SIZE, seed=4, edf=True)
    truth = pl.read_csv(tmp_path / "out" / "truth.csv")
    recordings = sorted(Path(found["paths"]["recordings"]).glob("*.edf"))
    assert [path.stem for path in recordings] == sorted(truth["exam"].unique().to_list())
    for path in recordings:
        exam, night = truth.filter(pl.col("exam") == path.stem), read_edf(path)
        wanted = [{"Wake": "W", "REM": "R", None: "?"}.get(stage, stage) for stage in exam["stage"].to_list()]
        assert night.epochs == len(exam)
        told = [one.text.removeprefix("Sleep stage ") for one in night.annotations]
        assert told == (wanted if exam["split"][0] == "train" else [])
