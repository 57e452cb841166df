from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import quiet
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.data.layouts.submission import submit
from tapetum.data.layouts.submission_template import Wish

SINGLE = Target("t", "single", ("a", "b", "c"))
MULTI = Target("Target", "multi", ("0", "1", "2"))


def dense(ids: list[str], p: list[list[float]], target: Target = SINGLE, missing: tuple[str, ...] = ()) -> Dense:
    values = np.array(p, np.float32)
    status = np.array(["missing" if i in missing else "ok" for i in ids], dtype=object)
    values[status != "ok"] = np.nan
    return Dense(target, np.array(ids, dtype=object), values, np.full_like(values, np.nan), np.full(len(ids), -1, np.int16), status)


P = [[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]]


def template(tmp_path: Path, text: str) -> Path:
    (tmp_path / "template.csv").write_text(text, newline="")
    return tmp_path / "template.csv"


def written(tmp_path: Path, answers: Dense, text: str, **options: object) -> str:
    return submit(answers, template(tmp_path, text), tmp_path / "out" / "s.csv", quiet, **options).place.read_bytes().decode()  # type: ignore[arg-type]


def test_ids_order_and_columns_are_the_templates(tmp_path):
    answers = dense(["x", "y", "z"], P)
    assert written(tmp_path, answers, "ImageID,ans\nz,a\nx,a\ny,a\n") == "ImageID,ans\nz,c\nx,b\ny,a\n"
    assert written(tmp_path, answers, "ans;ImageID\r\n?;z\r\n?;x\r\n?;y\r\n") == "ans;ImageID\nc;z\nb;x\na;y\n"
    kept = "id,note,t,more\nx,n1,,9\ny,n2,,8\nz,n3,,7\n"
    assert written(tmp_path, answers, kept) == "id,note,t,more\nx,n1,b,9\ny,n2,a,8\nz,n3,c,7\n"


def test_ids_match_by_file_name_and_that_is_logged(tmp_path):
    text, said = "Id,ans\nz,a\nx,a\ny,a\n", []
    answers = dense(["test/x.jpg", "test/y.jpg", "test/z.jpg"], P)
    place = submit(answers, template(tmp_path, text), tmp_path / "s.csv", said.append).place
    assert place.read_text() == "Id,ans\nz,c\nx,b\ny,a\n"
    assert any("3 ids are matched by the file name without its ending ('z' is row 'test/z.jpg')" in line for line in said)
    with pytest.raises(DataError, match="holds an id of the predictions"):
        submit(dense(["1/x.jpg", "2/x.jpg"], P[:2]), template(tmp_path, "Id,ans\nx,a\n"), tmp_path / "s.csv", quiet)


def test_classes_are_written_as_the_template_wants_them(tmp_path):
    answers = dense(["x", "y", "z"], P)
    assert written(tmp_path, answers, "id,t\nx,\ny,\nz,\n", wish=Wish(written={"a": "10", "b": "11"})) == "id,t\nx,11\ny,10\nz,c\n"


def test_several_labels_are_joined_and_thresholds_or_decisions_decide(tmp_path):
    answers = dense(["x", "y", "z"], [[0.9, 0.6, 0.1], [0.1, 0.2, 0.3], [0.2, 0.9, 0.45]], MULTI)
    text = "Id,Predicted\nx,0\ny,0\nz,0\n"
    assert written(tmp_path, answers, text) == "Id,Predicted\nx,0 1\ny,\nz,1\n"
    assert (
        written(tmp_path, answers, text, threshold=np.array([0.05, 0.7, 0.4]), wish=Wish(separator="|"))
        == "Id,Predicted\nx,0\ny,0\nz,0|1|2\n"
    )
    decided = Dense(**{**answers.__dict__, "answer": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 1]], np.float32)})
    assert written(tmp_path, decided, text, wish=Wish(separator=",")) == 'Id,Predicted\nx,2\ny,0\nz,"1,2"\n'


def test_one_column_a_class_takes_probabilities(tmp_path):
    answers = dense(["x", "y", "z"], P)
    assert written(tmp_path, answers, "id,c,a,b\nz,0,0,0\nx,0,0,0\ny,0,0,0\n").splitlines()[:2] == ["id,c,a,b", "z,0.5,0.2,0.3"]


def test_a_list_of_ids_without_header_gets_answers_alone(tmp_path):
    answers = dense(["e_0001.png", "e_0002.png", "f_0001.png"], P)
    assert written(tmp_path, answers, "\ufefff,f_0001.png\ne,e_0001.png\ne,e_0002.png\n") == "c\nb\na\n"
    assert written(tmp_path, answers, "f_0001.png,?\ne_0001.png,?\ne_0002.png,?\n") == "f_0001.png,c\ne_0001.png,b\ne_0002.png,a\n"


