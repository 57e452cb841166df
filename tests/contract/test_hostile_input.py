"""What strangers may hand over: damaged images, hostile ids, changed files and names that lead elsewhere; the campaigns in small.

The whole campaigns are ``make faults``.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.core.places import inside
from tapetum.core.tables import Predictions
from tapetum.data import layouts

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(scope="module")
def checker(probed, tmp_path_factory):
    from bench.faults.tables import Checker

    return Checker(probed, tmp_path_factory.mktemp("tables"))


def test_hostile_tables_lose_double_and_move_no_row(checker):
    from bench.faults import tables

    assert tables.run(checker, 30, 5).faults == []


@pytest.mark.parametrize(
    "bug", ["a damaged image has no slot in its batch", "a part is read for another", "a submission is filled by position"]
)
def test_the_check_of_tables_finds_a_planted_bug(checker, bug):
    from bench.faults import tables

    assert tables.caught(checker, bug, 60)


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits and forks")
def test_changed_images_are_decoded_or_named():
    from bench.faults import images

    found = images.run(range(800))
    assert found["wrong"] == []
    assert found["counts"]["decoded"] > 20
    assert sum(found["counts"].values()) == 800


@pytest.mark.parametrize("kind", ["changed recipes", "changed predictions", "changed submissions", "changed pipelines"])
def test_changed_files_are_read_or_named(kind, probed, tmp_path):
    from bench.faults import fuzzed

    assert fuzzed.run(fuzzed.Fuzz(probed, tmp_path), kind, range(15))[1] == []


def test_a_table_whose_own_notes_are_damaged_is_named(tmp_path):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "p.parquet", metadata={files.META_KEY: '{"targets": [\x01'})
    with pytest.raises(DataError, match=r"p\.parquet is damaged"):
        Predictions.read(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "a/../../b", "..", "C:\\x", "a\\b", "a\0", 3, None])
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="not in it"):
        inside(tmp_path, name)


@pytest.mark.parametrize("what", ["folder", "backbone", "files"])
def test_a_pipeline_reads_nothing_outside_of_its_folder(probed, tmp_path, what):
    from tapetum.pipeline.pipeline import Pipeline

    shutil.copytree(probed / "pipeline", tmp_path / "given")
    shutil.copytree(probed / "pipeline", tmp_path / "outside")
    spec = files.read_json(tmp_path / "given" / "pipeline.json")
    fold = spec["members"][0]["folds"][0]
    if what == "folder":
        fold["folder"] = f"../outside/{fold['folder']}"
    elif what == "backbone":
        fold["backbone"] = f"../../outside/backbones/{fold['backbone']}"
    else:
        spec["files"] = {f"../outside/{name}": digest for name, digest in spec["files"].items()}
    (tmp_path / "given" / "pipeline.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(DataError, match="not in it"):
        Pipeline.load(tmp_path / "given")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_elsewhere_are_refused_by_name(tmp_path, planted, kind):
    image = next((planted / "images").rglob("*.png")).read_bytes()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    archive = tmp_path / "deep" / "er" / f"images.{kind}"
    names = ["ant/a.png", "bee/b.png", "../../evil/c.png"]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.writestr(name, image)
    else:
        with tarfile.open(archive, "w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(image)
                tar.addfile(info, io.BytesIO(image))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"names that lead out of it: \.\./\.\./evil/c\.png"):
        layouts.loose([archive], Data(), lambda _: None)
    assert sorted(tmp_path.rglob("*")) == before
