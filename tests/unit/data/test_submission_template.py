"""How a submission's template is read: which way of writing it takes, what refuses it, and what fills ids without an answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import quiet
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.data.layouts.submission import submit
from tapetum.data.layouts.submission_template import Wish

PETS = Target("pet", "single", ("cat", "dog"))
CODES = Target("pet", "single", ("0", "1"))
THREE = Target("kind", "single", ("ant", "bee", "cow"))
ORDER = Target("age", "ordinal", ("young", "grown", "old"))
TAGS = Target("tags", "multi", ("wet", "dark"))
ONE = Target("tags", "multi", ("wet",))
AGE = Target("age", "regression")
TWO = [[0.75, 0.25], [0.4, 0.6], [0.125, 0.875]]
P3 = [[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]]


def answers(target: Target, p: list[list[float]], answer: list[list[int]] | None = None, missing: str = "") -> Dense:
    values, n = np.array(p, np.float32), len(p)
    ids = np.array(list("xyz")[:n], dtype=object)
    status = np.array(["missing" if i in missing else "ok" for i in ids], dtype=object)
    values[status != "ok"] = np.nan
    labels = None if answer is None else np.array(answer, np.float32)
    return Dense(target, ids, values, np.full_like(values, np.nan), np.full(n, -1, np.int16), status, labels)


def written(tmp_path: Path, dense: Dense, header: str, cells: str, ids: str = "xyz", log: object = quiet, **options: object) -> list[str]:
    """Return the lines below the header that a template with the same cells on every line becomes."""
    lines = [header, *(f"{i},{cells}" for i in ids)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    place = submit(dense, tmp_path / "t.csv", tmp_path / "out.csv", log, **options).place  # type: ignore[arg-type]
    found = place.read_text().splitlines()
    assert found[0] == header
    return [line.partition(",")[2] for line in found[1:]]


@pytest.mark.parametrize(
    ("target", "header", "cells", "expected"),
    [
        (PETS, "id,pet", "", ["cat", "dog", "dog"]),
        (PETS, "id,pet", "cat", ["cat", "dog", "dog"]),
        (PETS, "id,answer", "?", ["cat", "dog", "dog"]),
        (PETS, "id,label", "0.5", ["0.25", "0.6", "0.875"]),
        (PETS, "id,label", "0", ["0.25", "0.6", "0.875"]),
        (PETS, "id,label", "1", ["0", "1", "1"]),
        (PETS, "id,cat", "0.5", ["0.75", "0.4", "0.125"]),
        (PETS, "id,dog", "", ["0.25", "0.6", "0.875"]),
        (PETS, "id,dog,cat", "0,0", ["0.25,0.75", "0.6,0.4", "0.875,0.125"]),
        (PETS, "id,dog,cat", "0.5,0.5", ["0.25,0.75", "0.6,0.4", "0.875,0.125"]),
        (PETS, "id,dog,cat", "0,1", ["0,1", "1,0", "1,0"]),
        (CODES, "id,target", "0", ["0", "1", "1"]),
        (CODES, "id,target", "0.5", ["0.25", "0.6", "0.875"]),
        (CODES, "id,target", "0.0", ["0.25", "0.6", "0.875"]),
    ],
)
def test_two_classes_are_written_as_columns_and_cells_say(tmp_path, target, header, cells, expected):
    assert written(tmp_path, answers(target, TWO), header, cells) == expected


@pytest.mark.parametrize(
    ("target", "header", "cells", "expected"),
    [
        (THREE, "id,bee,cow,ant", "0,0,1", ["1,0,0", "0,0,1", "0,1,0"]),
        (THREE, "id,bee,cow,ant", "0.0,0.0,1.0", ["0.8,0.1,0.1", "0.2,0.1,0.7", "0.3,0.5,0.2"]),
        (ORDER, "id,note,age", "n,old", ["n,grown", "n,young", "n,old"]),
        (ORDER, "id,young,grown,old", "0,0,0", ["0.1,0.8,0.1", "0.7,0.2,0.1", "0.2,0.3,0.5"]),
    ],
)
def test_several_classes_are_written_as_columns_and_cells_say(tmp_path, target, header, cells, expected):
    assert written(tmp_path, answers(target, P3), header, cells) == expected


@pytest.mark.parametrize(
    ("target", "header", "cells", "expected"),
    [
        (TAGS, "id,tags", "", ["wet", "dark", "wet dark"]),
        (TAGS, "id,tags", "wet|dark", ["wet", "dark", "wet|dark"]),
        (TAGS, "id,tags", "dark;wet", ["wet", "dark", "wet;dark"]),
        (TAGS, "id,dark,wet", "0,0", ["0.2,0.9", "0.6,0.4", "0.7,0.8"]),
        (TAGS, "id,dark,wet", "1,1", ["0,1", "1,0", "1,1"]),
    ],
)
def test_several_labels_are_written_as_columns_and_cells_say(tmp_path, target, header, cells, expected):
    assert written(tmp_path, answers(target, [[0.9, 0.2], [0.4, 0.6], [0.8, 0.7]]), header, cells) == expected


def test_optional_label_has_one_probability_column(tmp_path):
    assert written(tmp_path, answers(ONE, [[0.9], [0.25], [0.5]]), "id,wet", "0") == ["0.9", "0.25", "0.5"]


def test_decided_labels_are_written_wherever_labels_are(tmp_path):
    dense = answers(PETS, TWO, [[0, 1], [0, 1], [1, 0]])
    assert written(tmp_path, dense, "id,pet", "") == ["dog", "dog", "cat"]
    assert written(tmp_path, dense, "id,dog,cat", "1,0") == ["1,0", "1,0", "0,1"]
    assert written(tmp_path, dense, "id,label", "1") == ["1", "1", "0"]
    assert written(tmp_path, dense, "id,label", "0.5") == ["0.25", "0.6", "0.875"]  # a probability is none of them


def test_the_user_may_say_what_is_written(tmp_path):
    dense = answers(PETS, TWO)
    assert written(tmp_path, dense, "id,label", "0.5", wish=Wish(write="labels")) == ["cat", "dog", "dog"]
    assert written(tmp_path, dense, "id,label", "0.5", wish=Wish(write="zero-one")) == ["0", "1", "1"]
    assert written(tmp_path, dense, "id,label", "0.5", wish=Wish(positive="cat")) == ["0.75", "0.4", "0.125"]
    assert written(tmp_path, dense, "id,dog,cat", "0,0", wish=Wish(write="zero-one")) == ["0,1", "1,0", "1,0"]
    assert written(tmp_path, dense, "id,dog,cat", "0,1", wish=Wish(write="probabilities"))[0] == "0.25,0.75"
    assert written(tmp_path, answers(THREE, P3), "id,ans", "0", wish=Wish(write="labels")) == ["bee", "ant", "cow"]
    for wish in (Wish(write="lables"), Wish(positive="cow"), Wish(column="nil"), Wish(separator="|")):
        with pytest.raises(UserError, match=r"lables|cow|nil|separator"):
            written(tmp_path, dense, "id,label", "0.5", wish=wish)
    with pytest.raises(UserError, match=r"--positive dog was given, but t\.csv takes probabilities in 2 columns"):
        written(tmp_path, dense, "id,dog,cat", "0,0", wish=Wish(positive="dog"))


@pytest.mark.parametrize(
    ("target", "header", "cells", "says"),
    [
        (THREE, "id,ans", "0", r"column 'ans' holds '0', which is no class \(ant, bee, cow\)"),
        (THREE, "id,ans", "0.33", "'0.33', which is no class"),
        (THREE, "id,kind", "ants", r"'ants', which is no class .*Did you mean 'ant'\?"),
        (THREE, "id,ant,bee,cows", "0,0,0", r"'cows' is no class. Did you mean 'cow'\?, no column for cow"),
        (THREE, "id,ant,bee", "0,0", "no column for cow"),
        (THREE, "id,ant,bee,cow,dog", "0,0,0,0", "'dog' is no class"),
        (THREE, "id,ant,bee,cow", "0,0,x1", "column 'cow' holds 'x1', which is no number"),
        (THREE, "id,ant", "0.5", "'0.5', which is no class"),
        (THREE, "id,u,v", ",", "2 columns could be filled: u, v"),
        (PETS, "id,label", "7", "column 'label' holds '7', which is no class"),
        (PETS, "id,label", "lion", "column 'label' holds 'lion', which is no class"),
        (TAGS, "id,tags", "wet drak", r"'drak', which is no class .*Did you mean 'dark'\?"),
        (TAGS, "id,tags", "0.5", "'0.5', which is no class"),
        (AGE, "id,age", "old", "'old', which is no number"),
    ],
)
def test_unfit_template_is_refused_with_what_was_tried(tmp_path, target, header, cells, says):
    p = {"regression": [[1.0]] * 3, "multi": [[0.5, 0.5]] * 3}.get(target.kind, P3 if target is THREE else TWO)
    with pytest.raises(DataError, match=says) as caught:
        written(tmp_path, answers(target, p), header, cells)
    assert "needed: a column" in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_labels_that_could_not_be_told_apart_are_refused(tmp_path):
    dense = answers(Target("tags", "multi", ("Golgi apparatus", "Golgi")), [[0.9, 0.8]] * 3)
    with pytest.raises(UserError, match=r"'Golgi apparatus' holds ' '.*--separator"):
        written(tmp_path, dense, "id,tags", "")
    assert written(tmp_path, dense, "id,tags", "", wish=Wish(separator="|")) == ["Golgi apparatus|Golgi"] * 3
    assert written(tmp_path, dense, "id,tags", "Golgi|Golgi apparatus") == ["Golgi apparatus|Golgi"] * 3


PRIORS = {PETS: [0.25, 0.75], THREE: [0.2, 0.3, 0.5], ORDER: [0.4, 0.25, 0.35], TAGS: [0.6, 0.1], ONE: [0.2], AGE: [31.5]}
FILLED = [  # target, header, cells, what --fill says, what the lost lines hold
    (PETS, "id,pet", "", "prior", "dog"),
    (PETS, "id,pet", "", "cat", "cat"),
    (PETS, "id,label", "0.5", "prior", "0.75"),
    (PETS, "id,label", "0.5", "cat", "0"),
    (PETS, "id,label", "1", "prior", "1"),
    (THREE, "id,ant,bee,cow", "0,0,0", "prior", "0.2,0.3,0.5"),
    (THREE, "id,ant,bee,cow", "0,0,0", "bee", "0,1,0"),
    (THREE, "id,ant,bee,cow", "1,0,0", "prior", "0,0,1"),
    (ORDER, "id,age", "", "prior", "grown"),  # the middle of the order, not the commonest
    (ORDER, "id,age", "", "old", "old"),
    (TAGS, "id,tags", "", "prior", "wet"),
    (TAGS, "id,tags", "", "dark", "dark"),
    (TAGS, "id,wet,dark", "0,0", "prior", "0.6,0.1"),
    (TAGS, "id,wet,dark", "1,1", "dark", "0,1"),
    (ONE, "id,tags", "", "prior", "wet"),
    (AGE, "id,age", "0", "prior", "31.5"),
    (AGE, "id,age", "", "40", "40"),
]


@pytest.mark.parametrize(("target", "header", "cells", "fill", "expected"), FILLED)
def test_unanswered_rows_and_ids_are_filled_alike(tmp_path, target, header, cells, fill, expected):
    k = target.width
    p = [[7.0]] * 2 if target.kind == "regression" else [np.eye(k)[0].tolist()] * 2
    heard: list[str] = []
    dense = answers(target, p, missing="y")
    found = written(tmp_path, dense, header, cells, "xyw", heard.append, fill=fill, prior=np.array(PRIORS[target]))
    assert found[1:] == [expected, expected]
    assert any("1 id without a prediction and 1 row without an answer filled with" in line for line in heard)
    with pytest.raises(DataError, match=r"1 id of it has no prediction: w\).*--fill prior, or --fill CLASS"):
        written(tmp_path, dense, header, cells, "xyw")
    with pytest.raises(DataError, match="1 row has no prediction: y"):
        written(tmp_path, dense, header, cells, "xy")
    with pytest.raises(UserError, match="nonsense"):
        written(tmp_path, dense, header, cells, "xyw", fill="nonsense")


def test_template_of_other_rows_is_refused_despite_fill(tmp_path):
    with pytest.raises(DataError, match="holds an id of the predictions"):
        written(tmp_path, answers(PETS, TWO), "id,pet", "", "uvw", fill="cat")
    with pytest.raises(DataError, match="1 predicted id is not in it: z"):
        written(tmp_path, answers(PETS, TWO), "id,pet", "", "xyw", fill="cat")


def test_answers_without_any_label_are_named(tmp_path):
    heard: list[str] = []
    assert written(tmp_path, answers(TAGS, [[0.1, 0.2]] * 3), "id,tags", "", log=heard.append) == ["", "", ""]
    assert any("no label for any of the 3 rows" in line for line in heard)
    written(tmp_path, answers(TAGS, [[0.9, 0.2], [0.1, 0.1], [0.2, 0.3]]), "id,tags", "", log=heard.append)
    assert heard[-1] == "warning: 2 of 3 rows have no label"


def test_what_is_written_is_said(tmp_path):
    heard: list[str] = []
    written(tmp_path, answers(PETS, TWO), "id,label", "0.5", log=heard.append)
    assert heard[-1].endswith("probabilities of 'dog' in 'label' (the other way round: --positive cat)")


def test_files_without_a_header_take_the_same_cells(tmp_path):
    dense = dataclasses.replace(answers(PETS, TWO), row_ids=np.array(["x.png", "y.png", "z.png"], dtype=object))
    (tmp_path / "t.csv").write_text("x.png,0.5\ny.png,0.5\nz.png,0.5\n")
    submit(dense, tmp_path / "t.csv", tmp_path / "out.csv", quiet)
    assert (tmp_path / "out.csv").read_text() == "x.png,0.25\ny.png,0.6\nz.png,0.875\n"


def test_a_submission_called_parquet_is_parquet(tmp_path):
    (tmp_path / "t.csv").write_text("id,pet\nz,\nx,\ny,\n")
    submit(answers(PETS, TWO), tmp_path / "t.csv", tmp_path / "out.parquet", quiet)
    assert pl.read_parquet(tmp_path / "out.parquet").rows() == [("z", "dog"), ("x", "cat"), ("y", "dog")]


def test_a_column_of_facts_is_not_offered_for_answers(tmp_path):
    """Labels would be written over it."""
    target = Target("stage", classes=("Wake", "N1", "N2"))
    dense = answers(target, [[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    (tmp_path / "t.csv").write_text("exam,image\nA1,x\nA1,y\nA10,z\n", encoding="utf-8")
    with pytest.raises(DataError, match="add a column for the answers to the template") as found:
        submit(dense, tmp_path / "t.csv", tmp_path / "s.csv", quiet)
    assert "--write labels" not in str(found.value)
    (tmp_path / "t.csv").write_text("result,image\nwake,x\nn1,y\n0,z\n", encoding="utf-8")
    with pytest.raises(DataError, match="--write labels"):
        submit(dense, tmp_path / "t.csv", tmp_path / "s.csv", quiet)
