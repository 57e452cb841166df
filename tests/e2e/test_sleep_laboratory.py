"""A sleep laboratory at the command line: broken files among sound ones, statistics, other formats, nothing of the patient."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import small_runs
from edf_bytes import NAME, plain, plus, tal


def stages(many: int, label: str = "Sleep stage 2") -> list[list[bytes]]:
    return [[tal(0, (0.0, float(many), label))] + [tal(i) for i in range(1, many)]]


def test_one_refused_file_does_not_stop_the_rest(tmp_path):
    nights = tmp_path / "nights"
    nights.mkdir()
    (nights / "a.edf").write_bytes(plain(records="-1").bytes())
    (nights / "b.edf").write_bytes(plain(duration="?").bytes())
    (nights / "c.EDF").write_bytes(plus().bytes())
    (nights / "._d.edf").write_bytes(b"\0\5\x16\7")
    said = small_runs.cli("sleep", "check", nights, "-o", tmp_path / "issues.csv")
    assert said.code == 4
    rows = (tmp_path / "issues.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "file,kind,signal,what,assumed,epochs"
    assert any(row.startswith("a.edf,repair,,the number of records is -1") for row in rows)
    assert any(row.startswith("b.edf,refused,") for row in rows)
    assert not any(row.startswith(("c.EDF,refused", "._d")) for row in rows)
    lines = [line for line in (said.out + said.err).splitlines() if "refused: b.edf" in line]
    assert len(lines) == 2, "as it goes, and among the issues"
    assert [line.count("b.edf") for line in lines] == [1, 1]


def test_the_only_file_that_is_refused_ends_with_code_3(tmp_path):
    (tmp_path / "b.edf").write_bytes(plain(duration="?").bytes())
    said = small_runs.cli("sleep", "check", tmp_path / "b.edf")
    assert said.code == 3
    assert "b.edf" in said.err
    assert "Traceback" not in said.err


def test_no_output_holds_the_name_of_the_patient(tmp_path):
    pytest.importorskip("edfio")
    night = tmp_path / "night.edf"
    night.write_bytes(plus(120, tals=stages(120), time="22:30:15", patient=f"{NAME} Müller".encode("latin-1")).bytes())
    out = tmp_path / "out"
    said = [
        small_runs.cli("sleep", "check", night, "-o", out / "issues.csv", "--json"),
        small_runs.cli("sleep", "stats", night, "-o", out / "statistics.csv", "--json"),
        *(small_runs.cli("sleep", "export", night, "-o", out / f"night.{kind}") for kind in ("csv", "tsv", "json", "edf")),
    ]
    assert [one.code for one in said] == [0] * len(said), [one.err for one in said]
    for one in said:
        assert NAME not in one.out + one.err
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        assert NAME.encode() not in path.read_bytes(), path


def test_statistics_of_several_nights(tmp_path):
    (tmp_path / "a.csv").write_text("stage\n" + "W\n" * 10 + "N2\n" * 30, encoding="utf-8")
    (tmp_path / "b.txt").write_text("0\n1\n2\n5\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text("stage\nnothing\n", encoding="utf-8")
    said = small_runs.cli("sleep", "stats", tmp_path, "--json")
    assert said.code == 4
    found = json.loads(said.out)
    assert [(night["file"], night["TST"], night["SOL"]) for night in found["nights"]] == [("a.csv", 15.0, 5.0), ("b.txt", 1.5, 0.5)]
    assert any(row["kind"] == "refused" and row["file"] == "c.csv" for row in found["issues"])


def another_program(folder, name: str, epochs: int) -> None:
    """Write stages with probabilities as another program would."""
    rows = [f"{i + 1},{'N2' if i % 3 else 'W'},{0.1 if i % 3 else 0.5},0.2,{0.6 if i % 3 else 0.2},0.05,0.05" for i in range(epochs)]
    (folder / f"{name}.csv").write_text("epoch,stage,p_W,p_N1,p_N2,p_N3,p_R\n" + "\n".join(rows) + "\n", encoding="utf-8")


def test_nights_are_staged_by_another_program_and_written_out(tmp_path):
    pytest.importorskip("edfio")
    nights, given = tmp_path / "nights", tmp_path / "given"
    nights.mkdir()
    given.mkdir()
    for name in ("a", "b"):
        (nights / f"{name}.edf").write_bytes(plus(300, patient=f"{NAME} {NAME}").bytes())
    another_program(given, "a", 10)
    (given / "b.csv").write_text("stage\nW\n", encoding="utf-8")  # of another night
    said = small_runs.cli("sleep", "stage", nights, "-o", tmp_path / "out", "--engine", given)
    assert said.code == 4, said.err
    assert "b.csv has 1 epoch" in said.err
    made = {path.name for path in (tmp_path / "out" / "a").iterdir()}
    assert made == {
        "hypnogram.csv", "events.tsv", "hypnogram.json", "hypnogram.edf", "statistics.json", "review.csv", "issues.csv", "night.png",
    }  # fmt: skip
    review = (tmp_path / "out" / "a" / "review.csv").read_text(encoding="utf-8").splitlines()
    assert review[0] == "epoch,onset,stage,p,second,p_second,reason"
    assert review[1].startswith("1,0.0,Wake,0.5,N1,0.2,uncertain")
    figures = json.loads((tmp_path / "out" / "a" / "statistics.json").read_text(encoding="utf-8"))["statistics"]
    assert (figures["TST"], figures["SOL"]) == (3.0, 0.5)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or NAME.encode() not in path.read_bytes(), path
    assert NAME not in said.out + said.err


def test_second_call_does_not_stage_what_the_first_wrote(tmp_path):
    pytest.importorskip("edfio")
    (tmp_path / "a.edf").write_bytes(plus(60).bytes())
    (tmp_path / "a-Hypnogram.edf").write_bytes(plus(60, tals=stages(60)).bytes())
    given = tmp_path / "given"
    given.mkdir()
    another_program(given, "a", 2)
    for _ in range(2):
        said = small_runs.cli("sleep", "stage", tmp_path, "-o", tmp_path / "out", "--engine", given, "--json")
        assert said.code == 0, said.err
        assert [night["file"] for night in json.loads(said.out)["nights"]] == ["a.edf"]


def test_staged_nights_are_read_once_each(tmp_path):
    nights, given, staged = tmp_path / "nights", tmp_path / "given", tmp_path / "staged"
    nights.mkdir()
    given.mkdir()
    for name in ("a.1", "b"):
        (nights / f"{name}.edf").write_bytes(plus(300).bytes())
        another_program(given, name, 10)
    assert small_runs.cli("sleep", "stage", nights, "-o", staged, "--engine", given).code == 0
    (given / "b-changes.csv").write_text("epoch,onset,from,to,at,reviewer\n", encoding="utf-8")  # as a review leaves it
    for place, called in ((staged, ["a.1", "b"]), (staged / "b", ["b"]), (given, ["a.1.csv", "b.csv"])):
        said = small_runs.cli("sleep", "stats", place, "--json")
        assert said.code == 0, said.err
        found = json.loads(said.out)["nights"]
        assert [(night["file"], night["TST"]) for night in found] == [(name, 3.0) for name in called]
    said = small_runs.cli("sleep", "plot", given, staged, "-o", tmp_path / "agreement.png")
    assert said.code == 0, said.err
    said = small_runs.cli("sleep", "compare", given / "b.csv", staged / "b")
    assert said.code == 0, said.err
    assert "accuracy 1.000" in said.out


def test_folder_of_recordings_with_their_scoring_is_read(tmp_path):
    (scored := tmp_path / "scored").mkdir()
    (other := tmp_path / "other").mkdir()
    for name, scoring in (("a", "a.csv"), ("b", "b-hypnogram.txt")):
        (scored / f"{name}.edf").write_bytes(plus(300).bytes())
        (scored / scoring).write_text("W\nN2\nN2\nN2\nR\n", encoding="utf-8")
        (other / f"{name}.txt").write_text("W\nN2\nN2\nN2\nW\n", encoding="utf-8")
    said = small_runs.cli("sleep", "stats", scored, "--json")
    assert said.code == 0, said.err
    assert [night["file"] for night in json.loads(said.out)["nights"]] == ["a.csv", "b-hypnogram.txt"]
    said = small_runs.cli("sleep", "plot", scored, other, "-o", tmp_path / "agreement.png")
    assert said.code == 0, said.err


def test_engine_that_is_not_there_is_named(tmp_path):
    (tmp_path / "a.edf").write_bytes(plus(60).bytes())
    said = small_runs.cli("sleep", "stage", tmp_path / "a.edf", "-o", tmp_path / "out", "--engine", "yassa")
    assert said.code == 2
    assert "Did you mean 'yasa'?" in said.err
    said = small_runs.cli("sleep", "stage", tmp_path / "a.edf", "-o", tmp_path / "out", "--engine", tmp_path, "--eeg", "EEG C3-A2")
    assert said.code == 2
    assert "name channels for YASA" in said.err


def test_scorer_is_adapted_on_scored_nights(tmp_path):
    nights, given = tmp_path / "nights", tmp_path / "given"
    nights.mkdir()
    given.mkdir()
    for name in ("a", "b", "c"):
        (nights / f"{name}.edf").write_bytes(plus(600, tals=stages(600)).bytes())
        another_program(given, name, 20)
    said = small_runs.cli("sleep", "adapt", nights, "-o", tmp_path / "own.json", "--engine", given)
    assert said.code == 0, said.err
    assert "log_loss" in said.out
    said = small_runs.cli("sleep", "adapt", nights, "-o", tmp_path / "own.json", "--engine", given, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["nights"], found["subjects"], found["epochs"]) == (3, 3, 60)
    assert found["figures"]["scorer"]["accuracy"]["value"] == pytest.approx(39 / 60)
    said = small_runs.cli("sleep", "stage", nights / "a.edf", "-o", tmp_path / "out", "--engine", given, "--adapted", tmp_path / "own.json")
    assert said.code == 0, said.err


def test_two_scorers_are_compared_and_drawn(tmp_path):
    for name, texts in {"one": "W\nN1\nN2\nN2\nR\n", "two": "W\nN2\nN2\nN2\nR\n"}.items():
        (tmp_path / f"{name}.txt").write_text(texts, encoding="utf-8")
    said = small_runs.cli("sleep", "compare", tmp_path / "one.txt", tmp_path / "two.txt")
    assert said.code == 0
    assert "accuracy 0.800, kappa 0.706" in said.out
    for given in ([tmp_path / "one.txt"], [tmp_path / "one.txt", tmp_path / "two.txt"]):
        said = small_runs.cli("sleep", "plot", *given, "-o", tmp_path / f"{len(given)}.png")
        assert said.code == 0, said.err
        assert (tmp_path / f"{len(given)}.png").stat().st_size > 5_000


@pytest.mark.slow
def test_default_engine_stages_a_simulated_night(tmp_path):
    pytest.importorskip("yasa")
    from tapetum.sleep.edf import read_edf
    from tapetum.systems.sleep_images.cues import draw_cues
    from tapetum.systems.sleep_images.recordings import write_recording
    from tapetum.systems.sleep_images.signals import Recording, draw_sleeper

    rng = np.random.default_rng(3)
    truth = np.repeat([0, 2, 3, 2, 4, 0], 8)
    recording = Recording(draw_cues(truth, rng), draw_sleeper(rng, 3))
    write_recording(tmp_path / "night.edf", recording, truth)
    assert [one.text for one in read_edf(tmp_path / "night.edf").annotations][::8] == [
        f"Sleep stage {name}" for name in ("W", "N2", "N3", "N2", "R", "W")
    ]
    said = small_runs.cli("sleep", "stage", tmp_path / "night.edf", "-o", tmp_path / "out", "--json")
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "out" / "night" / "hypnogram.json").read_text(encoding="utf-8"))
    assert len(found["stages"]) == 48
    assert "N3" in found["stages"]


@pytest.mark.slow
def test_pipeline_of_ours_stages_a_night(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["file,stage"]
    for number, stage in enumerate(("Wake", "N1", "N2", "N3", "REM")):
        for i in range(6):
            image = rng.integers(0, 30, (27, 48)).astype(np.uint8)
            image[5 * number : 5 * number + 5] += 150
            Image.fromarray(image).save(tmp_path / f"{stage}-{i}.png")
            rows.append(f"{stage}-{i}.png,{stage}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    small_runs.fit(tmp_path / "labels.csv", tmp_path / "run", train__epochs=0, data__targets=["stage"], data__group=None)
    (tmp_path / "night.edf").write_bytes(plus(150).bytes())
    said = small_runs.cli("sleep", "stage", tmp_path / "night.edf", "-o", tmp_path / "out", "--engine", tmp_path / "run")
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "out" / "night" / "hypnogram.json").read_text(encoding="utf-8"))
    assert (len(found["stages"]), found["scorer"]) == (5, "pipeline")
    assert all(abs(sum(p) - 1) < 1e-4 for p in found["p"])


def test_recordings_of_one_name_are_told_apart(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    another_program(given, "night", 2)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "night.edf").write_bytes(plus(60, records="-1").bytes())
    said = small_runs.cli("sleep", "check", tmp_path / "a", tmp_path / "b", "--json")
    issues = json.loads(said.out)["issues"]
    assert {row["file"] for row in issues} == {"a/night.edf", "b/night.edf"}
    said = small_runs.cli("sleep", "stage", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--engine", given)
    assert said.code == 3
    assert "several recordings are called night" in said.err
    one = given / "night.csv"
    said = small_runs.cli("sleep", "stage", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--engine", one)
    assert said.code == 2
    assert "is one hypnogram, and there are 2 recordings" in said.err


def test_folder_that_holds_other_files_is_not_replaced(tmp_path):
    pytest.importorskip("edfio")
    (tmp_path / "night.edf").write_bytes(plus(60).bytes())
    given = tmp_path / "given"
    given.mkdir()
    another_program(given, "night", 2)
    stage = ("sleep", "stage", tmp_path / "night.edf", "--engine", given, "-o")
    for _ in range(2):  # what an earlier call wrote is replaced
        said = small_runs.cli(*stage, tmp_path / "out")
        assert said.code == 0, said.err
    own = tmp_path / "out" / "night" / "reviewed.csv"
    own.write_text("stage\nW\n", encoding="utf-8")
    for args in (stage, ("sleep", "render", tmp_path / "night.edf", "-o")):
        said = small_runs.cli(*args, tmp_path / "out")
        assert said.code == 2
        assert "reviewed.csv" in said.err
        assert own.exists()
        said = small_runs.cli(*args, given / "night.csv")
        assert said.code == 2
        assert "night.csv is a file; needed: the name of a folder" in said.err
