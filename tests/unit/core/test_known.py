import polars as pl
import pytest

from tapetum.core.known import CHOSEN_ON, TRAINED, read_known, write_known
from tapetum.core.tables import Manifest


@pytest.fixture
def manifest(tmp_path):
    rows = [
        ("a", "train", 0, "ha"),
        ("b", "train", 1, "hb"),
        ("c", "train", -1, "hc"),
        ("d", "extra", -1, "hd"),
        ("e", "test", -1, "he"),
        ("f", "train", 0, None),
        ("g", "spare", -1, "hg"),
        ("h", "train", 1, "ha"),
    ]
    frame = pl.DataFrame(rows, schema=["row_id", "split", "fold", "sha256"], orient="row")
    paths = pl.Series("path", [["secret/name.png"]] * len(rows), dtype=pl.List(pl.String))
    return Manifest(frame.with_columns(paths), (), tmp_path)


@pytest.mark.parametrize(
    ("folds", "chosen_on"),
    [([0, 1], set()), ([-1], set()), ([0], set()), ([1], {"hb"})],  # "ha" stands in both folds, so fold 0's model saw it
)
def test_list_holds_trained_and_decided_images(tmp_path, manifest, folds, chosen_on):
    write_known(tmp_path, manifest, folds)
    known = read_known(tmp_path)
    assert set(known) == {"ha", "hb", "hc", "hd"}
    assert {one for one, use in known.items() if use == CHOSEN_ON} == chosen_on
    assert set(known.values()) <= {TRAINED, CHOSEN_ON}
    assert b"secret" not in (tmp_path / "training_images.parquet").read_bytes()


def test_rows_of_weight_zero_are_unknown(tmp_path, manifest):
    write_known(tmp_path, manifest.with_column("weight", [0.0, 1, 1, 0, 1, 1, 1, 1]), [0, 1])
    assert set(read_known(tmp_path)) == {"ha", "hb", "hc"}  # of two copies one taught


def test_pipeline_without_a_list_differs_from_an_empty_one(tmp_path):
    assert read_known(tmp_path) is None
