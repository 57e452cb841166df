"""Decisions that a person gives back: none is lost, and none is obeyed on another image than was meant."""

from __future__ import annotations

import polars as pl
import pytest

from images import plant, quiet
from tapetum import api
from tapetum.core import table_files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.data import audit, layouts
from tapetum.data.images.decode import Composition


@pytest.fixture
def few(tmp_path):
    """Six images, and a function that writes decisions on them as CSV and reads them."""
    plant(tmp_path, classes=2, each=3, size=16)
    manifest = layouts.read(tmp_path / "labels.csv", Data(targets=("label",)), quiet)

    def read(**columns):
        pl.DataFrame(columns).write_csv(tmp_path / "audit.csv")
        return audit.read_decisions(tmp_path / "audit.csv", manifest, quiet)

    return manifest, read


def checked(manifest):
    return audit.check_files(manifest, Composition(), quiet)


def test_a_decision_without_a_row_is_refused(few):
    manifest, read = few
    with pytest.raises(DataError, match="exclude in 1 row without a row_id"):
        read(row_id=[manifest.row_ids[0], None], decision=["keep", "exclude"])
    assert len(read(row_id=[manifest.row_ids[0], None], decision=["exclude", None])) == 1


def test_ids_that_end_in_blanks_are_known_in_csv(tmp_path):
    ids = ["a.png ", "b.png", " c.png", "c.png"]
    manifest = Manifest(pl.DataFrame({"row_id": ids, "path": [[name] for name in ids]}), (), tmp_path)
    pl.DataFrame({"row_id": ids[:2], "decision": ["exclude", "keep"]}).write_csv(tmp_path / "audit.csv")
    assert audit.read_decisions(tmp_path / "audit.csv", manifest, quiet)["row_id"].to_list() == ids[:2]
    pl.DataFrame({"row_id": ids[3:], "decision": ["exclude"]}).write_csv(tmp_path / "audit.csv")
    assert audit.read_decisions(tmp_path / "audit.csv", manifest, quiet)["row_id"].to_list() == ["c.png"]


def test_decisions_on_other_contents_are_refused(few):
    manifest, read = few
    now = checked(manifest)
    ids, contents = manifest.row_ids, now["sha256"].to_list()
    swapped = [contents[1], contents[0], *contents[2:]]
    table = read(row_id=ids, decision=["exclude", *["keep"] * 5], sha256=swapped)
    with pytest.raises(DataError, match=rf"1 excluded or relabelled row is not what was audited: {ids[0]}"):
        audit.as_now(table, now)
    assert len(audit.as_now(read(row_id=ids, decision=["keep", "keep", "exclude", *["keep"] * 3], sha256=swapped), now)) == 6


def test_a_mended_file_is_excluded_where_it_is_decided(few):
    manifest, read = few
    table = read(row_id=manifest.row_ids[:1], decision=["exclude"], status=["missing"], reason=["an empty file"])
    done = audit.apply(manifest, audit.as_now(table, checked(manifest)), quiet)
    assert done.split.tolist() == ["spare", *["train"] * 5]


def test_all_rows_excluded_and_groups_without_names_are_told(few):
    manifest, read = few
    with pytest.raises(DataError, match="excludes all 6 training rows"):
        audit.apply(manifest, read(row_id=manifest.row_ids, decision=["exclude"] * 6), quiet)
    said = []
    audit.apply(manifest, read(row_id=manifest.row_ids[:1], decision=["group"]), said.append)
    assert said[0].startswith("warning: 1 row is decided 'group' without a name")
    with pytest.raises(UserError, match="as ''; needed: classes of it: ant, bee"):
        audit.apply(manifest, read(row_id=manifest.row_ids[:1], decision=["relabel"], suggested=['[""]']), quiet)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_new_audit_keeps_what_a_person_decided(tmp_path, ending):
    plant(tmp_path, classes=2, each=3, size=16, exact=True)
    place, options = tmp_path / f"audit.{ending}", {"target": "label"}
    api.audit(tmp_path / "labels.csv", place, **options)
    table = table_files.read_table(place, audit.AUDIT_SCHEMA)
    ids = table["row_id"].to_list()
    by_hand = {ids[0]: ("keep", None), ids[1]: ("exclude", None), ids[2]: ("relabel", ["bee"]), ids[3]: ("exclude", None)}
    edited = table.with_columns(
        pl.Series("decision", [by_hand.get(r, (d, None))[0] for r, d in table.select("row_id", "decision").iter_rows()]),
        pl.Series("suggested", [by_hand.get(r, ("", None))[1] for r in ids], dtype=pl.List(pl.String)),
    )
    table_files.write_table(place, edited, for_people=True)
    changed = tmp_path / ids[3]
    changed.write_bytes((tmp_path / ids[4]).read_bytes())
    said: list[str] = []
    api.audit(tmp_path / "labels.csv", place, log=said.append, **options)
    done = {
        r: (d, s) for r, d, s in table_files.read_table(place, audit.AUDIT_SCHEMA).select("row_id", "decision", "suggested").iter_rows()
    }
    assert done[ids[1]] == ("exclude", None)
    assert done[ids[2]] == ("relabel", ["bee"])
    assert done[ids[3]][0] != "exclude"
    assert any("decision" in line and " kept: " in line for line in said)
    assert any(f"is not kept: {ids[3]}" in line for line in said)


def test_an_audit_never_replaces_the_data(tmp_path):
    plant(tmp_path, classes=2, each=3, size=16)
    before = (tmp_path / "labels.csv").read_bytes()
    with pytest.raises(UserError, match="would be replaced"):
        api.audit(tmp_path / "labels.csv", tmp_path / "labels.csv", target="label")
    assert (tmp_path / "labels.csv").read_bytes() == before
