"""The command predict: what it prints and writes, what it takes, and its exit codes."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from PIL import Image

import small_runs
from images import write_table
from tapetum.core.errors import DATA, PARTLY, USAGE


def test_answers_are_printed_without_a_file(probed, other_images):
    said = small_runs.cli("predict", probed, other_images)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].split() == ["image", "answer", "probabilities"]
    assert [line.split()[0] for line in lines[1:6]] == [f"ant_00{i}.png" for i in range(5)]
    assert all(line.split()[1] in ("ant", "bee", "cat") for line in lines[1:6])
    assert "(100%)" in said.err
    result = json.loads(small_runs.cli("predict", probed, other_images, "--json").out)
    assert (result["rows"], result["missing"]) == (5, 0)
    assert abs(sum(result["answers"][0]["answers"]["label"]["p"].values()) - 1) < 1e-3


def test_every_image_of_a_folder_is_answered_or_missing(probed, other_images, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    image = Image.open(other_images / "ant_000.png")
    for name, kind in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.ppm", "PPM"), ("d", "PNG"), ("e.txt", "PNG")):
        image.save(folder / name, kind)
    (folder / "f.heic").write_bytes(b"nothing")
    (folder / "README.md").write_text("# about")
    said = small_runs.cli("predict", probed, folder, "-o", tmp_path / "p.csv")
    assert said.code == PARTLY
    table = pl.read_csv(tmp_path / "p.csv")
    assert table["id"].to_list() == ["a.jfif", "b.gif", "c.ppm", "d", "e.txt", "f.heic"]
    assert table["status"].to_list() == ["ok"] * 5 + ["missing"]
    assert "f.heic (HEIC is a format that is not read" in said.err
    assert "1 file that is no image left out (1 .md)" in said.err
    printed = small_runs.cli("predict", probed, folder)
    assert printed.code == PARTLY
    assert "missing: HEIC is a format" in printed.out
    refused = small_runs.cli("predict", probed, folder, "-o", tmp_path / "q.csv", "--on-bad", "refuse")
    assert refused.code == DATA
    assert "f.heic" in refused.error
    assert not (tmp_path / "q.csv").exists()


def test_an_absent_file_of_a_table_is_a_missing_row(probed, planted, tmp_path):
    shutil.copytree(planted, tmp_path / "data")
    (tmp_path / "data" / "images" / "ant" / "ant_001.png").unlink()
    said = small_runs.cli("predict", probed, tmp_path / "data" / "labels.csv", "-o", tmp_path / "p.csv")
    assert said.code == PARTLY, said.err
    table = pl.read_csv(tmp_path / "p.csv")
    assert len(table) == 24
    assert table.filter(pl.col("status") == "missing")["id"].to_list() == ["images/ant/ant_001.png"]


def test_columns_are_named_on_the_command(probed, planted, tmp_path):
    rows = [[f"k{i}", f"images/ant/ant_00{i}.png", "x.png"] for i in range(3)]
    table = write_table(planted / "two-columns.csv", ["key", "one", "two"], rows)
    said = small_runs.cli("predict", probed, table, "-o", tmp_path / "p.csv")
    assert "--path one" in said.error
    said = small_runs.cli("predict", probed, table, "-o", tmp_path / "p.csv", "--path", "one", "--id", "key")
    assert said.code == 0, said.err
    assert pl.read_csv(tmp_path / "p.csv")["id"].to_list() == ["k0", "k1", "k2"]
    said = small_runs.cli("predict", probed, table, "--path", "images/ant/ant_00{key}.png")
    assert said.code == PARTLY
    said = small_runs.cli("predict", probed, table, "--id", "kye")
    assert said.code == USAGE
    assert "--id key" in said.error


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_of_parts_are_merged_to_that_of_the_whole(probed, other_images, tmp_path, kind):
    names = sorted(path.name for path in other_images.iterdir())
    parts = []
    for part, some in (("one", names[3:]), ("two", names[:3])):
        rows = write_table(other_images / f"{part}.csv", ["file"], [[name] for name in some])
        parts.append(tmp_path / f"{part}.{kind}")
        assert small_runs.cli("predict", probed, rows, "-o", parts[-1]).code == 0
        rows.unlink()
    assert small_runs.cli("predict", probed, other_images, "-o", tmp_path / f"whole.{kind}").code == 0
    said = small_runs.cli("merge", *parts, "--of", other_images, "-o", tmp_path / f"all.{kind}")
    assert said.code == 0, said.err
    read = pl.read_csv if kind == "csv" else pl.read_parquet
    merged, whole = read(tmp_path / f"all.{kind}"), read(tmp_path / f"whole.{kind}")
    assert merged[:, 0].to_list() == whole[:, 0].to_list()
    assert merged.columns == whole.columns
