"""Tables of several machines become one only where every row is there once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import small_runs
from images import write_table
from tapetum import api
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target

IDS = [f"r{n}" for n in range(6)]


def table(place, ids, targets=("label",), **hashes):
    dense = []
    for name in targets:
        p = np.array([[(int(i[1:]) + 1) / 10, 1 - (int(i[1:]) + 1) / 10] for i in ids], dtype=np.float32)
        target = Target(name, "single", ("a", "b"))
        dense.append(
            Dense(target, np.array(ids, dtype=object), p, p * np.nan, np.full(len(ids), -1), np.full(len(ids), "ok", dtype=object))
        )
    Predictions.from_dense(dense, role="test", **hashes).write(place)
    return place


@pytest.fixture
def of(tmp_path):
    return write_table(tmp_path / "rows.csv", ["id", "file"], [[i, f"{i}.png"] for i in IDS])


def merged(tmp_path, of, *parts, targets=("label",)):
    tables = [table(tmp_path / f"{n}.parquet", part, targets) for n, part in enumerate(parts)]
    return api.merge(tables, tmp_path / "all.parquet", of, id="id", path="file")


def test_parts_in_any_order_give_the_whole_table(tmp_path, of):
    whole = table(tmp_path / "whole.parquet", IDS, ("label", "other"))
    result = merged(tmp_path, of, IDS[4:], IDS[:1], IDS[1:4], targets=("label", "other"))
    assert (result["rows"], result["tables"]) == (6, 3)
    assert Predictions.read(tmp_path / "all.parquet").frame.equals(Predictions.read(whole).frame)
    assert pl.read_parquet_metadata(tmp_path / "all.parquet")["tapetum"] == pl.read_parquet_metadata(whole)["tapetum"]


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ((IDS[:2], IDS[4:]), "2 rows are missing: r2, r3"),
        ((IDS[:4], IDS[3:]), r"1 row is in more than one place: r3 \(.*0.parquet, .*1.parquet\)"),
        ((IDS, ["r9"]), r"1 row is not among what was predicted: r9 \(.*1.parquet\)"),
        ((IDS[:1], ["r0", "r7"]), "r7 .*; 1 row is in .*r0 .*; 5 rows are missing: r1"),
    ],
)
def test_rows_that_do_not_add_up_are_named(parts, named, tmp_path, of):
    with pytest.raises(DataError, match=named):
        merged(tmp_path, of, *parts)


def test_a_row_answered_twice_otherwise_is_named_too(tmp_path, of):
    """As two commands do, whose batches are others."""
    one, two = table(tmp_path / "0.parquet", IDS[:4]), table(tmp_path / "1.parquet", IDS[3:])
    known = Predictions.read(two)
    other = known.frame.with_columns(pl.Series("p", [[0.25, 0.75]] * len(known.frame), dtype=known.frame.schema["p"]))
    Predictions(other, known.targets).write(two)
    with pytest.raises(DataError, match=r"1 row is in more than one place: r3 \(.*0.parquet, .*1.parquet\)"):
        api.merge([one, two], tmp_path / "all.parquet", of, id="id", path="file")
    assert not (tmp_path / "all.parquet").exists()


def test_one_target_with_a_row_less_is_found(tmp_path, of):
    both = Predictions.read(table(tmp_path / "both.parquet", IDS, ("label", "other")))
    less = both.frame.filter(~((pl.col("row_id") == "r2") & (pl.col("target") == "other")))
    Predictions(less, both.targets).write(tmp_path / "less.parquet")
    with pytest.raises(DataError, match="1 row is missing: r2"):
        api.merge([tmp_path / "less.parquet"], tmp_path / "all.parquet", of, id="id", path="file")


def test_csv_tables_keep_their_cells(tmp_path, of):
    lines = [[i, "a", f"0.{n}00"] for n, i in enumerate(IDS)]
    for name, some in (("0.csv", lines[3:]), ("1.csv", lines[:3]), ("whole.csv", lines)):
        write_table(tmp_path / name, ["row_id", "label", "p_a"], some)
    api.merge([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "all.csv", of, id="id", path="file")
    assert (tmp_path / "all.csv").read_text(encoding="utf-8").splitlines() == (tmp_path / "whole.csv").read_text(
        encoding="utf-8"
    ).splitlines()
    write_table(tmp_path / "odd.csv", ["row_id", "p_a"], [["r0", "0.5"]])
    with pytest.raises(DataError, match=r"odd\.csv has the columns"):
        api.merge([tmp_path / "0.csv", tmp_path / "odd.csv"], tmp_path / "all.csv", of, id="id", path="file")


def test_other_classes_and_kinds_are_refused(tmp_path, of):
    first = table(tmp_path / "0.parquet", IDS[:3])
    other = Predictions.read(table(tmp_path / "1.parquet", IDS[3:]))
    Predictions(other.frame, (Target("label", "single", ("b", "a")),)).write(tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"1\.parquet and .*0\.parquet answer other targets or classes"):
        api.merge([first, tmp_path / "1.parquet"], tmp_path / "all.parquet", of, id="id", path="file")
    said = small_runs.cli("merge", first, "--of", of, "-o", tmp_path / "all.csv")
    assert (said.code, "all .parquet or all .csv" in said.error) == (2, True)
    with pytest.raises(UserError, match="no tables"):
        api.merge([], tmp_path / "all.csv", of)


def test_a_manifest_says_what_was_predicted(tmp_path):
    from tapetum.core.tables import Manifest

    frame = pl.DataFrame({"row_id": IDS, "path": [[f"{i}.png"] for i in IDS]})
    Manifest(frame, (), tmp_path).write(tmp_path / "manifest.parquet")
    said = small_runs.cli(
        "merge", table(tmp_path / "0.parquet", IDS), "--of", tmp_path / "manifest.parquet", "-o", tmp_path / "all.parquet"
    )
    assert (said.code, "6 rows of 1 table" in said.out) == (0, True)


def test_parts_of_two_pipelines_are_refused(tmp_path, of):
    one = table(tmp_path / "one.parquet", IDS[:3], manifest_hash="m", recipe_hash="r")
    for name, hashes in (("manifest", {"manifest_hash": "n", "recipe_hash": "r"}), ("recipe", {"manifest_hash": "m", "recipe_hash": "s"})):
        other = table(tmp_path / f"{name}.parquet", IDS[3:], **hashes)
        with pytest.raises(DataError, match="of two pipelines"):
            api.merge([one, other], tmp_path / "all.parquet", of, id="id", path="file")
    same = table(tmp_path / "same.parquet", IDS[3:], manifest_hash="m", recipe_hash="r")
    api.merge([one, same], tmp_path / "all.parquet", of, id="id", path="file")
    done = Predictions.read(tmp_path / "all.parquet")
    assert (done.manifest_hash, done.recipe_hash) == ("m", "r")


@pytest.mark.parametrize("ids", [("id", "status"), ("row_id", "status"), ("tapetum_id", "tapetum_status")])
def test_csv_tables_of_predict_are_merged_by_their_id(ids, tmp_path):
    names = ["1e0", "001", "3.0", "1", 'é,"x']
    of = write_table(tmp_path / "rows.csv", ["id", "file"], [[i, f"{n}.png"] for n, i in enumerate(names)])
    lines = [[i, "ok", "a", f"0.{n}0"] for n, i in enumerate(names)]
    for name, some in (("0.csv", lines[3:]), ("1.csv", lines[:3]), ("whole.csv", lines)):
        write_table(tmp_path / name, [*ids, "label", "p_a"], some)
    api.merge([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "all.csv", of, id="id", path="file")
    assert pl.read_csv(tmp_path / "all.csv", infer_schema=False).equals(pl.read_csv(tmp_path / "whole.csv", infer_schema=False))


def test_what_is_no_table_of_predictions_is_refused(tmp_path, of):
    with pytest.raises(DataError, match=r"rows\.csv has no column 'status' .*a table that tapetum"):
        api.merge([of], tmp_path / "all.csv", of, id="id", path="file")


def test_a_table_that_was_cut_is_named(tmp_path, of):
    place = write_table(tmp_path / "p.csv", ["id", "p_a"], [[i, "0.12345"] for i in IDS])
    place.write_bytes(place.read_bytes().rstrip()[:-3])
    with pytest.raises(DataError, match=r"p\.csv ends in the middle of a line"):
        api.merge([place], tmp_path / "all.csv", of, id="id", path="file")


@pytest.mark.parametrize("change", [lambda f: f.drop("p"), lambda f: f.with_columns(row_id=pl.lit(None, pl.String))])
def test_a_broken_table_of_predictions_is_named(change, tmp_path, of):
    place = table(tmp_path / "odd.parquet", IDS)
    meta = pl.read_parquet_metadata(place)["tapetum"]
    change(pl.read_parquet(place)).write_parquet(place, metadata={"tapetum": meta})
    with pytest.raises(DataError, match=r"odd\.parquet"):
        api.merge([place], tmp_path / "all.parquet", of, id="id", path="file")
