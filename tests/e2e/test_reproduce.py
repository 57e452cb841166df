"""Reference systems from their layout to a submission that fits the sample, tiny; what a run leaves holds what was said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tapetum import api
from tapetum.core import files, ledger, metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Predictions, decided

VOTES = ("multi-task", "years", "age-1", "mask-1", "gender-1", "gender-2")  # of the 24 networks of `mask` those that run here
SMALL = {"model.backbone": "test_resnet", "model.weights": "none", "input.size": 32, "train.threads": 1, "train.precision": "32"}
TINY = {
    "dogs": SMALL
    | {
        "train.epochs": 2,
        "schedule.options.phases": [[1, 0.1, 0.01], [1, 0.01, 0.001]],
        "schedule.options.cycle": 1,
        "average.epochs": 2,
        "predict.views": {"name": "random", "n": 2, "scale": [0.8, 1.2]},
        "predict.arrays": True,
    },
    "hpa": SMALL
    | {
        "stages": [{"epochs": 1, "size": 24, "predict": True}, {"epochs": 2, "size": 32, "predict": True}],
        "schedule.options.cycle": 1,
        "predict.views": "plain",
        "split.folds": 2,
    },
    "mask": SMALL
    | {
        "train.epochs": 1,
        "member": [
            {
                **one,
                "enabled": one["name"] in VOTES,
                "input": {"size": 32},
                "model": {**one["model"], "backbone": "test_resnet"},
                **({"stages": [{"epochs": 1, "trains": "top-4"}, {"epochs": 1}]} if "stages" in one else {}),
            }
            for one in api.load_recipe("mask", profile="cpu").recipe.member
        ],
    },
}
SIZES = {"dogs": (200, 32), "hpa": (110, 32), "mask": (210, 384)}
TEMPLATES = {"dogs": "sample_submission.csv", "hpa": "sample_submission.csv", "mask": "eval/info.csv"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("reproduce"), {}

    def run(name):
        if name not in done:
            size, px = SIZES[name]
            made = api.simulate(name, folder / f"{name}-data", size=size, px=px)
            done[name] = api.reproduce(name, folder / name, simulated=made, profile="cpu", sets=TINY[name]), made
        return done[name]

    return run


def history(run, member="main"):
    return list(csv.DictReader((Path(run) / "members" / member / "fold-0" / "history.csv").open()))


@pytest.mark.parametrize("name", TINY)
def test_submission_has_the_sample_ids_and_columns(ran, name):
    result, made = ran(name)
    sample = pl.read_csv(Path(made["paths"]["source"]) / TEMPLATES[name], infer_schema=False)
    handed = pl.read_csv(result["submission"], infer_schema=False)
    assert handed.columns == sample.columns
    assert handed[handed.columns[0]].to_list() == sample[sample.columns[0]].to_list()
    assert handed[handed.columns[1]].null_count() == 0


def test_G15_the_log_has_epoch_losses_accuracy_and_time(ran):
    rows = history(ran("dogs")[0]["run"])
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]  # two of the phases, two full-batch steps
    for key in ("train_loss", "valid_loss", "breed/accuracy", "seconds"):
        assert all(np.isfinite(float(row[key])) for row in rows), key


def test_G10_the_validation_loss_is_plain_cross_entropy(ran):
    run = Path(ran("dogs")[0]["run"])
    held = Predictions.read(run / "members" / "main" / "fold-0" / "epochs.parquet")
    for row in history(run)[:2]:
        dense = held.dense("breed", "main", checkpoint=f"epoch-{int(row['epoch']):03d}")
        right = dense.p[dense.scorable][dense.y[dense.scorable] > 0.5].astype(np.float64)
        assert float(row["valid_loss"]) == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_G16_mean_of_single_evaluations_stands_beside_the_blend(ran):
    result, _ = ran("dogs")
    figures = files.read_json(Path(result["run"]) / "metrics.json")["figures"]
    single = next(f for f in figures if f["name"] == "test rows, single views")
    whole = next(f for f in figures if f["name"] == "test rows" and f["metric"] == "accuracy")
    assert single["n"] == whole["n"]
    assert single["value"] * single["n"] * 2 == pytest.approx(round(single["value"] * single["n"] * 2))  # of two views, whole images


def test_G17_class_accuracies_and_counts_add_up(ran):
    table = pl.read_csv(ran("dogs")[0]["classes"])
    for part in ("oof", "test"):
        own = table.filter(pl.col("part") == part)
        whole, each = own.filter(pl.col("class") == "all"), own.filter(pl.col("class") != "all")
        assert len(each) == 25
        assert each["n"].sum() == whole["n"][0]
        right = float((each["n"] * each["recall"].fill_null(0)).sum()) / each["n"].sum()
        assert right == pytest.approx(whole["accuracy"][0])


def test_G18_saliency_is_the_gradient_of_the_loss(ran):
    folder = Path(ran("dogs")[0]["run"]) / "saliency"
    entries = json.loads((folder / "saliency.json").read_text())
    assert entries
    assert {entry["method"] for entry in entries} == {"loss"}
    for entry in entries:
        assert (folder / entry["file"]).read_bytes().startswith(b"\x89PNG")
        assert f"/{entry['class']}/" in entry["row_id"]  # the loss of the true class


def test_M08_networks_of_a_task_have_one_vote_each(ran):
    run = Path(ran("mask")[0]["run"])
    blend = files.read_json(run / "decisions.json")["blend"]
    assert {name: fitted["members"] for name, fitted in blend.items() if name != "years"} == {
        "mask": ["multi-task", "mask-1"],
        "gender": ["multi-task", "gender-1", "gender-2"],
        "age": ["multi-task", "age-1"],
    }
    assert {fitted["blend"]["name"] for name, fitted in blend.items() if name != "years"} == {"vote"}


def test_M11_the_composed_answer_is_handed_in(ran):
    result, _ = ran("mask")
    dense = Predictions.read(Path(result["run"]) / "test.parquet").dense("ans")
    assert dense.target.expression == "mask*6 + gender*3 + age"
    handed = pl.read_csv(result["submission"], infer_schema=False)
    composed = dict(zip(dense.row_ids, decided(dense).argmax(axis=1).tolist(), strict=True))
    assert composed == {row_id: int(answer) for row_id, answer in handed.iter_rows()}


def test_M07_figures_of_rows_that_trained_are_in_sample(ran):
    figures = files.read_json(Path(ran("mask")[0]["run"]) / "metrics.json")["figures"]
    assert {figure["how"] for figure in figures if figure["name"] == "final"} == {"in-sample"}


def test_P03_class_counts_are_those_of_the_table(ran):
    result, made = ran("hpa")
    look = files.read_json(Path(result["run"]) / "first-look.json")["Target"]
    cells = pl.read_csv(Path(made["paths"]["source"]) / "train.csv", infer_schema=False)["Target"].to_list()
    assert look["rows"] == len(cells)
    assert {k: v for k, v in look["classes"].items() if v} == {
        k: sum(k in cell.split() for cell in cells) for k in {c for cell in cells for c in cell.split()}
    }
    assert look["labels an image"] == {str(n): sum(len(c.split()) == n for c in cells) for n in sorted({len(c.split()) for c in cells})}
    assert "Labels per image" in Path(result["report"]).read_text(encoding="utf-8")


def test_P14_a_prediction_is_written_after_each_cycle(ran):
    result, _ = ran("hpa")
    run = Path(result["run"])
    assert [c["stage"] for c in result["cycles"]] == [1, 2]
    assert [c["checkpoint"] for c in result["cycles"]] == ["epoch-001", "epoch-003"]
    tables = [Predictions.read(run / "members" / "main" / "fold-0" / f"stage-{n}.parquet") for n in (1, 2)]
    assert not np.array_equal(*(t.dense("Target", "main").p for t in tables))
    final = Predictions.read(run / "test.parquet").dense("Target").p
    assert tables[1].dense("Target", "main").p == pytest.approx(final, abs=1e-5)  # the last cycle is the end of training
    for cycle in result["cycles"]:
        assert (run / "submissions" / cycle["file"]).is_file()


def test_P16_each_class_has_a_threshold_each_image_a_label(ran):
    result, _ = ran("hpa")
    run = Path(result["run"])
    (step,) = files.read_json(run / "decisions.json")["steps"]["Target"]["final"]["steps"]
    assert len(step["thresholds"]) == 28

    dense = Predictions.read(run / "test.parquet").dense("Target")
    assert (dense.answer.sum(axis=1) >= 1).all()
    over = dense.p >= np.asarray(step["thresholds"])
    named = over.any(axis=1)
    assert np.array_equal(dense.answer[named] > 0.5, over[named])


def test_P17_submission_joins_labels_by_blanks_and_is_in_ledger(ran):
    result, _ = ran("hpa")
    handed = pl.read_csv(result["submission"], infer_schema=False)
    assert handed.columns == ["Id", "Predicted"]
    assert all(0 <= int(label) < 28 for cell in handed["Predicted"] for label in cell.split(" "))
    book = ledger.Ledger(result["run"])
    handed_in = book.submissions()
    assert {s.file for s in handed_in} >= {"submission.csv"}
    assert {s.sha256 for s in handed_in} >= {files.sha256(result["submission"]), *(c["sha256"] for c in result["cycles"])}
    assert book.score("submission.csv", 0.25, board="public").outside == {"public": 0.25}
    final = next(s for s in handed_in if s.file == "submission.csv")
    (counted,) = [f for f in result["figures"] if (f["name"], f["metric"]) == ("final", final.metric) and f["how"] != "in-sample"]
    assert final.own["value"] == pytest.approx(counted["value"])
    assert final.own["how"] == counted["how"] == "held-out"  # the write-up held one part out


def test_members_answers_and_those_before_steps_are_kept(ran):
    dogs, hpa = (Path(ran(name)[0]["run"]) for name in ("dogs", "hpa"))
    described = files.read_json(dogs / "arrays" / "arrays.json")
    ((file, one),) = described["arrays"].items()
    final = Predictions.read(dogs / "test.parquet").dense("breed", row_ids=described["rows"])
    assert one == {"member": "main", "target": "breed", "classes": list(final.target.classes), "folds": [0]}
    assert np.allclose(np.load(dogs / "arrays" / file), final.p, equal_nan=True)  # one member and no steps: these are the answers
    assert not (dogs / "test-before-steps.parquet").exists()
    before, after = (Predictions.read(hpa / f"{name}.parquet").dense("Target") for name in ("test-before-steps", "test"))
    assert before.answer is None
    assert after.answer is not None
    assert np.array_equal(before.p, after.p)  # thresholds leave probabilities as they are
    assert (hpa / "submissions" / "before-steps.csv").is_file()
    assert not (hpa / "arrays").exists()


def test_the_report_lists_every_statement_and_what_was_scaled_down(ran):
    text = Path(ran("hpa")[0]["report"]).read_text(encoding="utf-8")
    for n in range(1, 21):
        assert f">P{n:02d}<" in text
    assert "profile cpu" in text


def test_the_same_call_goes_on_where_it_stopped(ran):
    result, made = ran("dogs")
    before = files.sha256(result["submission"])
    stamp = (Path(result["run"]) / "members" / "main" / "fold-0" / "history.csv").stat().st_mtime_ns
    again = api.reproduce("dogs", result["run"], simulated=made, profile="cpu", sets=TINY["dogs"])
    assert files.sha256(again["submission"]) == before
    assert (Path(result["run"]) / "members" / "main" / "fold-0" / "history.csv").stat().st_mtime_ns == stamp


def test_figures_of_the_test_part_are_those_of_its_truth(ran):
    result, made = ran("dogs")
    truth = pl.read_csv(made["paths"]["truth"]).filter(pl.col("split") == "test")
    handed = pl.read_csv(result["submission"]).join(truth, left_on="id", right_on="row_id")
    share = float((handed["breed"] == handed["label"]).mean())
    table = pl.read_csv(result["classes"]).filter((pl.col("part") == "test") & (pl.col("class") == "all"))
    assert table["accuracy"][0] == pytest.approx(share)
    assert metrics.METRICS["accuracy"].greater_is_better


# ---------------------------------------------------------------------------------------------------------------- audit


def test_audit_of_a_run_decides_what_training_obeys(ran, tmp_path):
    _, made = ran("dogs")
    source = made["paths"]["source"]
    found = api.audit(source, tmp_path / "audit.parquet", data__targets=["breed"], data__split="folder")
    assert "decided keep" in found["table"]
    table, _ = files.read_parquet(tmp_path / "audit.parquet")
    keep = table.filter((pl.col("status") == "ok") & pl.col("row_id").str.starts_with("train/") & (pl.col("decision") == "keep"))
    out, wrong = keep["row_id"][0], keep["row_id"][1]
    changed = table.with_columns(
        pl.when(pl.col("row_id") == out)
        .then(pl.lit("exclude"))
        .when(pl.col("row_id") == wrong)
        .then(pl.lit("relabel"))
        .otherwise("decision")
        .alias("decision"),
        pl.lit("breed").alias("target"),
        pl.Series("suggested", [["Pekinese"]] * len(table)),
    )
    files.write_parquet(tmp_path / "mine.parquet", changed)
    recipe = api.load_recipe(
        flags={
            "data.targets": ["breed"], "data.split": "folder", "data.audit": str(tmp_path / "mine.parquet"), "data.on_bad": "skip",
            "model.backbone": "test_resnet", "model.weights": "none", "input.size": 16, "probe.size": 16, "split.holdout": 0.3,
            "train.epochs": 0, "train.threads": 1, "train.precision": "32", "probe.views": ["plain"], "probe.strengths": [1.0],
        }
    )  # fmt: skip
    run = Path(api.fit(source, tmp_path / "run", recipe=recipe)["run"])
    frame, _ = files.read_parquet(run / "manifest.parquet")
    own = {row["row_id"]: row for row in frame.iter_rows(named=True)}
    assert own[out]["split"] == "spare"
    assert own[wrong]["breed"] == "Pekinese"
    pairs = table.filter(pl.col("duplicate").is_not_null() & pl.col("row_id").str.starts_with("train/"))
    for _, rows in pairs.group_by("duplicate"):
        assert len({own[r]["group"] for r in rows["row_id"]}) == 1
    judged = api.audit(run, target="breed")
    kept, _ = files.read_parquet(run / "audit.parquet")
    assert judged["rows"] == len(kept) == len(frame)
    assert kept["suspicion"].drop_nulls().len() > 0


def test_an_audit_of_other_data_is_refused(ran, tmp_path):
    _, made = ran("dogs")
    other = pl.DataFrame({"row_id": ["a", "b"], "status": ["ok", "ok"], "decision": ["keep", "keep"]})
    files.write_parquet(tmp_path / "audit.parquet", other)
    recipe = api.load_recipe(flags={"data.audit": str(tmp_path / "audit.parquet"), "data.split": "folder", "data.targets": ["breed"]})
    with pytest.raises(DataError, match="names none of these rows"):
        api.fit(made["paths"]["source"], tmp_path / "run", recipe=recipe)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_unknown_systems_and_missing_data_are_refused(tmp_path):
    from tapetum.systems.reproduce import reproduce

    with pytest.raises(UserError, match="no reference system 'cats'"):
        reproduce("cats", tmp_path, tmp_path, api.load_recipe)
    with pytest.raises(UserError, match="has no data"):
        reproduce("dogs", tmp_path, None, api.load_recipe)


def test_table_without_test_rows_gives_no_submission(tmp_path):
    from images import plant

    planted = plant(tmp_path / "data", classes=2, each=10, size=32)
    target = pl.read_csv(planted.table).columns
    sets = SMALL | {"data.targets": [target[1]], "train.epochs": 1, "split.folds": 2, "train.batch": 8, "probe.size": 32}
    result = api.reproduce("dogs-plus", tmp_path / "run", data=planted.table, profile="cpu", sets=sets)
    assert result["submission"] is None
    assert result["cycles"] == []
    table = pl.read_csv(result["classes"])
    assert set(table["part"]) == {"oof"}
    assert table.filter(pl.col("class") == "all")["n"].to_list() == [20]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dogs", "hpa"])
def test_one_step_of_the_full_recipe_with_its_real_sizes(name):
    """Every full model builds with its real sizes: a batch of two goes forward, backward and one step."""
    import torch

    from tapetum.core.targets import Target
    from tapetum.learn import models
    from tapetum.learn.runtime import Engine, Runtime
    from tapetum.learn.training import optimizers
    from tapetum.learn.training.objective import Objective

    recipe = api.load_recipe(name, sets=["model.weights=none", "train.batch=2"]).recipe
    target = (
        Target("breed", classes=tuple(map(str, range(25)))) if name == "dogs" else Target("Target", "multi", tuple(map(str, range(28))))
    )
    channels = 3 if name == "dogs" else 4
    network = models.build(recipe.model, [target], channels, recipe.input).train()
    size = recipe.stages[-1].size if recipe.stages else recipe.input.size
    assert size == {"dogs": 256, "hpa": 512}[name]
    x = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    y = {target.name: torch.eye(target.width)[:2]}
    optimizer = optimizers.build(network, recipe.optimizer)
    before = {key: value.clone() for key, value in network.state_dict().items() if key.endswith("weight")}
    loss = Objective(recipe.loss, [target])(network(x), y)
    loss.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    Runtime(Engine("cpu", "32", False)).step(network, optimizer, 1e-3, recipe.train.clip or None)
    assert torch.isfinite(loss)
    moved = [key for key, value in network.state_dict().items() if key in before and not torch.equal(value, before[key])]
    assert {"dogs": "backbone.conv_stem.weight", "hpa": "backbone.conv1.weight"}[name] in moved  # the gradient came all the way


def test_the_commands_simulate_and_audit_answer_and_refuse(tmp_path):
    from typer.testing import CliRunner

    from tapetum.cli import app

    run = CliRunner().invoke
    made = run(app, ["simulate", "dogs", str(tmp_path / "dogs"), "--size", "200", "--px", "24", "--zip", "--json"])
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert Path(found["paths"]["source"]).suffix == ".zip"
    options = ["--target", "breed", "--set", "data.split=folder", "-o", str(tmp_path / "audit.parquet")]
    audited = run(app, ["audit", found["paths"]["source"], *options])
    assert audited.exit_code == 0, audited.output
    table, _ = files.read_parquet(tmp_path / "audit.parquet")
    assert len(table) == 200
    assert (table["status"] != "ok").sum() == found["counts"]["truncated"] + found["counts"]["no_image"]
    both = run(app, ["reproduce", "dogs", "--simulate", "--data", str(tmp_path)])
    assert isinstance(both.exception, UserError)
    assert "needed: one of them, not both" in str(both.exception)
    assert isinstance(run(app, ["simulate", "cats", str(tmp_path / "cats")]).exception, UserError)
