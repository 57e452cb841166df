"""Hypnograms in files of every kind: names and numbers of both standards, gaps, overlaps, and the way there and back."""

from __future__ import annotations

import numpy as np
import pytest

from edf_bytes import plus, tal
from tapetum.core.errors import DataError, UserError
from tapetum.sleep.agreement import agreement
from tapetum.sleep.exports import export
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.hypnogram_files import read_hypnogram
from tapetum.sleep.issues import Issues

FIVE = [0, 1, 2, 3, 4]


def read(folder, name, text, **given):
    (folder / name).write_text(text, encoding="utf-8")
    issues = Issues(name)
    return read_hypnogram(folder / name, issues=issues, **given), [one.what for one in issues]


@pytest.mark.parametrize(
    "text",
    [
        "Wake\nN1\nN2\nN3\nREM\n",
        "W\nN1\nN2\nN3\nR\n",
        "stage\nSleep stage W\nSleep stage 1\nSleep stage 2\nSleep stage 4\nSleep stage R\n",
        "0\n1\n2\n4\n5\n",
        "stage\nWake|0\nStage 1 sleep|1\nStage 2 sleep|2\nStage 3 sleep|3\nREM sleep|5\n",
        "SLEEP-S0\nSLEEP-S1\nSLEEP-S2\nSLEEP-S4\nSLEEP-REM\n",
        "epoch,stage\n3,N2\n1,wake\n2,S1\n5,rem\n4,S4\n",
        "onset\tduration\ttrial_type\n0\t30\tW\n30\t30\tN1\n60\t30\tN2\n90\t30\tN3\n120\t30\tR\n",
        "\ufeffepoch;stage\r\n1;W\r\n2;N1\r\n3;N2\r\n4;N3\r\n5;R\r\n",
        "onset,duration,description\n0,30,W\n5,3,Arousal\n30,30,N1\n60,30,N2\n90,30,N3\n120,30,R\n",
    ],
)
def test_tables_and_texts_are_read(text, tmp_path):
    night, _ = read(tmp_path, "a.tsv", text)
    assert night.stages.tolist() == FIVE


@pytest.mark.parametrize(("scheme", "last"), [("auto", 4), ("aasm", 4), ("rk", 3)])
def test_number_4_is_what_the_scheme_says(scheme, last, tmp_path):
    night, said = read(tmp_path, "a.txt", "0\n1\n2\n4\n", scheme=scheme)
    assert night.stages.tolist() == [0, 1, 2, last]
    assert bool([text for text in said if "4 among them" in text]) == (scheme == "auto")


def test_movement_time_is_unscored_and_noted(tmp_path):
    night, said = read(tmp_path, "a.txt", "W\nMT\nS2\n")
    assert night.stages.tolist() == [0, -1, 2]
    assert any("movement time" in text for text in said)
    assert any("Rechtschaffen" in text for text in said)


def test_rows_that_cannot_be_understood_are_named(tmp_path):
    with pytest.raises(DataError, match="line 3 has the stage 'N22'"):
        read(tmp_path, "a.csv", "stage\nN2\nN22\n")
    with pytest.raises(DataError, match="epoch 2 twice"):
        read(tmp_path, "a.csv", "epoch,stage\n1,W\n2,W\n2,N1\n")
    with pytest.raises(DataError, match="no column of stages"):
        read(tmp_path, "a.csv", "a,b\n1,W\n")
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path, "a.csv", "")
    with pytest.raises(UserError, match=r"ends in '\.xlsx'"):
        read(tmp_path, "a.xlsx", "W")


def test_numbers_left_out_are_unscored(tmp_path):
    night, said = read(tmp_path, "a.csv", "epoch,stage\n1,W\n4,N2\n")
    assert night.stages.tolist() == [0, -1, -1, 2]
    assert any("2 epoch numbers are left out" in text for text in said)


def test_annotations_lie_on_the_true_time_axis(tmp_path):
    found = [
        (0.0, 60.0, "Sleep stage W"),
        (90.0, 30.0, "Sleep stage 4"),
        (100.0, None, "Movement"),
        (60.0, 5.0, "A"),
        (120.0, 90.0, "Sleep stage R"),
    ]
    tals = [[tal(0, *found)] + [tal(i) for i in range(1, 180)]]
    (tmp_path / "a.edf").write_bytes(plus(180, tals=tals).bytes())
    issues = Issues("a.edf")
    night = read_hypnogram(tmp_path / "a.edf", issues=issues)
    assert night.stages.tolist() == [0, 0, -1, 3, 4, 4]  # as long as the recording: what reaches beyond it is left out
    assert any("1 of 6 epochs has no stage" in one.what for one in issues)
    assert any("beyond the recording" in one.what for one in issues)


