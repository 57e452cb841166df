"""TapetumClassifier keeps scikit-learn's contract: its own checks on a stand-in for training, and small real fits."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

import images
import tapetum
from tapetum.core.answers import Labels, Probabilities
from tapetum.core.errors import DataError, KindError, UserError
from tapetum.estimator import TapetumClassifier

SMALL = {
    "epochs": 0,
    "holdout": 0.34,
    "size": 32,
    "backbone": "test_efficientnet",
    "weights": "none",
    "seed": 0,
    "sets": {"probe.strengths": [1.0, 100.0], "train.threads": 1, "train.precision": "32"},
}


class Centroids:
    """Answers by the nearest mean of a class, as a pipeline would."""

    def __init__(self, rows, labels, names, weight):
        x = np.array([np.ravel(row) for row in rows], dtype=np.float64)
        labels = np.array(labels)
        self.classes_ = tuple(names)
        self.means = np.array([np.average(x[labels == name], axis=0, weights=weight[labels == name]) for name in names])

    def predict_proba(self, rows, value_range=None):
        x = np.array([np.ravel(row) for row in rows], dtype=np.float64)
        distance = ((x[:, None] - self.means) ** 2).sum(axis=-1)
        p = np.exp(-(distance - distance.min(axis=1, keepdims=True)))
        return Probabilities.of(p / p.sum(axis=1, keepdims=True), {})

    def predict(self, rows, value_range=None):
        return Labels([self.classes_[k] for k in self.predict_proba(rows).argmax(axis=1)])


class OfRows(TapetumClassifier):
    """Takes rows of numbers as images of one line, so that scikit-learn's checks can call it; training is the stand-in's."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def _images(self, X):
        if not hasattr(X, "tocsr"):
            X = np.asarray(X)
        if isinstance(X, np.ndarray) and X.ndim == 2:
            if np.iscomplexobj(X):
                raise ValueError("Complex data not supported")
            X = X.astype(float)[:, None, :]
        return super()._images(X)

    def _train(self, images, columns, names):
        weight = np.asarray(columns.get("weight", np.ones(len(images))))
        present = [name for name in names if weight[np.array(columns["label"]) == name].any()]
        assert present == list(names)
        return None, Centroids(images, columns["label"], names, weight)


NOT_FOR_IMAGES = {
    "check_n_features_in": "images of one fit may have different sizes, so there is no number of features",
    "check_n_features_in_after_fitting": "the same",
    "check_estimators_empty_data_messages": "an image without pixels is refused; the message has the shape of an image",
}


def test_scikit_learn_knows_that_x_is_no_table():
    with pytest.warns(SkipTestWarning, match="requires input"):
        check_estimator(TapetumClassifier())


def test_scikit_learns_checks_pass_but_those_of_tables():
    found = check_estimator(OfRows(), expected_failed_checks=NOT_FOR_IMAGES, on_skip=None, on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in found if one["status"] == "failed"}
    assert {one["check_name"] for one in found if one["status"] == "xfail"} == NOT_FOR_IMAGES.keys()
    assert failed == {}, "\n".join(f"{name}: {error!r}" for name, error in failed.items())
    assert len(found) > 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return images.plant(tmp_path_factory.mktemp("estimator"), classes=2, each=8, size=32, group_size=2)


@pytest.fixture(scope="module")
def fitted(photos):
    return tapetum.TapetumClassifier(**SMALL).fit([photos.root / name for name in photos.files], photos.labels, groups=photos.groups)


def test_paths_arrays_images_and_columns_get_the_same_answers(photos, fitted):
    paths = [str(photos.root / name) for name in photos.files]
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    p = fitted.predict_proba(paths)
    for given in (np.array(paths), arrays, [Image.open(path) for path in paths], pl.Series(paths), pl.DataFrame({"file": paths})):
        assert np.allclose(fitted.predict_proba(given), p)
    assert fitted.predict(paths).tolist() == [fitted.classes_[k] for k in p.argmax(axis=1)]
    assert 0 <= fitted.score(paths, photos.labels) <= 1
    assert is_classifier(fitted)
    assert fitted.run_ is None


def test_arrays_train_as_their_files_do(photos, fitted):
    arrays = np.stack([np.asarray(Image.open(photos.root / name)) for name in photos.files])
    again = clone(fitted).fit(arrays, np.array(photos.labels), groups=photos.groups)
    assert np.allclose(again.predict_proba(arrays), fitted.predict_proba(arrays), atol=1e-5)


