"""What predict, evaluate and submit refuse before they do harm: inputs as outputs, blank paths, folders as files, damaged pipelines."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest

import small_runs
import tapetum
from tapetum import api
from tapetum.core.errors import DATA, ENVIRONMENT, USAGE, DataError, EnvironmentFault, KindError


@pytest.fixture
def labels(other_images):
    place = other_images.parent / "labels.csv"
    pl.DataFrame({"id": ["a", "b"], "path": ["ant/ant_000.png", "ant/ant_001.png"], "label": ["ant", "bee"]}).write_csv(place)
    return place


def test_a_table_that_is_read_is_never_written_over(probed, labels, tmp_path):
    before = labels.read_bytes()
    linked = tmp_path / "linked.csv"
    linked.symlink_to(labels)
    for command in (
        ("predict", probed, labels, "-o", labels),
        ("predict", probed, labels, "-o", labels.parent / "ant" / ".." / "labels.csv"),
        ("evaluate", probed, labels, "-o", labels),
        ("evaluate", probed, linked, "-o", labels),
        ("split", labels, "--target", "label", "-o", labels),
        ("submit", probed, "--template", labels, "-o", labels),
    ):
        said = small_runs.cli(*command)
        assert said.code == USAGE, command
        assert "is read by this very command" in said.error
        assert labels.read_bytes() == before
    assert small_runs.cli("predict", probed, labels, "-o", labels.with_name("answers.csv")).code == 0


def test_a_blank_argument_is_not_the_folder_at_work(probed, other_images, monkeypatch):
    monkeypatch.chdir(other_images)
    for command in (("predict", probed, ""), ("evaluate", probed, ""), ("fit", "", "-o", "run"), ("predict", probed, ".", "-o", "")):
        said = small_runs.cli(*command)
        assert (said.code, "is blank" in said.error) == (USAGE, True), command
    pipeline = tapetum.load(probed)
    for blank in ("", [""]):
        assert list(pipeline.predict(blank)) == [None]
        assert pipeline.problems == {0: "a folder"}


def test_a_folder_is_no_file_to_write(probed, labels, tmp_path):
    (tmp_path / "answers.csv").mkdir()
    said = small_runs.cli("predict", probed, labels, "-o", tmp_path / "answers.csv")
    assert (said.code, "answers.csv is a folder" in said.error) == (USAGE, True)
    assert sorted(p.name for p in tmp_path.iterdir() if "aside" in p.name) == []


@pytest.fixture
def copied(probed, tmp_path):
    return shutil.copytree(probed / "pipeline", tmp_path / "pipeline")


def changed(folder, **values):
    spec = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    spec = {key: value for key, value in (spec | values).items() if value is not None}
    (folder / "pipeline.json").write_text(json.dumps(spec), encoding="utf-8")


def test_a_pipeline_of_a_newer_format_is_refused(copied, other_images):
    changed(copied, format=99)
    said = small_runs.cli("predict", copied, other_images)
    assert (said.code, "format 99, from a newer version" in said.error) == (ENVIRONMENT, True)
    with pytest.raises(EnvironmentFault):
        tapetum.load(copied)


@pytest.mark.parametrize("key", ["targets", "decisions", "members", "data", "format"])
def test_a_pipeline_that_lacks_a_part_is_damaged(copied, key):
    changed(copied, **{key: None})
    with pytest.raises(DataError, match=f"is damaged: '{key}' is absent"):
        tapetum.load(copied)


def test_a_pipeline_whose_files_do_not_fit_is_damaged(copied, other_images):
    spec = json.loads((copied / "pipeline.json").read_text(encoding="utf-8"))
    changed(copied, targets=[{**spec["targets"][0], "classes": ["ant", "bee"]}])
    with pytest.raises(DataError, match="is damaged, or its files are of several pipelines"):
        tapetum.load(copied)
    changed(copied, targets=spec["targets"], data={**spec["data"], "later": 1})
    with pytest.raises(DataError, match="is damaged"):
        tapetum.load(copied)
    changed(copied, data=spec["data"], files=None)  # as older versions wrote it
    head = next(copied.rglob("head.safetensors"))
    for content in (head.read_bytes()[:20], None):
        head.unlink()
        if content is not None:
            head.write_bytes(content)
        said = small_runs.cli("predict", copied, other_images)
        assert (said.code, "head.safetensors cannot be read" in said.error) == (DATA, True)


def test_a_swapped_or_absent_file_of_a_pipeline_is_refused(copied, other_images):
    spec = json.loads((copied / "pipeline.json").read_text(encoding="utf-8"))
    assert {place.rpartition("/")[2] for place in spec["files"]} >= {"head.safetensors", "model.safetensors", "training_images.parquet"}
    first, other = sorted(copied.rglob("head.safetensors"))[:2]
    other.write_bytes(first.read_bytes())
    said = small_runs.cli("predict", copied, other_images)
    assert (said.code, "is not the file that was written" in said.error, other.name in said.error) == (DATA, True, True)
    other.unlink()
    with pytest.raises(DataError, match=r"head\.safetensors is absent"):
        tapetum.load(copied)


def test_images_at_hand_are_sent_to_the_loaded_pipeline(probed, other_images):
    names = [str(other_images / f"ant_00{i}.png") for i in range(2)]
    loaded = tapetum.load(probed)
    expected = [one["answers"] for one in api.predict(probed, names)["answers"]]
    for pipeline, images in ((loaded, names), (probed, iter(names)), (probed, pl.Series(names)), (probed, np.array(names))):
        assert [one["answers"] for one in api.predict(pipeline, images)["answers"]] == expected
    for images in (np.zeros((8, 8, 3), np.uint8), [np.zeros((8, 8, 3), np.uint8)], b"x", 5, {"path": names}, "", ["", names[0]]):
        with pytest.raises(KindError, match="cannot be predicted here"):
            api.predict(probed, images)
    with pytest.raises(tapetum.core.errors.UserError, match="top is 0"):
        api.predict(probed, names, top=0)


def test_a_submission_of_out_of_fold_answers_says_so(probed, tmp_path):
    ids = pl.read_parquet(probed / "oof.parquet")["row_id"].unique(maintain_order=True)
    pl.DataFrame({"id": [*ids, "more"], "label": ""}).write_csv(tmp_path / "t.csv")
    said = small_runs.cli("submit", probed, "--template", tmp_path / "t.csv", "-o", tmp_path / "s.csv", "--fill", "ant", "--json")
    assert said.code == 0, said.err
    assert "has no test rows; what is written are the out-of-fold answers of its own labelled rows" in said.err
    result = json.loads(said.out)
    assert (result["rows"], result["filled"]) == (len(ids) + 1, 1)
