"""An image classifier with the contract of scikit-learn: ``fit``, ``predict``, ``predict_proba``, ``classes_``, ``score``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_consistent_length, check_is_fitted, column_or_1d

from tapetum.core import files
from tapetum.core.errors import DataError, KindError, TapetumError, UserError, for_python, listed, warn_caller
from tapetum.core.naming import in_python, in_sets
from tapetum.core.options import OPTIONS
from tapetum.core.places import free_folder
from tapetum.core.targets import same_text
from tapetum.core.words import plural
from tapetum.data.images.encode import ImagesError, write_rows
from tapetum.data.images.given import rows_of

TAKEN = "paths, PIL images, an array (N, H, W) or (N, H, W, C), or one column of a data frame"


class TapetumClassifier(ClassifierMixin, BaseEstimator):
    """Classifies images as ``tapetum fit`` does: a probe on pretrained features, fine-tuning where held-out rows show that it helps.

    Args:
        preset: ``"fast"``, ``"good"`` or ``"best"``.
        recipe: the name of a recipe, or a TOML file.
        profile: of the recipe.
        size: of the image in pixels.
        epochs: of fine-tuning; 0 for the probe alone.
        backbone: any timm model.
        weights: ``"auto"``, ``"none"``, or a folder.
        folds: of the cross-validation inside ``fit``.
        holdout: one split instead of folds: the share held out.
        budget: wall time of ``fit``, as ``"10m"``.
        seed: of everything random.
        value_range: the values of black and white in arrays of floats, which are rounded to 8 bits.
        sets: further recipe keys, as ``{"train.batch": 8}``.
        out: a folder in which each ``fit`` makes a run of its own; None: the run is removed when its pipeline is loaded.

    Attributes:
        classes_: the labels in the order of the probabilities.
        pipeline_: the frozen pipeline that answers.
        run_: the folder of the run; None without ``out``.
    """

    def __init__(
        self,
        *,
        preset: str | None = None,
        recipe: Any = None,
        profile: str | None = None,
        size: Any = None,
        epochs: int | None = None,
        backbone: str | None = None,
        weights: Any = None,
        folds: int | None = None,
        holdout: float | None = None,
        budget: str | None = None,
        seed: int | None = None,
        value_range: tuple[float, float] | None = None,
        sets: Mapping[str, Any] | None = None,
        out: Any = None,
    ) -> None:
        self.preset = preset
        self.recipe = recipe
        self.profile = profile
        self.size = size
        self.epochs = epochs
        self.backbone = backbone
        self.weights = weights
        self.folds = folds
        self.holdout = holdout
        self.budget = budget
        self.seed = seed
        self.value_range = value_range
        self.sets = sets
        self.out = out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    @for_python
    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> TapetumClassifier:
        """Train on labelled images.

        Args:
            X: paths, PIL images, an array (N, H, W) or (N, H, W, C), or one column of a data frame.
            y: a label of each image (N,).
            groups: of each image; a group is never divided between the folds inside. scikit-learn's searches pass them on
                under metadata routing.
            sample_weight: of each image, 0 or more.

        Raises:
            ImagesError: X or y is not of the wanted shape, or there is one class.
            DataError: an image cannot be read.
        """
        images = self._images(X)
        self._in_colour = getattr(images[0], "ndim", 0) == 3
        self._warn_of_alpha(images[0])
        if y is None:
            raise ImagesError("fit requires y to be passed, but the target y is None", need="a label of each image")
        labels = _labels(y)
        check_consistent_length(images, labels, *([] if groups is None or not hasattr(groups, "__len__") else [groups]))
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ImagesError(f"y has one class, {classes.tolist()[0]!r}", need="two classes or more")
        columns: dict[str, Any] = {"row": [str(row) for row in range(len(images))]}
        names = _names(classes.tolist())
        columns["label"] = [names[code] for code in codes]
        if groups is not None:
            columns["group"] = _groups(groups)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, labels, ensure_non_negative=True)
            if not weight.any():
                raise ImagesError("every sample_weight is zero", need="a weight above 0")
            if len(np.unique(codes[weight > 0])) < 2:
                raise ImagesError("the images with a weight above 0 have one class", need="two classes or more")
            columns["weight"] = weight
        self.run_, self.pipeline_ = self._train(images, columns, names)
        self.classes_ = classes
        return self

    @for_python
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class (N, K) in the order of ``classes_``; an image that cannot be read is a row of NaN."""
        check_is_fitted(self)
        found = self.pipeline_.predict_proba(self._asked(X), value_range=self.value_range)
        if found.problems:
            warn_caller(f"{plural(len(found.problems), 'image')} cannot be read: {_reasons(found.problems)}")
        p = np.asarray(found, dtype=np.float64)[:, self._order()]
        return p / p.sum(axis=1, keepdims=True)

    @for_python
    def predict(self, X: Any) -> np.ndarray:
        """Return the decided label of each image (N,), as in ``classes_``.

        Raises:
            DataError: an image cannot be read; :meth:`predict_proba` goes on without it.
        """
        check_is_fitted(self)
        found = self.pipeline_.predict(self._asked(X), value_range=self.value_range)
        if found.problems:
            raise DataError(
                f"{len(found.problems)} of {plural(len(found), 'image')} cannot be read: {_reasons(found.problems)}",
                fix="leave them out, or call predict_proba, where they are rows of NaN",
            )
        place = {name: number for number, name in enumerate(_names(self.classes_.tolist()))}
        answers: np.ndarray = self.classes_[[place[name] for name in found]]
        return answers

    def _order(self) -> list[int]:
        known = list(self.pipeline_.classes_)
        return [known.index(name) for name in _names(self.classes_.tolist())]

    def _warn_of_alpha(self, image: Any) -> None:
        """Warn that the last of 2 or 4 channels of an array is taken as alpha where the recipe does not say what becomes of it."""
        channels = getattr(image, "shape", (0,))[0 if hasattr(image, "detach") else -1]
        deep = str(getattr(image, "dtype", "")).endswith("uint16")
        if self._in_colour and channels in (2, 4) and not deep and self.recipe is None and "input.alpha" not in (self.sets or {}):
            warn_caller(
                f"the last of {plural(channels, 'channel')} of the arrays is taken as alpha and removed over white;"
                ' sets={"input.alpha": "keep"} takes it as a channel'
            )

    def _asked(self, X: Any) -> list[Any]:
        """Return X as a list of images to answer.

        Raises:
            ImagesError: an array without channels, where those of ``fit`` had some: most likely one image, whose rows would be answered.
        """
        images = self._images(X)
        if getattr(self, "_in_colour", False) and not isinstance(X, (list, tuple)) and getattr(images[0], "ndim", 0) == 2:
            raise _one_image(X)
        return images

    def _images(self, X: Any) -> list[Any]:
        """Return X as a list of images.

        Raises:
            ImagesError: an array that holds no images, or nothing at all.
            KindError: something else.
        """
        if hasattr(X, "tocsr"):
            raise KindError("a sparse matrix holds no images", need=TAKEN)
        if hasattr(X, "columns"):
            if len(X.columns) != 1:
                raise ImagesError(
                    f"X is a table of {plural(len(X.columns), 'column')}", need="the column of paths alone, as table[['file']]"
                )
            X = X[X.columns[0]]
        if isinstance(X, (str, os.PathLike, Image.Image)):
            raise KindError(f"X is one {type(X).__name__}", need=TAKEN, fix="give a list, also of one image")
        if not hasattr(X, "__len__"):
            raise KindError(f"X is a {type(X).__name__}", need=TAKEN, fix="make it a list, as list(X)")
        if not isinstance(X, (list, tuple)):
            X = X if hasattr(X, "detach") else np.asarray(X)
            is_column = isinstance(X, np.ndarray) and X.dtype.kind in "OUS" and X.ndim in (1, 2) and X.size == len(X)
            if X.ndim not in (3, 4) and not is_column:
                shape = "x".join(map(str, X.shape))
                raise ImagesError(f"X is an array of shape {shape}. Reshape your data: a row is an image", need=TAKEN)
            if X.ndim == 3 and X.shape[-1] <= 4 < X.shape[1]:
                raise _one_image(X)
            if isinstance(X, np.ndarray) and X.ndim > 2:
                if len(X) and not X.size:
                    raise ImagesError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required.", need="images with pixels")
                assert_all_finite(X, input_name="X")
            X = X.ravel().tolist() if X.ndim < 3 else X
        images = list(X)
        if not images:
            raise ImagesError("Found array with 0 sample(s): X holds no image", need=TAKEN)
        return images

    def _train(self, images: Sequence[Any], columns: Mapping[str, Any], names: Sequence[str]) -> tuple[Path | None, Any]:
        """Run the chain; return the run's folder, if it stays, and the pipeline."""
        from tapetum import api
        from tapetum.pipeline import Pipeline

        options: dict[str, Any] = {"recipe": self.recipe, "profile": self.profile, "preset": self.preset, "budget": self.budget}
        for name in ("size", "epochs", "backbone", "weights", "folds", "holdout", "seed"):
            options[name] = getattr(self, name)
        options["sets"] = self.sets
        if "group" in columns:
            options["group"] = "group"
        with tempfile.TemporaryDirectory(prefix="tapetum-") as aside:
            run = Path(aside) / "run" if self.out is None else free_folder(_folder(self.out) / "run")
            paths = write_rows(rows_of(images, self.value_range), run.with_name(f"{run.name}-images"))
            frame = pl.DataFrame({**columns, "path": paths})
            target = {"name": "label", "kind": "single", "classes": list(names)}
            try:
                api.fit(frame, run, target=target, id="row", path="path", command="TapetumClassifier.fit(…)", **options)
            except TapetumError as error:  # whose mends are arguments of api.fit
                keys = {name: option.key for name, option in OPTIONS.items() if name not in self.get_params()}
                for part in ("what", "need", "fix"):
                    text = getattr(error, part)
                    setattr(error, part, text and in_sets(in_python(text), keys))
                raise
            return (None if self.out is None else run), Pipeline.load(run)