def test_a_column_without_ids_needs_the_order(tmp_path):
    answers = dense(["x", "y", "z"], P)
    assert written(tmp_path, answers, "a\na\na\n", wish=Wish(order=["z", "y", "x"])) == "c\na\nb\n"
    assert written(tmp_path, answers, "stage\na\na\na\n", wish=Wish(order=["z", "y", "x"])) == "stage\nc\na\nb\n"
    with pytest.raises(DataError, match="has 2 rows; needed: 3"):
        written(tmp_path, answers, "a\na\n", wish=Wish(order=["z", "y", "x"]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,t\nx,\ny,\n", "1 predicted id is not in it: z"),
        ("id,t\nx,\ny,\nz,\nw,\n", "1 id of it has no prediction: w"),
        ("id,t\nx,\ny,\nz,\nz,\n", "blank or doubled: z"),
        ("id,t\nX,\nY,\n", "holds an id of the predictions.*tapetum predict RUN IMAGES -o"),
    ],
)
def test_any_difference_is_refused_and_nothing_is_written(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        written(tmp_path, dense(["x", "y", "z"], P), text)
    assert not (tmp_path / "out").exists()


def test_first_line_like_an_id_is_no_header(tmp_path):
    with pytest.raises(UserError, match="begins with 'p7', which looks like one of its ids"):
        written(tmp_path, dense(["p1", "p2"], P[:2]), "p7,t\np1,\np2,\n")
    with pytest.raises(DataError, match=r"1 id of it has no prediction: p7\.png"):
        written(tmp_path, dense(["p1.png", "p2.png"], P[:2]), "e,p7.png\ne,p1.png\ne,p2.png\n")


def test_rows_without_an_answer_are_refused_or_filled(tmp_path):
    text = "id,t\nx,\ny,\nz,\n"
    answers = dense(["x", "y", "z"], P, missing=("y",))
    with pytest.raises(DataError, match="1 row has no prediction: y"):
        written(tmp_path, answers, text)
    assert written(tmp_path, answers, text, fill="c") == "id,t\nx,b\ny,c\nz,c\n"
    assert written(tmp_path, answers, text, fill="prior", prior=np.array([0.2, 0.7, 0.1])) == "id,t\nx,b\ny,b\nz,c\n"
    with pytest.raises(UserError, match="none of the classes"):
        written(tmp_path, answers, text, fill="d")
    several = dense(["x", "y", "z"], P, MULTI, missing=("y",))
    assert written(tmp_path, several, text, fill="prior", prior=np.array([0.2, 0.4, 0.1])) == "id,t\nx,1\ny,1\nz,2\n"
    shares = written(tmp_path, answers, "id,a,b,c\nx,,,\ny,,,\nz,,,\n", fill="prior", prior=np.array([0.25, 0.5, 0.25]))
    assert shares.splitlines()[2] == "y,0.25,0.5,0.25"


def test_numbers_are_written_with_seven_digits(tmp_path):
    answers = dense(["x", "y"], [[1 / 3], [20.0]], Target("t", "regression"), missing=("y",))
    assert written(tmp_path, answers, "id,t\ny,\nx,\n", fill="20.5") == "id,t\ny,20.5\nx,0.3333333\n"


def test_ambiguous_template_is_refused(tmp_path):
    answers = dense(["x", "y", "z"], P)
    with pytest.raises(DataError, match=r"2 columns could be filled: u, v.*--column"):
        written(tmp_path, answers, "id,u,v\nx,,\ny,,\nz,,\n")
    assert written(tmp_path, answers, "id,u,v\nx,,\ny,,\nz,,\n", wish=Wish(column="v")) == "id,u,v\nx,,b\ny,,a\nz,,c\n"


def test_classes_and_ids_of_the_same_names_are_told_apart(tmp_path):
    digit = Target("digit", "single", ("0", "1", "2"))
    answers = dense(["0", "1", "2"], P, digit)
    assert written(tmp_path, answers, "id,2,0,1\n2,,,\n0,,,\n1,,,\n").splitlines()[:2] == ["id,2,0,1", "2,0.5,0.2,0.3"]
    more = written(tmp_path, answers, "id,2,0,1\n2,,,\n0,,,\n1,,,\n9,,,\n", fill="1").splitlines()
    assert (more[0], more[-1], len(more)) == ("id,2,0,1", "9,0,0,1", 5)
    assert written(tmp_path, answers, "0,0\n1,0\n2,0\n") == "0,1\n1,0\n2,2\n"  # no header
    with pytest.raises(DataError, match=r"no column of template.csv .id, digit. holds an id"):  # labels are no ids
        written(tmp_path, dense(["0", "1", "2"], P, digit), "id,digit\n000,0\n001,0\n002,0\n")
    with pytest.raises(DataError, match="blank or doubled: 1"):
        written(tmp_path, answers, "id,digit\n0,0\n1,0\n1,0\n2,0\n")


@pytest.mark.parametrize("fill", ["nan", "inf", "1e999", "much"])
def test_a_number_to_fill_in_is_finite(tmp_path, fill):
    answers = dense(["x", "y"], [[1.0], [2.0]], Target("age", "regression"))
    with pytest.raises(UserError, match="is no finite number"):
        written(tmp_path, answers, "id,age\nx,0\ny,0\nz,0\n", fill=fill)


def test_answers_that_were_written_are_counted(tmp_path):
    text = "id,t\nx,\ny,\nz,\nw,\n"
    found = submit(dense(["x", "y", "z"], P, missing=("z",)), template(tmp_path, text), tmp_path / "s.csv", quiet, fill="a")
    assert (found.rows, found.filled) == (4, 2)


def test_answers_alone_lead_to_the_table_of_ids(tmp_path):
    (tmp_path / "test.csv").write_text("exam,x.png\nexam,y.png\nexam,z.png\n")
    (tmp_path / "train.csv").write_text("exam,a.png\nexam,b.png\nexam,c.png\n")
    answers = dense(["x.png", "y.png", "z.png"], P)
    with pytest.raises(DataError) as error:
        submit(answers, template(tmp_path, "a\na\na\n"), tmp_path / "s.csv", quiet)
    assert f"--template {tmp_path / 'test.csv'}" in str(error.value)
    assert submit(answers, tmp_path / "test.csv", tmp_path / "s.csv", quiet).place.read_text() == "b\na\nc\n"