def test_whole_numbers_stay_labels_and_runs_are_kept(photos, tmp_path):
    paths = np.array([str(photos.root / name) for name in photos.files])
    labels = np.array([{"ant": 30, "bee": 4}[name] for name in photos.labels])
    model = TapetumClassifier(**SMALL, out=tmp_path / "kept").fit(paths, labels)
    assert model.classes_.tolist() == [4, 30]
    assert set(model.predict(paths)) <= {4, 30}
    assert model.predict_proba(paths).argmax(axis=1).tolist() == [[4, 30].index(label) for label in model.predict(paths)]
    assert (model.run_ / "report.html").exists()


def test_search_and_cross_validation_with_groups(photos):
    paths = np.array([str(photos.root / name) for name in photos.files])
    cv = GroupKFold(2)
    answers = cross_val_predict(TapetumClassifier(**SMALL), paths, photos.labels, groups=photos.groups, cv=cv)
    assert set(answers) <= {"ant", "bee"}
    search = GridSearchCV(TapetumClassifier(**SMALL), {"size": [16, 32]}, cv=cv, refit=False).fit(
        paths, photos.labels, groups=photos.groups
    )
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_what_is_no_image_is_refused(photos, fitted):
    with pytest.raises(ValueError, match=r"shape 4x3.*Reshape your data"):
        fitted.predict(np.zeros((4, 3)))
    with pytest.raises(KindError, match="X is one str"):
        fitted.predict("photo.png")
    with pytest.raises(ValueError, match="one class"):
        TapetumClassifier().fit(["a.png", "b.png"], ["x", "x"])
    with pytest.raises(UserError, match="2 columns"):
        fitted.predict(pl.DataFrame({"a": ["x"], "b": ["y"]}))


def test_an_image_that_cannot_be_read_is_named(photos, fitted, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    given = [photos.root / photos.files[0], tmp_path / "broken.png"]
    with pytest.raises(DataError, match=r"1 of 2 images cannot be read: number 1"):
        fitted.predict(given)
    with pytest.warns(UserWarning, match="number 1"):
        assert np.isnan(fitted.predict_proba(given)).any(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.array([0, 1] * 3, dtype=object), "array of objects .int."),
        (np.array(["a", 1] * 3, dtype=object), "array of objects .int, str."),
        (np.array(["a", None] * 3, dtype=object), "blank labels"),
        (np.array(["2020", "NaT"] * 3, dtype="datetime64[D]"), "blank labels"),
        (np.zeros(6), "one class, 0.0"),
    ],
)
def test_labels_that_are_no_classes_are_named(y, says):
    with pytest.raises(UserError, match=says):
        TapetumClassifier().fit(["x.png"] * 6, y)


def test_labels_of_pandas_keep_their_type():
    pandas = pytest.importorskip("pandas")
    rows = np.arange(24).reshape(6, 4)
    for dtype, expected in (("Int64", np.int64), ("boolean", np.bool_), ("int8", np.int8)):
        y = pandas.Series([0, 1] * 3, dtype=dtype)
        assert OfRows().fit(rows, y).predict(rows).dtype == expected
    for y in (pandas.Series(["a", pandas.NA] * 3, dtype="string"), pandas.Series([0, pandas.NA] * 3, dtype="Int64")):
        with pytest.raises(ValueError, match="NaN"):
            OfRows().fit(rows, y)


@pytest.mark.parametrize("blank", [None, np.nan])
def test_blank_groups_are_refused(blank):
    with pytest.raises(UserError, match="groups has blank values"):
        TapetumClassifier().fit(["x.png"] * 4, [0, 1, 0, 1], groups=[1, 1, blank, blank])


def test_a_place_that_can_hold_no_runs_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for out, says in ((5, "out is 5"), (tmp_path / "file", "a file")):
        with pytest.raises(UserError, match=says):
            TapetumClassifier(out=out).fit(["x.png"] * 4, [0, 1, 0, 1])


def test_a_list_of_texts_and_others_is_not_made_texts():
    rows = np.arange(24).reshape(6, 4)
    for y, says in (
        (["a", float("nan"), "b"] * 2, "blank labels"),
        (["1", 1, "b"] * 2, "int, str"),
        (["True", True, "b"] * 2, "bool, str"),
    ):
        with pytest.raises(UserError, match=says):
            OfRows().fit(rows, y)
    with pytest.raises(UserError, match="masked labels"):
        OfRows().fit(rows, np.ma.array([0, 1] * 3, mask=[1, 0] * 3))