def _one_image(X: Any) -> ImagesError:
    shape = "x".join(map(str, X.shape))
    return ImagesError(f"X is an array of shape {shape}, which may be one image", need=TAKEN, fix="give a list, also of one image: [x]")


def _names(values: Sequence[Any]) -> list[str]:
    """Return a name for each of some values: its text, or its number where texts are blank, doubled, or cannot be written."""
    texts = [same_text(str(one)) for one in values]
    plain = len({text.strip() for text in texts}) == len(texts) and all(text and text == text.strip() for text in texts)
    return texts if plain and all(map(files.can_hold, texts)) else [f"class {number}" for number in range(len(texts))]


def _groups(groups: Any) -> list[str]:
    """Return the name of each image's group.

    Raises:
        ImagesError: not one group an image, or blank ones.
    """
    column = np.asarray(_as_given(groups))
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    if column.ndim != 1:
        raise ImagesError(f"groups has the shape {'x'.join(map(str, column.shape)) or '()'}", need="a group of each image (N,)")
    found: list[Any] = column.tolist()
    if any(map(_is_blank, column)):
        raise ImagesError("groups has blank values", need="a group of each image")
    distinct = list(dict.fromkeys(found))
    name_of = dict(zip(distinct, _names(distinct), strict=True))
    return [name_of[one] for one in found]


