"""Predicting in parts: the table is that of one go, a killed command goes on, and what changed is predicted again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile

import numpy as np
import polars as pl
import pytest

import images
import kinds
import small_runs
from tapetum import api
from tapetum.core.errors import DATA, ENVIRONMENT, PARTLY, USAGE
from tapetum.core.tables import Predictions
from tapetum.data.images import archives
from tapetum.workflow.commands import predict


@pytest.fixture
def parts(monkeypatch):
    """Let parts have 4 rows."""
    monkeypatch.setattr(predict, "PART", 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, probed, planted):
    """What the run predicts of the planted images in one go."""
    place = tmp_path_factory.mktemp("whole")
    for name in ("p.parquet", "p.csv"):
        api.predict(probed, planted / "images", place / name)
    return place


class Counted:
    """Counts the files that are read, and stops as a kill would."""

    def __init__(self, monkeypatch, stop=None):
        self.read, self.stop, self.plain = [], stop, archives.read_bytes
        monkeypatch.setattr("tapetum.data.images.decode.read_bytes", self)

    def __call__(self, path):
        self.read.append(path)
        if self.stop is not None and len(self.read) > self.stop:
            raise small_runs.Killed
        return self.plain(path)


def same(one, other):
    assert Predictions.read(one).frame.equals(Predictions.read(other).frame, null_equal=True) or near(one, other)


def near(one, other):
    """Compare two tables whose batches had other sizes: all but the last bits of p."""
    mine, theirs = (Predictions.read(place).frame for place in (one, other))
    assert mine.drop("p").equals(theirs.drop("p"))
    np.testing.assert_allclose(np.array(mine["p"].to_list()), np.array(theirs["p"].to_list()), atol=1e-6)
    return True


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_parts_give_the_table_of_one_go(name, probed, planted, whole, tmp_path, parts):
    result = api.predict(probed, planted / "images", tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == [name]
    assert (result["rows"], result["missing"]) == (24, 0)
    flat = result.to_polars()
    if name == "p.parquet":
        same(tmp_path / name, whole / name)
        assert pl.read_parquet_metadata(tmp_path / name)["tapetum"] == pl.read_parquet_metadata(whole / name)["tapetum"]
    mine, theirs = (pl.read_csv(place) for place in (tmp_path / name, whole / name)) if name == "p.csv" else (flat, flat)
    assert mine.columns == theirs.columns == flat.columns
    assert mine["label"].to_list() == theirs["label"].to_list() == flat["label"].to_list()
    np.testing.assert_allclose(mine["p_ant"], theirs["p_ant"], atol=1e-6)
    assert flat.schema["p_ant"] == pl.Float32


@pytest.mark.parametrize("stop", [3, 9, 23])
def test_a_killed_prediction_goes_on(stop, probed, planted, tmp_path, parts, monkeypatch):
    with monkeypatch.context() as patch:
        api.predict(probed, planted / "images", tmp_path / "one.parquet")
        counted = Counted(patch, stop)
        with pytest.raises(small_runs.Killed):
            api.predict(probed, planted / "images", tmp_path / "p.parquet")
    done = 4 * (stop // 4)
    counted, said = Counted(monkeypatch), []
    api.predict(probed, planted / "images", tmp_path / "p.parquet", log=said.append)
    assert len(counted.read) == 24 - done
    assert any(f"{done} of 24 rows are predicted already" in message for message in said) == bool(done)
    assert small_runs.sha256(tmp_path / "p.parquet") == small_runs.sha256(tmp_path / "one.parquet")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["one.parquet", "p.parquet"]


def test_a_process_that_is_killed_leaves_whole_parts(probed, planted, tmp_path):
    code = (
        "import os, signal\nfrom tapetum.workflow.commands import predict\npredict.PART = 4\nfrom tapetum.core.parts import Parts\n"
        "plain = Parts.write\n"
        "def write(self, number, *given):\n    plain(self, number, *given)\n    number == 2 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "Parts.write = write\nfrom tapetum import api\nimport sys\napi.predict(*sys.argv[1:])\n"
    )
    words = [sys.executable, "-c", code, str(probed), str(planted / "images"), str(tmp_path / "p.csv")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    kept = sorted(one.name for one in (tmp_path / "p.csv.parts").glob("part-*"))
    assert kept == [f"part-00000{number}.parquet" for number in range(3)]
    assert not (tmp_path / "p.csv").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "PART", 4)
        api.predict(probed, planted / "images", tmp_path / "one.csv")
        counted = Counted(patch)
        api.predict(probed, planted / "images", tmp_path / "p.csv")
    assert len(counted.read) == 12
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_parts_of_changed_files_and_pipelines_are_made_again(probed, planted, tmp_path, parts, monkeypatch):
    folder = shutil.copytree(planted / "images", tmp_path / "images")
    pipeline = shutil.copytree(probed / "pipeline", tmp_path / "pipeline")
    files = sorted(folder.rglob("*.png"))
    monkeypatch.setattr(predict.Parts, "join", lambda *_: (_ for _ in ()).throw(small_runs.Killed))

    def left():
        counted = Counted(monkeypatch)
        monkeypatch.setattr("tapetum.data.images.decode.read_bytes", counted)
        with pytest.raises(small_runs.Killed):
            api.predict(pipeline, folder, tmp_path / "p.parquet")
        monkeypatch.setattr("tapetum.data.images.decode.read_bytes", archives.read_bytes)
        return len(counted.read)

    assert [left(), left()] == [24, 0]
    files[5].write_bytes(files[6].read_bytes() + b"\0")
    assert [left(), left()] == [4, 0]
    next((tmp_path / "p.parquet.parts").glob("part-000003*")).write_bytes(b"cut")
    assert left() == 4
    spec = (pipeline / "pipeline.json").read_text()
    (pipeline / "pipeline.json").write_text(spec.replace('"recipe_hash": "', '"recipe_hash": "0'))
    assert left() == 24


def test_missing_rows_are_counted_over_all_parts(probed, planted, tmp_path, parts):
    folder = shutil.copytree(planted / "images", tmp_path / "images")
    files = sorted(folder.rglob("*.png"))
    for number in (1, 7, 20):
        files[number].write_bytes(files[number].read_bytes()[:100])
    said = small_runs.cli("predict", probed, folder, "-o", tmp_path / "q.csv", "--on-bad", "refuse")
    assert (said.code, "3 of 24 images cannot be read" in said.error, (tmp_path / "q.csv").exists()) == (DATA, True, False)
    said = small_runs.cli("predict", probed, folder, "-o", tmp_path / "q.csv")
    assert (said.code, "24 images predicted, 3 of them missing" in said.out) == (PARTLY, True)
    assert sum("warning: missing: " in line for line in said.err.splitlines()) == 3  # also of parts that are not made again
    table = pl.read_csv(tmp_path / "q.csv")
    assert np.flatnonzero((table["status"] == "missing").to_numpy()).tolist() == [1, 7, 20]


def test_the_parts_of_another_process_are_left_alone(probed, planted, tmp_path, parts):
    from tapetum.core import locks

    with locks.lock(tmp_path / "p.parquet.parts"):
        said = small_runs.cli("predict", probed, planted / "images", "-o", tmp_path / "p.parquet")
    assert (said.code, "is in use by process" in said.error) == (ENVIRONMENT, True)
    (tmp_path / "q.parquet.parts").mkdir()
    (tmp_path / "q.parquet.parts" / "mine.txt").write_text("mine")
    said = small_runs.cli("predict", probed, planted / "images", "-o", tmp_path / "q.parquet")
    assert (said.code, "mine.txt" in said.error) == (DATA, True)


def test_decisions_on_a_set_are_made_on_all_parts(tmp_path, parts):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        kinds.save_colour(tmp_path / f"{number}.png", rng.random((32, 32, 3)))
        rows.append([f"{number}.png", ("a", "b")[number % 2], f"night{number % 3}", number // 3])
    table = images.write_table(tmp_path / "labels.csv", ["file", "label", "night", "epoch"], rows)
    how = {"data__sequence": "night", "data__position": "epoch", "decide__steps": [{"name": "smooth", "width": 3}], "train__epochs": 0}
    kinds.fit(table, tmp_path / "run", data__targets=["label"], **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "PART", 1000)
        api.predict(tmp_path / "run", table, tmp_path / "one.parquet")
    api.predict(tmp_path / "run", table, tmp_path / "p.parquet")
    same(tmp_path / "p.parquet", tmp_path / "one.parquet")


def test_paths_on_standard_input_are_rows(probed, planted, whole, tmp_path):
    files = [one.relative_to(planted).as_posix() for one in sorted((planted / "images").rglob("*.png"))]
    ends = {"p.csv": "\n", "q.csv": "\0"}
    for name, end in ends.items():
        done = run_predict(probed, planted, tmp_path / name, end.join([*files[:3], "images/none.png", ""]).encode())
        assert done.returncode == PARTLY, done.stderr
        table = pl.read_csv(tmp_path / name)
        assert table["id"].to_list() == [*files[:3], "images/none.png"]
        assert table["status"].to_list() == ["ok", "ok", "ok", "missing"]
        assert table["label"][0] == pl.read_csv(whole / "p.csv")["label"][0]
    text = "\r\n".join([files[0], "images", "notes", ""])
    for name, given in {"bom.csv": b"\xef\xbb\xbf" + text.encode(), "utf16.csv": text.encode("utf-16")}.items():
        done = run_predict(probed, planted, tmp_path / name, given)
        assert pl.read_csv(tmp_path / name)["id"].to_list() == [files[0], "images", "notes"], done.stderr
        assert pl.read_csv(tmp_path / name)["status"].to_list() == ["ok", "missing", "missing"]
    for content, words in ((b"", "names no images"), ((planted / files[0]).read_bytes(), "holds an image")):
        done = run_predict(probed, planted, tmp_path / "r.csv", content)
        assert (done.returncode, words in done.stderr.decode()) == (USAGE, True), done.stderr


def run_predict(run, folder, out, given):
    from io import BytesIO, TextIOWrapper

    before, place = sys.stdin, os.getcwd()
    sys.stdin = TextIOWrapper(BytesIO(given), encoding="utf-8")
    os.chdir(folder)
    try:
        said = small_runs.cli("predict", run, "-", "-o", out)
    finally:
        sys.stdin = before
        os.chdir(place)
    return subprocess.CompletedProcess([], said.code, said.out.encode(), said.err.encode())


def test_tar_shards_are_predicted_in_parts(probed, planted, tmp_path, parts):
    files = sorted((planted / "images").rglob("*.png"))
    for number in range(3):
        with tarfile.open(tmp_path / f"shard-{number}.tar", "w") as tar:
            for place in files[8 * number : 8 * number + 8]:
                tar.add(place, f"{place.stem}.png")
    shutil.rmtree(tmp_path / "tars", ignore_errors=True)
    (tmp_path / "tars").mkdir()
    for place in tmp_path.glob("*.tar"):
        place.rename(tmp_path / "tars" / place.name)
    api.predict(probed, tmp_path / "tars", tmp_path / "p.csv")
    table = pl.read_csv(tmp_path / "p.csv")
    assert sorted(table["id"].to_list()) == sorted(place.stem for place in files)
    expected = {place.stem: one for place, one in zip(files, api.predict(probed, files)["answers"], strict=True)}
    assert table["label"].to_list() == [expected[name]["answers"]["label"]["answer"] for name in table["id"]]


@pytest.mark.parametrize("name", ["p.parquet", "p.csv"])
def test_parts_of_a_longer_prediction_do_not_stay(name, probed, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "PART", 4)
    with monkeypatch.context() as killed:
        Counted(killed, stop=9)
        with pytest.raises(small_runs.Killed):
            api.predict(probed, planted / "images", tmp_path / name)
    assert (tmp_path / f"{name}.parts").is_dir()
    said = []
    few = sorted((planted / "images").rglob("*.png"))[:2]
    api.predict(probed, few, tmp_path / name, log=said.append)
    assert sorted(one.name for one in tmp_path.iterdir()) == [name]
    assert any("parts of another prediction" in line for line in said)


def test_folder_that_only_looks_like_parts_stays(probed, planted, tmp_path):
    kept = tmp_path / "p.csv.parts" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    api.predict(probed, sorted((planted / "images").rglob("*.png"))[:2], tmp_path / "p.csv")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_one_image_of_an_archive_is_answered_as_its_file(kind, probed, planted, tmp_path):
    file = sorted((planted / "images").rglob("*.png"))[0]
    archive = shutil.make_archive(str(tmp_path / "a"), kind, planted, "images")
    member = f"{archive}!/{file.relative_to(planted).as_posix()}"
    mine, theirs = api.predict(probed, member), api.predict(probed, file)
    assert mine["answers"][0]["answers"] == theirs["answers"][0]["answers"]
    said = small_runs.cli("predict", probed, f"{archive}!/images/none.png")
    assert said.code == PARTLY
    assert "none.png" in said.out + said.err
    assert "in an archive" in small_runs.cli("audit", member).error
