from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from images import quiet, save
from tapetum.core.config import Data
from tapetum.core.errors import DataError, TapetumError, UserError
from tapetum.core.files import plain_name
from tapetum.core.tables import RESERVED, free_name
from tapetum.core.targets import Target, parse_target
from tapetum.data import layouts
from tapetum.data.split import join_duplicates


@pytest.fixture
def read(tmp_path):
    def go(columns, **data):
        for i in range(len(next(iter(columns.values())))):
            save(tmp_path / f"{i}.png", np.zeros((4, 4, 3), np.uint8))
        pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
        return layouts.read(tmp_path / "t.csv", Data(**data), quiet)

    return go


FILES = ["0.png", "1.png", "2.png", "3.png"]
LABELS = ["x", "y", "x", "y"]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_target_named_as_a_manifest_column_is_refused_early(read, name):
    with pytest.raises(UserError, match=f"called '{name}'.*rename it, as {name}_label"):
        read({"file": FILES, name: LABELS}, targets=(name,), path="file")
    with pytest.raises(UserError, match=f"side number .* called '{name}'"):
        read({"file": FILES, "t": LABELS, name: [1, 2, 3, 4]}, targets=("t",), side=(name,), path="file")
    assert read({"file": FILES, f"{name}_label": LABELS}, targets=(f"{name}_label",)).targets[0].classes == ("x", "y")


@pytest.mark.parametrize("name", ["id", "status", "duplicate", "p_x", "a/b", "a.b", "x=y", "é ü", "items", "target", "label", "image_id"])
def test_a_target_may_have_any_other_name(read, name):
    manifest = read({"file": FILES, name: LABELS}, targets=(name,))
    assert manifest.targets[0] == Target(name, "single", ("x", "y"))
    assert manifest.row_ids == FILES


def test_a_target_called_duplicate_joins_no_groups(read):
    manifest = read({"file": FILES, "duplicate": LABELS}, targets=("duplicate",))
    assert join_duplicates(manifest, {}, quiet).groups.tolist() == FILES


def test_reserved_column_is_refused_with_the_key_to_ignore_it(read):
    for name, cells in (("split", ["a", "b", "a", "b"]), ("fold", ["north", "south", "1", "2"]), ("weight", ["heavy", "1", "2", "3"])):
        columns = {"file": FILES, "label": LABELS, name: cells}
        with pytest.raises(DataError, match=rf"data\.{name}=none") as error:
            read(columns, targets=("label",))
        assert "0.png" in str(error.value)
        assert " of 4" in str(error.value)
        assert name not in read(columns, targets=("label",), **{name: "none"}).frame.columns


def test_class_names_stay_as_they_stand_in_the_table(read):
    names = ["True", "nan", "null", "None", "NA", "1", "1.0", "01", "1e3", "-", "é", "p_x"]
    manifest = read({"file": [f"{i}.png" for i in range(len(names))], "label": names}, targets=("label:single",))
    assert set(manifest.targets[0].classes) == set(names)


def test_name_with_colons_is_read_where_its_kind_is_given():
    assert parse_target("a:b:multi") == Target("a:b", "multi")
    assert parse_target("a:b:ordinal=x<y:z") == Target("a:b", "ordinal", ("x", "y:z"))
    assert parse_target("age:ordinal=multi<single").classes == ("multi", "single")
    with pytest.raises(TapetumError, match="Did you mean 'multi'"):
        parse_target("a:mutli")


def test_names_of_ours_give_way():
    assert free_name("status", ["label"]) == "status"
    assert free_name("status", ["status", "tapetum_status"]) == "tapetum_tapetum_status"


def test_a_target_names_no_file_outside_its_folder():
    assert plain_name("é ü.x") == "é ü.x"
    assert plain_name("../a") == "%2E.%2Fa"
    assert len({plain_name(name) for name in ("a/b", "a%2Fb", "a\\b", "a:b")}) == 4


def test_one_odd_cell_never_hides_the_column_of_images(read):
    files = [f"{i}.png" for i in range(9)]
    with pytest.raises(DataError, match=r"'file' comes nearest: 1 of 9 cells does not, first row 7, which is 'n/a'"):
        read({"file": [*files[:6], "n/a", *files[7:]], "other": ["a"] * 9, "label": ["x", "y", "x"] * 3}, targets=("label",))
    with pytest.raises(DataError, match=r"'file' comes nearest: 2 of 9 cells do not, first row 1, which is blank"):
        read({"file": [None, None, *files[2:]], "label": ["x", "y", "x"] * 3}, targets=("label",))


def test_odd_ids_and_numbers_are_named_with_rows(read):
    with pytest.raises(DataError, match=r"t\.csv row 2 has no id in 'Id' \(2 of 4 rows have none\)"):
        read({"Id": ["a", None, "c", None], "file": FILES, "label": LABELS}, targets=("label",))
    with pytest.raises(DataError, match=r"1 id is in more than one row: a \(a is 0\.png and 2\.png\)"):
        read({"Id": ["a", "b", "a", "c"], "file": FILES, "label": LABELS}, targets=("label",))
    with pytest.raises(DataError, match=r"row '1\.png' has age = 'old' \(2 of 4 cells are no numbers\)"):
        read({"file": FILES, "age": ["1", "old", "3", "young"]}, targets=("age:regression",))
    with pytest.raises(DataError, match=r"row '1\.png' has age = 'old' \(1 of 4 cells is no number\)"):
        read({"file": FILES, "label": LABELS, "age": ["1", "old", "3", "4"]}, targets=("label",), side=("age",))
