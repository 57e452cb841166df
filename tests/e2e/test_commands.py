"""Every command answers on stdout, with a code that scripts can trust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import small_runs
from images import plant, write_table
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Manifest, Predictions


def process(*words, **more):
    return subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **more
    )


def test_the_module_is_the_command_and_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['tapetum', '--help']\n"
        "from tapetum.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'torchvision', 'timm', 'polars', 'numpy', 'pydantic', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    said = process("-c", code)
    assert said.returncode == 0, said.stderr
    assert "fit" in said.stdout
    as_module = process("-m", "tapetum", "--help")
    assert as_module.returncode == 0
    assert as_module.stdout.split()[0] == "Usage:"


def test_errors_of_a_process_of_its_own_have_their_code(tmp_path):
    said = process("-m", "tapetum", "fit", str(tmp_path / "nowhere.csv"), "-o", str(tmp_path / "run"))
    assert said.returncode == 2
    assert said.stderr.splitlines()[-1].startswith("error: ")
    assert said.stdout == ""


def test_json_output_is_json_and_progress_is_elsewhere(planted, tmp_path):
    said = small_runs.cli(
        "fit",
        planted / "labels.csv",
        "-o",
        tmp_path / "run",
        "--holdout",
        "0.34",
        "--json",
        *small_runs.flags(train__epochs=1, split__folds=None),
    )
    assert said.code == 0, said.err
    result = json.loads(said.out)
    assert {"run", "report", "pipeline", "figures", "choice"} <= set(result)
    assert files.read_json(tmp_path / "run" / "metrics.json")["choice"] == result["choice"]
    assert "epoch 1/1" in said.err

    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    held = manifest.fold >= 0
    assert set(manifest.fold[held]) == {0}
    assert abs(held.mean() - 0.34) < 0.1
    assert not set(manifest.groups[held]) & set(manifest.groups[~held])
    assert sorted(p.name for p in (tmp_path / "run" / "members" / "main").iterdir()) == ["fold-0"]
    table = Predictions.read(tmp_path / "run" / "oof.parquet")
    assert set(table.frame["row_id"]) == set(np.array(manifest.row_ids)[held])


def test_split_prints_rows_and_groups_of_each_fold_and_class(planted, tmp_path):
    said = small_runs.cli(
        "split", planted / "labels.csv", "--target", "label", "--group", "group", "--folds", "4", "-o", tmp_path / "m.parquet"
    )
    assert said.code == 0, said.err
    for word in ("ant", "bee", "cat", "groups"):
        assert word in said.out
    manifest = Manifest.read(tmp_path / "m.parquet")
    assert sorted(set(manifest.fold.tolist())) == [0, 1, 2, 3]
    assert all(len(set(manifest.fold[manifest.groups == g])) == 1 for g in set(manifest.groups))


def test_explain_tells_where_each_value_comes_from(tmp_path, tuned):
    (tmp_path / "over.toml").write_text("[train]\nepochs = 3\n")
    said = small_runs.cli("explain", "-c", tmp_path / "over.toml", "--set", "train.batch=7")
    assert said.code == 0, said.err
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert "3" in lines["train.epochs"].split()[1]
    assert "over.toml" in lines["train.epochs"]
    assert lines["train.batch"].split()[1] == "7"
    assert lines["train.batch"].endswith("--set")
    assert lines["optimizer.rate"].endswith("default")
    of_a_run = small_runs.cli("explain", tuned)
    assert of_a_run.code == 0
    assert "test_efficientnet" in of_a_run.out


def test_recipes_are_listed_by_name(capsys):
    said = small_runs.cli("recipes")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines() if not line.startswith(" ")] == list(api.recipes())


def test_doctor_lists_devices_and_weights():
    said = small_runs.cli("doctor", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert "cpu" in said.out
    assert "tf_efficientnet_lite0" in json.dumps(found)


def test_job_runs_from_its_spec_and_is_idempotent(tuned, tmp_path):
    import shutil

    run = shutil.copytree(tuned, tmp_path / "run")
    folder = run / "members" / "main" / "fold-1"
    spec = folder / "spec.json"
    before = {**small_runs.contents(folder, "epochs.parquet"), **small_runs.contents(folder, "checkpoints/*")}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path != spec:
            path.unlink()
    said = small_runs.cli("job", spec)
    assert said.code == 0, said.err
    assert files.read_json(folder / "state.json")["status"] == "done"
    after = {**small_runs.contents(folder, "epochs.parquet"), **small_runs.contents(folder, "checkpoints/*")}
    assert {name: after[name] for name in before} == before
    again = small_runs.cli("job", spec)
    assert again.code == 0
    assert again.err == ""


def test_a_job_without_its_spec_or_manifest_is_refused(tuned, tmp_path):
    import shutil

    assert small_runs.cli("job", tmp_path / "spec.json").code == 2
    run = shutil.copytree(tuned, tmp_path / "run")
    spec = run / "members" / "main" / "fold-0" / "spec.json"
    (spec.parent / "state.json").unlink()
    manifest = Manifest.read(run / "manifest.parquet")
    manifest.where(np.arange(len(manifest) - 1)).write(run / "manifest.parquet")
    said = small_runs.cli("job", spec)
    assert said.code == 3
    assert "manifest" in said.error


def test_a_report_is_written_again(tuned, tmp_path):
    said = small_runs.cli("report", tuned, "-o", tmp_path / "r.html")
    assert said.code == 0, said.err
    assert "<html" in (tmp_path / "r.html").read_text()


# ---------------------------------------------------------------------------------------------------------------- submit


def test_submission_refuses_or_fills_rows_without_an_answer(tuned, damaged, tmp_path):
    words = ["submit", tuned, "--template", damaged / "template.csv", "-o", tmp_path / "s.csv"]
    said = small_runs.cli(*words)
    assert said.code == 3
    assert "more/images/bee/bee_001.png" in said.error
    assert not (tmp_path / "s.csv").exists()

    filled = small_runs.cli(*words, "--fill", "cat")
    assert filled.code == 0, filled.err
    template, written = pl.read_csv(damaged / "template.csv"), pl.read_csv(tmp_path / "s.csv")
    assert written.columns == template.columns
    assert written["file"].to_list() == template["file"].to_list()
    dense = Predictions.read(tuned / "test.parquet").dense("label")
    for row_id, p, ok in zip(dense.row_ids, dense.p, dense.ok, strict=True):
        label = written.filter(pl.col("file") == row_id)["label"].item()
        assert label == (dense.target.classes[p.argmax()] if ok else "cat")


@pytest.mark.parametrize("fill", ["prior", "nonsense"])
def test_fill_takes_the_prior_and_refuses_unknown_classes(tuned, damaged, tmp_path, fill):
    said = small_runs.cli("submit", tuned, "--template", damaged / "template.csv", "-o", tmp_path / "s.csv", "--fill", fill)
    assert said.code == (0 if fill == "prior" else 2)
    assert (tmp_path / "s.csv").exists() == (fill == "prior")
    if fill == "nonsense":
        assert "nonsense" in said.error


@pytest.mark.parametrize(
    ("change", "named", "fill"), [("lost", "bee_000.png", "ant"), ("new", "other.png", "none"), ("twice", "bee_000.png", "ant")]
)
def test_template_with_other_ids_is_refused_by_the_first(tuned, damaged, tmp_path, change, named, fill):
    ids = pl.read_csv(damaged / "template.csv")["file"].to_list()
    ids = {"lost": [i for i in ids if "bee_000" not in i], "new": [*ids, "other.png"], "twice": [*ids, "more/images/bee/bee_000.png"]}[
        change
    ]
    write_table(tmp_path / "t.csv", ["file", "label"], [[i, "ant"] for i in ids])
    said = small_runs.cli("submit", tuned, "--template", tmp_path / "t.csv", "-o", tmp_path / "s.csv", "--fill", fill)
    assert said.code == 3
    assert named in said.error
    assert not (tmp_path / "s.csv").exists()


def test_submission_of_predicted_images_enters_the_ledger_with_its_score(probed, other_images, tmp_path):
    shutil.copytree(probed, tmp_path / "run", ignore=shutil.ignore_patterns("ledger.jsonl"))  # other tests may have submitted
    predictions, template, submission = (tmp_path / name for name in ("p.csv", "template.csv", "submission.csv"))
    assert small_runs.cli("predict", probed, other_images, "-o", predictions).code == 0
    ids = pl.read_csv(predictions)["id"].to_list()
    template.write_text("id,label\n" + "".join(f"{row_id},ant\n" for row_id in reversed(ids)), encoding="utf-8")
    assert small_runs.cli("submit", predictions, "--template", template, "-o", submission).code == 0
    assert "--score FILE VALUE" in small_runs.cli("ledger", tmp_path / "run").out
    for score in ("0.5", "0.75"):
        said = small_runs.cli("ledger", tmp_path / "run", "--score", submission, score, "--json")
        assert said.code == 0, said.err
    entries = json.loads(said.out)["submissions"]
    assert [(one["file"], one["outside outside"], one["how"]) for one in entries] == [("submission.csv", 0.75, "cross-validated")]
    assert "there is no submission 'gone.csv'" in small_runs.cli("ledger", tmp_path / "run", "--score", "gone.csv", "0.5").error


def test_submitting_from_what_is_no_run(tmp_path, damaged):
    (tmp_path / "empty").mkdir()
    assert small_runs.cli("submit", tmp_path / "empty", "--template", damaged / "template.csv", "-o", tmp_path / "s.csv").code == 2
    assert small_runs.cli("submit", tmp_path / "gone.parquet", "--template", damaged / "template.csv", "-o", tmp_path / "s.csv").code == 2


# --------------------------------------------------------------------------------------------------------------- signal


def test_probe_finds_a_signal_and_shuffled_labels_give_chance(tmp_path):
    planted = plant(tmp_path, classes=3, each=14, size=32)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(planted.labels)
    write_table(tmp_path / "shuffled.csv", ["file", "label"], zip(planted.files, shuffled, strict=True))
    accuracy = {}
    for name in ("labels", "shuffled"):
        result = small_runs.fit(tmp_path / f"{name}.csv", tmp_path / name, train__epochs=0, data__group=None)
        figures = [f for f in result["figures"] if f["name"] == "final" and f["how"] == "cross-validated"]
        accuracy[name] = {f["metric"]: f for f in figures}["accuracy"]["value"]
    assert accuracy["labels"] > 0.8
    assert accuracy["shuffled"] < 0.55  # chance is 1/3; 42 rows


def test_an_interrupted_run_says_so_and_goes_on(planted, tmp_path, monkeypatch):
    from tapetum.learn.training.fold import Training

    words = ["fit", planted / "labels.csv", "-o", tmp_path / "run", *small_runs.flags(split__folds=2)]
    watch = Training._watch

    def interrupted(self, row, may_go_on):
        if self.progress.epoch == 2:
            raise KeyboardInterrupt
        watch(self, row, may_go_on)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_watch", interrupted)
        said = small_runs.cli(*words)
    assert said.code == 130
    assert "the same command goes on" in said.err.splitlines()[-1]
    assert not (tmp_path / "run" / "oof.parquet").exists()
    again = small_runs.cli(*words)
    assert again.code == 0, again.err
    assert "fold 0: epoch 1/2" not in again.err
    assert "fold 0: epoch 2/2" in again.err


def test_more_devices_than_images_of_a_batch_start_none(planted, tmp_path):
    done = small_runs.cli("fit", planted / "labels.csv", "-o", tmp_path / "run", "--devices", 9, *small_runs.flags(probe__enabled=False))
    assert (done.code, "--devices is 9, and a batch has 8 images; needed: an image for each" in done.err) == (2, True)
    assert not list(tmp_path.glob("run/members/main/*/.holder.json"))