def test_recording_without_stages_is_refused(tmp_path):
    (tmp_path / "a.edf").write_bytes(plus().bytes())
    with pytest.raises(DataError, match="no annotation of a sleep stage"):
        read_hypnogram(tmp_path / "a.edf")


@pytest.mark.parametrize("ending", [".csv", ".json", ".tsv", ".edf"])
def test_what_is_written_is_read_again(ending, tmp_path):
    if ending == ".edf":
        pytest.importorskip("edfio")
    p = np.random.default_rng(0).dirichlet(np.ones(5), 6)
    p[5] = np.nan
    night = Hypnogram(np.array([0, 1, 2, 3, 4, -1]), p=p)
    again = read_hypnogram(export(night, tmp_path / f"a{ending}"))
    assert again.stages.tolist() == night.stages.tolist()
    if ending in (".csv", ".json"):
        np.testing.assert_allclose(again.p, p, atol=1e-6)


def test_edf_annotations_are_the_same_to_all_readers(tmp_path):
    edfio, mne, pyedflib = (pytest.importorskip(name) for name in ("edfio", "mne", "pyedflib"))
    night = Hypnogram(np.array([0, 1, 2, 3, 4, -1]))
    path = export(night, tmp_path / "a.edf")
    texts = [f"Sleep stage {name}" for name in ("W", "N1", "N2", "N3", "R", "?")]
    wanted = [(30.0 * i, 30.0, text) for i, text in enumerate(texts)]
    assert [tuple(one) for one in edfio.read_edf(path).annotations] == wanted
    raw = mne.io.read_raw_edf(path, verbose="error")
    assert [
        (o, d, t) for o, d, t in zip(raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True)
    ] == wanted
    with pyedflib.EdfReader(str(path)) as reader:
        assert [tuple(one) for one in zip(*reader.readAnnotations(), strict=True)] == wanted
        assert reader.getFileDuration() == 180


def test_agreement_equals_scikit_learn(tmp_path):
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(1)
    a = rng.integers(0, 5, 200)
    b = np.where(rng.random(200) < 0.7, a, rng.integers(0, 5, 200))
    b[:10] = -1
    found = agreement(Hypnogram(a), Hypnogram(b))
    assert found["epochs"] == 190
    assert found["kappa"] == pytest.approx(cohen_kappa_score(a[10:], b[10:]))
    for number, name in enumerate(("Wake", "N1", "N2", "N3", "REM")):
        assert found["by_stage"][name] == pytest.approx(cohen_kappa_score(a[10:] == number, b[10:] == number))
    with pytest.raises(DataError, match="the other 190 of 30 s"):
        agreement(Hypnogram(a), Hypnogram(b[10:]))


def test_file_of_annotations_alone_is_read(tmp_path):
    edfio = pytest.importorskip("edfio")
    given = [
        edfio.EdfAnnotation(0, 60, "Sleep stage W"),
        edfio.EdfAnnotation(60, 90, "Sleep stage 2"),
        edfio.EdfAnnotation(150, 30, "Sleep stage ?"),
    ]
    edfio.Edf([], annotations=given).write(tmp_path / "a-hypnogram.edf")
    assert read_hypnogram(tmp_path / "a-hypnogram.edf").stages.tolist() == [0, 0, 2, 2, 2, -1]


def test_annotations_of_bdf_are_read(tmp_path):
    tals = [[tal(0, (0.0, 60.0, "N3"))] + [tal(i) for i in range(1, 60)]]
    file = plus(form="BDF+C", tals=tals, version=b"\xffBIOSEMI", width=3, annotation_label="BDF Annotations")
    (tmp_path / "a.bdf").write_bytes(file.bytes())
    assert read_hypnogram(tmp_path / "a.bdf").stages.tolist() == [3, 3]


def test_epochs_of_20_seconds_are_recognised(tmp_path):
    night, _ = read(tmp_path, "a.csv", "onset,duration,stage\n0,20,W\n20,20,N1\n40,20,N2\n")
    assert (night.epoch, night.stages.tolist()) == (20.0, [0, 1, 2])
