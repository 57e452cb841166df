"""Callers from Python read arguments where the command line has flags; one text serves both."""

from __future__ import annotations

import pytest

from tapetum import api
from tapetum.cli.mending import suited
from tapetum.core.errors import DataError, UserError, for_python
from tapetum.core.naming import NAMED, in_python


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name it: --target breed, or with its kind, as --target breed:multi",
            "name it: target='breed', or with its kind, as target='breed:multi'",
        ),
        ("go on without them: --on-bad skip", "go on without them: on_bad='skip'"),
        ("use --folds 2 or fewer", "use folds=2 or fewer"),
        ("for one quick split use --holdout 0.2 (split.holdout = 0.2)", "for one quick split use holdout=0.2 (split.holdout = 0.2)"),
        ("choose another folder with -o, or remove it", "choose another folder with out=, or remove it"),
        ("give --manifest M and -o FOLDER", "give manifest=M and out=FOLDER"),
        ("make one with: tapetum fit DATA -o RUN", "make one with: tapetum.api.fit(DATA, out=RUN)"),
        ("fine-tune first: tapetum fit DATA --epochs 8", "fine-tune first: tapetum.api.fit(DATA, epochs=8)"),
        ("use --weights DIR, or allow the hub with --online", "use weights=DIR, or allow the hub with online=True"),
        ("train with --set data.audit=a.csv", "train with data__audit='a.csv'"),
        ("set --set 'data.targets=[\"x\"]'", 'set data__targets=["x"]'),
        ("--data was given without --views", "data= was given without views="),
        ("name it: --path 'other/{id}.png'", "name it: path='other/{id}.png'"),
        ("a well-known e-mail - or not", "a well-known e-mail - or not"),
    ],
)
def test_flags_become_arguments(text, said):
    assert in_python(text) == said


def test_an_error_is_told_to_each_caller_in_its_words():
    @for_python
    def broken():
        raise DataError("2 images cannot be read", fix="go on without them: --on-bad skip")

    with pytest.raises(DataError) as caught:
        broken()
    assert str(caught.value) == "2 images cannot be read. go on without them: on_bad='skip'"
    assert caught.value.args == (str(caught.value),)
    assert suited(caught.value, "fit") == "2 images cannot be read. go on without them: --on-bad skip"
    assert suited(caught.value, None).endswith("--on-bad skip")


CALLS = [
    lambda place: api.fit(place / "a.csv", place / "run"),
    lambda place: api.fit(place / "a.csv", place / "run", target="x", folds=1),
    lambda place: api.fit(place / "a.csv", place / "run", derive="nothing"),
    lambda place: api.folds(place / "a.csv", target="labl"),
    lambda place: api.folds(place / "a.csv", target="x", group="nobody"),
    lambda place: api.predict(place, place / "a.csv"),
    api.leaderboard,
    lambda place: api.decide(place / "a.csv"),
    lambda place: api.decide(place / "a.csv", data=place),
    lambda place: api.audit(place / "a.csv", target="x", data=place),
    api.report,
    lambda place: api.simulate("hpa", place / "new", size="tiny"),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_error_of_the_api_names_a_flag(call, tmp_path):
    (tmp_path / "a.csv").write_text("file,x,y\na.png,1,k\nb.png,2,l\nc.png,1,k\n")
    with pytest.raises((UserError, DataError)) as caught:
        call(tmp_path)
    assert not NAMED.search(str(caught.value)), str(caught.value)
