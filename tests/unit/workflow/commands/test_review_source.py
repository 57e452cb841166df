"""`tapetum review` without its page: what is written of the decisions in the file."""

from __future__ import annotations

import polars as pl
import pytest

from images import plant
from report_runs import make_run
from tapetum import api
from tapetum.core.config import Data
from tapetum.core.errors import TapetumError, UserError
from tapetum.core.runs import Run
from tapetum.data import audit, layouts
from tapetum.show.review.review import fingerprint
from tapetum.show.review.store import Store
from tapetum.workflow.commands import review


@pytest.fixture
def decided(tmp_path):
    """Six images of which the last is excluded in ``review.sqlite``, and its row id."""
    plant(tmp_path, classes=2, each=3, size=16)
    manifest = layouts.read(tmp_path / "labels.csv", Data(targets=("label",)), lambda _: None)
    store = Store(tmp_path / "review.sqlite", fingerprint(manifest))
    store.add([manifest.row_ids[-1]], "exclude")
    store.close()
    return tmp_path, manifest.row_ids


def test_decisions_on_rows_that_the_audit_lacks_are_written(decided):
    place, ids = decided
    pl.DataFrame({"row_id": ids[:2], "decision": ["keep", "keep"]}).write_csv(place / "audit.csv")
    options = {"audit": place / "audit.csv", "decisions": place / "review.sqlite", "export": True}
    api.review(place / "labels.csv", place / "decisions.csv", target="label", **options)
    written = dict(pl.read_csv(place / "decisions.csv").select("row_id", "decision").iter_rows())
    assert written == {row_id: "exclude" if row_id == ids[-1] else "keep" for row_id in ids}


def test_rows_that_the_audit_of_a_run_lacks_are_written(tmp_path):
    run = make_run(tmp_path, rows=6)
    schema = {name: pl.Series([None] * 4, dtype=dtype) for name, dtype in audit.AUDIT_SCHEMA.items()}
    pl.DataFrame(schema).with_columns(row_id=pl.Series([f"r{i}" for i in range(4)]), decision=pl.lit("keep")).write_parquet(
        run / "audit.parquet"
    )
    store = Store(run / "review.sqlite", fingerprint(Run(run).manifest()))
    store.add(["r5"], "exclude")
    store.close()
    api.review(run, export=True)
    written = dict(pl.read_csv(run / "decisions.csv").select("row_id", "decision").iter_rows())
    assert written == {**{f"r{i}": "keep" for i in range(5)}, "r5": "exclude"}


def test_a_table_never_replaces_the_file_of_decisions(decided):
    place, _ = decided
    kept = (place / "review.sqlite").rename(place / "decisions.csv")
    before = kept.read_bytes()
    with pytest.raises(UserError, match="two files"):
        api.review(place / "labels.csv", target="label", decisions=kept, export=True)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("name", ["labels.csv/decisions.csv", "labels.csv/deeper/decisions.csv", "folder.csv"])
@pytest.mark.parametrize("is_page", [True, False])
def test_no_review_starts_whose_table_cannot_be_written(decided, monkeypatch, name, is_page):
    place, _ = decided
    (place / "folder.csv").mkdir()
    monkeypatch.setattr(review, "serve", lambda *_: pytest.fail("a person was asked to decide"))
    options = {"target": "label", "decisions": place / "kept.sqlite", "export": not is_page}
    with pytest.raises(TapetumError, match=rf"{name} (cannot be written: the system makes no file in .*labels\.csv|is a folder)"):
        api.review(place / "labels.csv", place / name, **options)
    assert not (place / "kept.sqlite").exists()


def test_a_review_may_write_into_a_new_folder(decided):
    place, _ = decided
    found = api.review(place / "labels.csv", place / "new/deep/decisions.csv", target="label", decisions=place / "k.sqlite", export=True)
    assert found.path.is_file()