@pytest.mark.parametrize("pair", [("e\u0301", "b"), ("e\u0301", "\u00e9"), ("a\ud800", "b")])
def test_labels_of_any_text_come_back_as_given(photos, pair):
    paths, labels = [photos.root / name for name in photos.files], [pair[name == "bee"] for name in photos.labels]
    model = TapetumClassifier(**SMALL).fit(paths, labels)
    assert set(model.classes_) == set(pair)
    p = model.predict_proba(paths)
    assert model.predict(paths).tolist() == [model.classes_[k] for k in p.argmax(axis=1)]


class Kept(OfRows):
    """Keeps what would be trained on."""

    def _train(self, images, columns, names):
        self.columns = columns
        return super()._train(images, columns, names)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([1, 1.0, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3]),
        ([1, "1", 2, 2, 3, 3], [1, 4, 2, 2, 3, 3]),
        (pl.DataFrame({"g": ["a", "a", "b", "b", "c", "c"]}), [1, 1, 2, 2, 3, 3]),
        (np.array([[1], [1], [2], [2], [3], [3]]), [1, 1, 2, 2, 3, 3]),
    ],
)
def test_equal_groups_stay_together_and_others_apart(groups, expected):
    found = Kept().fit(np.arange(24).reshape(6, 4), [0, 1] * 3, groups=groups).columns["group"]
    assert [found.index(one) for one in found] == [expected.index(one) for one in expected]


@pytest.mark.parametrize("groups", [pl.DataFrame({"g": range(6), "h": range(6)}), (g for g in range(6))])
def test_groups_of_another_shape_are_refused(groups):
    with pytest.raises(UserError, match="groups has the shape"):
        OfRows().fit(np.arange(24).reshape(6, 4), [0, 1] * 3, groups=groups)


def test_channels_before_rows_are_refused(photos):
    arrays = np.stack([np.asarray(Image.open(photos.root / name)) for name in photos.files])
    for given in (arrays.transpose(0, 3, 1, 2), list(arrays.transpose(0, 3, 1, 2)), arrays[..., 0][:, None]):
        with pytest.raises(KindError, match=r"number 0: an array of shape \dx32x32 may be \(C, H, W\)"):
            TapetumClassifier(**SMALL).fit(given, photos.labels)


def test_one_image_is_not_answered_row_by_row(photos, fitted):
    torch = pytest.importorskip("torch")
    arrays = np.stack([np.asarray(Image.open(photos.root / name)) for name in photos.files])
    with pytest.raises(UserError, match="32x32x3, which may be one image"):
        fitted.predict(arrays[0])
    of_tensors = clone(fitted).fit(torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy()), photos.labels, groups=photos.groups)
    with pytest.raises(UserError, match="3x32x32, which may be one image"):
        of_tensors.predict_proba(torch.from_numpy(arrays[0].transpose(2, 0, 1).copy()))
    assert np.allclose(of_tensors.predict_proba(arrays), fitted.predict_proba(arrays), atol=1e-5)


def test_a_generator_is_named(fitted):
    with pytest.raises(KindError, match="X is a generator"):
        fitted.predict(name for name in ["a.png"])


def test_alpha_of_arrays_is_told_and_may_be_a_channel(photos):
    arrays = np.stack([np.asarray(Image.open(photos.root / name)) for name in photos.files])
    four = np.concatenate([arrays, 255 - arrays[..., :1]], axis=-1)
    with pytest.warns(UserWarning, match="last of 4 channels of the arrays is taken as alpha"):
        TapetumClassifier(**SMALL).fit(four, photos.labels, groups=photos.groups)
    kept = TapetumClassifier(**{**SMALL, "sets": {**SMALL["sets"], "input.alpha": "keep"}}).fit(four, photos.labels, groups=photos.groups)
    assert kept.pipeline_.members[0].form.channels == 4
    assert not np.allclose(kept.predict_proba(four), kept.predict_proba(np.concatenate([arrays, arrays[..., :1]], axis=-1)), atol=1e-4)


def test_the_mend_is_one_that_the_classifier_takes(photos, tmp_path):
    paths, labels = [str(photos.root / name) for name in photos.files], photos.labels
    gone = [*paths[:-1], str(tmp_path / "gone.png")]
    with pytest.raises(DataError, match=r"1 of 16 .* go on without them: sets=\{\"data.on_bad\": 'skip'\}"):
        TapetumClassifier(**SMALL).fit(gone, labels)
    skipping = TapetumClassifier(**{**SMALL, "sets": {**SMALL["sets"], "data.on_bad": "skip"}})
    assert skipping.fit(gone, labels).predict(paths).shape == (16,)