def _as_given(values: Any) -> Any:
    """Return a list of texts and other values as an array of objects: numpy makes texts of all of them, of NaN "nan" and of 1 "1"."""
    texts = sum(isinstance(one, str) for one in values) if isinstance(values, (list, tuple)) else 0
    if not 0 < texts < len(values):
        return values
    array = np.empty(len(values), dtype=object)
    for number, one in enumerate(values):
        array[number] = one
    return array


def _labels(y: Any) -> np.ndarray:
    """Return y as an array (N,) of one kind of labels.

    Raises:
        ImagesError: blank labels, or objects of several kinds.
        ValueError: what scikit-learn refuses: several columns, numbers that are not finite or not whole.
    """
    plain = getattr(getattr(y, "dtype", None), "numpy_dtype", None)  # of pandas' Int64 and boolean, which would become floats
    if plain is not None and not y.isna().any():
        y = y.to_numpy(dtype=plain)
    if np.ma.is_masked(y):
        raise ImagesError("y has masked labels: Input y contains NaN", need="a label of each image")
    labels = column_or_1d(_as_given(y), warn=True)
    if labels.dtype.kind in "OM" and any(map(_is_blank, labels)):
        raise ImagesError("y has blank labels: Input y contains NaN", need="a label of each image")
    kinds = {type(one) for one in labels} if labels.dtype.kind == "O" else set()
    if not all(issubclass(kind, str) for kind in kinds):
        names = listed(sorted(kind.__name__ for kind in kinds))
        raise ImagesError(
            f"y is an array of objects ({names}). Unknown label type",
            need="labels of one type",
            fix="convert them, as y.astype(int) or y.astype(str)",
        )
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels


def _is_blank(one: Any) -> bool:
    """Tell whether a label or a group is None, NaN, or what pandas and numpy have for a blank."""
    if isinstance(one, (float, np.floating)):
        return bool(np.isnan(one))
    return one is None or type(one).__name__ in ("NAType", "NaTType") or (isinstance(one, np.datetime64) and bool(np.isnat(one)))


def _folder(out: Any) -> Path:
    """Return the folder in which runs are made.

    Raises:
        KindError: no path.
        UserError: a file.
    """
    if not isinstance(out, (str, os.PathLike)):
        raise KindError(f"out is {out!r}", need="the path of a folder")
    if Path(out).is_file():
        raise UserError(f"out is {out}, a file", need="the path of a folder")
    return Path(out)


def _reasons(problems: Mapping[int, str]) -> str:
    return listed(f"number {row} ({why})" for row, why in sorted(problems.items()))
