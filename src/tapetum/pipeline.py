"""The frozen pipeline: a folder that predicts with nothing else at hand, by learn's inference and decide's steps.

What happens to an image stands here in order: compose the row's files, transform, every member's fold models, then
:func:`combine` — calibrate, average folds, blend, derive, decide — exactly as ``decisions.json`` says.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError

from tapetum.core import answers, files
from tapetum.core.answers import labels
from tapetum.core.config import Data, Input, Model, Predict, SequenceConfig
from tapetum.core.errors import DataError, EnvironmentFault, UserError
from tapetum.core.expressions import compose, expression_names
from tapetum.core.progress import Log
from tapetum.core.runs import PROBE
from tapetum.core.scoring import score_of
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.core.vectors import Gallery, Neighbors
from tapetum.data import layouts
from tapetum.data.images import given
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.form import Form
from tapetum.data.images.given import Source
from tapetum.data.images.transforms import EvalTransform
from tapetum.decide import chain
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows
from tapetum.learn import inference, models, windows
from tapetum.learn.embedding import embed
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models import sequence as over
from tapetum.learn.models import weights as pretrained
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.side import Scaling

MARKER, FORMAT = "pipeline.json", 1
Tick = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of the pipeline and how it sees images.

    Args:
        name: of the member.
        networks: fold → network (−1: refit on all rows).
        settings: the recipe's ``[input]``.
        predict: views and how they are reduced.
        form: channels and depth of the images it learned from.
        engine: how it computed.
        scalings: fold → scaling of side numbers.
        shared: all networks have one backbone, which then runs once.
        sequence: the recipe's section of a member over neighbouring images; of others its default.
    """

    name: str
    networks: dict[int, models.Network]
    settings: Input
    predict: Predict
    form: Form
    engine: Engine
    scalings: dict[int, Scaling | None]
    shared: bool
    sequence: SequenceConfig


class Pipeline:
    """A loaded pipeline.

    Args:
        folder: where it was loaded from.
        spec: its ``pipeline.json``.
        members: with their networks.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], members: list[Member]) -> None:
        self.folder, self.spec, self.members = folder, spec, members
        self.galleries = {(g["member"], g["target"], g["fold"]): Gallery.read(folder / g["file"]) for g in spec.get("galleries", ())}
        self.decisions: dict[str, Any] = spec["decisions"]
        self.targets = {t["name"]: Target.from_dict(t) for t in spec["targets"]}
        self.draws: dict[str, dict[str, np.ndarray]] = {}  # of the last answer: member → target → (V, N, K), where predict.keep_draws
        self.problems: dict[int, str] = {}  # of the last answer: row number → why it has none

    @classmethod
    def load(cls, path: Path | str) -> Pipeline:
        """Load a pipeline folder, or the one of a run.

        Raises:
            UserError: there is no pipeline.
        """
        folder = Path(path)
        if not (folder / MARKER).exists() and (folder / "pipeline" / MARKER).exists():
            folder = folder / "pipeline"
        if not (folder / MARKER).exists():
            raise UserError(f"{path} holds no pipeline (no {MARKER})", fix="make one with: tapetum fit DATA -o RUN")
        spec = _checked(files.read_json(folder / MARKER), folder)
        try:
            Data.model_validate(spec["data"])
            return cls(folder, spec, [_load_member(folder, m, spec["targets"]) for m in spec["members"]])
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:  # RuntimeError: tensors of another shape
            first = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(
                f"{folder} is damaged, or its files are of several pipelines ({first})", fix="copy the whole folder again"
            ) from None

    @property
    def scored(self) -> dict[str, Target]:
        """The targets that are answered, by name."""
        return {name: target for name, target in self.targets.items() if target.scored}

    @property
    def classes_(self) -> Any:
        """Class names in the order of the probabilities: a tuple, or a dict of tuples where there are several targets."""
        found = {name: target.classes for name, target in self.scored.items()}
        return next(iter(found.values())) if len(found) == 1 else found

    def predict_proba(self, images: Any, *, value_range: tuple[float, float] | None = None) -> Any:
        """Return probabilities (N, K) float32 (a dict of them where there are several targets); NaN rows for images that cannot be read.

        Whatever is given is composed as the files of the training data were: orientation, alpha, palette, depth, crop, bands, colour.

        Args:
            images: one image, or a list or an iterator of them: paths, bytes, open binary files, PIL images, arrays (H, W) or (H, W, C) of
                uint8 or uint16, torch tensors (H, W) or (C, H, W); a row of several files is a tuple of such. Or a table of paths
                (CSV, Parquet, polars, pandas), a folder or an archive. An array's 2nd of 2 or 4th of 4 channels is alpha, unless the
                network takes as many channels.
            value_range: (black, white) of arrays and tensors of floats, which are refused without it.

        Returns:
            :class:`tapetum.core.answers.Probabilities`: one input is one row, N inputs are N rows in order, none are (0, K).
            ``problems`` says why rows are NaN.

        Raises:
            KindError: (a TypeError) something else is given.
        """
        answered = self._answered(images, value_range)
        return answers.of_targets({name: answers.Probabilities.of(d.p, self.problems) for name, d in answered.items()}, self.problems)

    def predict(self, images: Any, *, value_range: tuple[float, float] | None = None) -> Any:
        """Return a list of labels (or numbers, or lists of labels), None where an image cannot be read; see :meth:`predict_proba`.

        Returns:
            :class:`tapetum.core.answers.Labels`: one for each input, also for a single one; ``problems`` says why labels are None.
        """
        answered = self._answered(images, value_range)
        return answers.of_targets({name: answers.Labels(labels(d), self.problems) for name, d in answered.items()}, self.problems)

    def score(self, images: Any, labels: Any, metric: str | None = None, *, value_range: tuple[float, float] | None = None) -> Any:
        """Return how good the answers to labelled images are, as scikit-learn's ``score``; see :func:`tapetum.core.scoring.score_of`.

        Args:
            images: as for :meth:`predict`.
            labels: the truth of each image, None where unknown; of several targets a dict of such lists.
            metric: its name; None: accuracy (one class an image), macro-F1 (several labels) or R² (numbers).
            value_range: as for :meth:`predict_proba`.
        """
        return score_of(self._answered(images, value_range), labels, metric)

    def answer(
        self,
        manifest: Manifest,
        log: Log | None = None,
        tick: Tick | None = None,
        *,
        sources: Sequence[Sequence[Source]] | None = None,
    ) -> dict[str, Dense]:
        """Return one Dense a scored target for every row of a manifest, in its order.

        Args:
            manifest: the rows.
            log: told why rows are missing; :attr:`problems` keeps it.
            tick: told how many images are done, of how many.
            sources: what each row is composed of, where that is not the manifest's files.
        """
        self.problems, self.draws = {}, {}
        if not len(manifest):
            return {name: _nothing(target) for name, target in self.scored.items()}
        rows = Rows.of(manifest)
        rows = dataclasses.replace(rows, fold=np.full(len(rows), -1, dtype=np.int16))
        answered: dict[str, dict[int, dict[str, Dense]]] = {}
        near: list[Neighbors] = []
        known: dict[Any, dict[int, str]] = {}  # what cannot be read is found out once for all members that read alike
        passes = sum(_passes(member) for member in self.members)
        done = 0
        for member in self.members:
            count = None if tick is None else _counted(tick, done, passes, len(rows))
            images = _images(member, manifest, sources)
            images.missing = known.setdefault((images.how, images.form), images.missing)
            answered[member.name], why, self.draws[member.name] = _answer(member, images, self.targets, log, count)
            done += _passes(member) * len(rows)
            self.problems.update(why)
            near += _near(member, images, {key[1:]: g for key, g in self.galleries.items() if key[0] == member.name})
        rows = dataclasses.replace(rows, near=Neighbors.joined(near) if near else None)
        ids = manifest.row_ids
        for row, reason in sorted(self.problems.items()):
            if log is not None:
                log(f"warning: missing: {ids[row]} ({reason})")
        return combine(self.decisions, self.scored, answered, rows, log or _warn)

    def read(self, sources: Sequence[Any], log: Log, **declared: Any) -> Manifest:
        """Return the rows that some sources name, composed as the pipeline's own data were; each source is read by its own layout.

        Args:
            sources: files, folders, archives, tables or frames.
            log: told how they are read.
            declared: columns, ``layout`` and ``on_bad``, as for :func:`tapetum.api.predict`.
        """
        return layouts.loose(sources, Data.model_validate(self.spec["data"]), log, targets=self.targets, declared=declared)

    def _answered(self, images: Any, value_range: tuple[float, float] | None) -> dict[str, Dense]:
        """Return the answers for whatever :meth:`predict_proba` takes."""
        if isinstance(images, (str, os.PathLike)) and images != "" and layouts.holds_rows(Path(images)):  # Path("") is the folder at work
            return self.answer(self.read([Path(images)], _quiet))
        if isinstance(images, pl.LazyFrame):
            images = images.collect()
        if layouts.is_frame(images) and len(images):
            return self.answer(self.read([images], _quiet))
        rows = [] if layouts.is_frame(images) else given.rows_of(images, value_range)
        paths = [[str(one) if isinstance(one, (str, Path)) else f"file {i + 1}" for i, one in enumerate(row)] for row in rows]
        table = pl.DataFrame({"row_id": [str(i) for i in range(len(rows))], "path": paths}, schema=_LOOSE)
        return self.answer(Manifest(table, (), Path()), sources=rows)


def _checked(spec: Any, folder: Path) -> dict[str, Any]:
    """Return what pipeline.json holds, as this version reads it.

    Raises:
        EnvironmentFault: a newer version of Tapetum wrote it.
        DataError: something of it is absent.
    """
    found = spec.get("format") if isinstance(spec, dict) else None
    if isinstance(found, int) and found > FORMAT:
        what = f"{folder / MARKER} has format {found}, from a newer version of Tapetum"
        raise EnvironmentFault(what, need=f"format {FORMAT} or older", fix="update Tapetum")
    absent = [
        key for key in ("format", "targets", "sources", "data", "members", "decisions") if not isinstance(spec, dict) or not spec.get(key)
    ]
    if absent:
        raise DataError(f"{folder / MARKER} is damaged: {absent[0]!r} is absent", fix="copy the whole folder again")
    return dict(spec)


_LOOSE: dict[str, Any] = {"row_id": pl.String, "path": pl.List(pl.String)}


def _quiet(_: str) -> None:
    """Say nothing."""


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


def _nothing(target: Target) -> Dense:
    """Return the answers for no rows."""
    p = np.zeros((0, target.width), dtype=np.float32)
    return Dense(target, np.array([], dtype=object), p, p, np.array([], dtype=np.int16), np.array([], dtype=object))


def _images(member: Member, manifest: Manifest, sources: Sequence[Sequence[Source]] | None) -> ImageDataset:
    return ImageDataset(manifest, member.settings, EvalTransform(member.settings), form=member.form, sources=sources)


def _near(member: Member, images: ImageDataset, galleries: Mapping[tuple[str, int], Gallery]) -> list[Neighbors]:
    """Return the nearest rows in each of a member's galleries, each searched with the vectors of its own fold's model."""
    runtime = Runtime(member.engine)
    every = np.arange(len(images.manifest))
    found = []
    for (target, fold), gallery in galleries.items():
        how = {"scaling": member.scalings[fold], "batch": member.predict.batch}
        found.append(gallery.nearest(embed(member.networks[fold], images, every, target, runtime, **how).matrix))  # type: ignore[arg-type]
    return found


def _passes(member: Member) -> int:
    """Return how often a member sees each image: once for each network that has its own backbone."""
    return 1 if member.shared else len(member.networks)


def _counted(tick: Tick, before: int, passes: int, rows: int) -> Callable[[int], None]:
    """Return what a member tells how many images it has seen, over all its passes."""
    return lambda done: tick((before + done) // max(passes, 1), rows)


def _after(count: Callable[[int], None], before: int, done: int) -> None:
    count(before + done)


def _answer(
    member: Member,
    images: ImageDataset,
    targets: Mapping[str, Target],
    log: Log | None = None,
    count: Callable[[int], None] | None = None,
) -> tuple[dict[int, dict[str, Dense]], dict[int, str], dict[str, np.ndarray]]:
    table = images.manifest
    runtime = Runtime(member.engine, log=log)
    every = np.arange(len(table))
    source = None
    if member.sequence.length > 1:
        source = dataclasses.replace(windows.of_recipe(table, member.sequence), images=images)
    groups = [list(member.networks)] if member.shared else [[fold] for fold in member.networks]
    found: dict[int, inference.Answers] = {}
    for number, folds in enumerate(groups):
        after = None if count is None else functools.partial(_after, count, number * len(table))
        scalings = {fold: member.scalings[fold] for fold in folds}
        sides = {f: None if s is None else runtime.to_device(torch.from_numpy(s.apply(table))) for f, s in scalings.items()}
        networks = {fold: runtime.to_device(member.networks[fold]) for fold in folds}
        if source is not None:
            side = sides[folds[0]]
            padded = None if side is None else windows.padded(side, 0.0)
            found |= windows.answer_folds(networks, source, every, member.predict, runtime, side=padded, after_batch=after)
            continue
        found |= inference.answer_folds(
            networks,
            images,
            every,
            member.predict,
            runtime,
            side=sides,
            key=("predict", member.name),
            keep_draws=member.predict.keep_draws,
            after_batch=after,
        )
    empty = {name: np.full((len(table), t.width), np.nan, dtype=np.float32) for name, t in targets.items()}
    dense = {fold: answers.dense(targets, table.row_ids, empty, fold) for fold, answers in found.items()}
    first = next(iter(found.values()))
    kept = {name: np.mean([answers.draws[name] for answers in found.values()], axis=0) for name in first.draws}
    return dense, first.reasons, kept


def combine(
    decisions: Mapping[str, Any],
    targets: Mapping[str, Target],
    answers: Mapping[str, Mapping[int, Mapping[str, Dense]]],
    rows: Rows,
    log: Log | None = None,
) -> dict[str, Dense]:
    """Turn the members' answers into final ones, as ``decisions.json`` says.

    Args:
        decisions: from :mod:`tapetum.workflow.stages.decide`.
        targets: the scored ones, derived ones among them.
        answers: member → fold → target → Dense, all over the same rows.
        rows: groups, sequence and position of the rows, for context steps.
        log: told of decision steps that these rows are too few for.

    Returns:
        target → final Dense.
    """
    chosen = decisions["choice"]["final"]
    candidates: dict[str, dict[str, Dense]] = {}
    if chosen in (PROBE, "mean"):
        by_fold = answers[PROBE]
        names = next(iter(by_fold.values()))
        candidates[PROBE] = {name: mean_of([by_fold[fold][name] for fold in by_fold]) for name in names if name in targets}
    if chosen in ("finetune", "mean"):
        members = {m: folds for m, folds in answers.items() if m != PROBE}
        candidates["finetune"] = {
            name: chain.apply(fitted, {m: {f: t[name] for f, t in members[m].items()} for m in fitted["members"]}, rows)
            for name, fitted in decisions["blend"].items()
        }
    if chosen == "mean":
        a, b = candidates[PROBE], candidates["finetune"]
        candidates["mean"] = {name: mean_of([a[name], b[name]]) for name in a if name in b}
    final = candidates[chosen]
    for name, target in targets.items():
        if name not in final and target.expression is not None:
            parts = {n: final[n] for n in expression_names(target.expression)}
            p = compose(target, {n: d.target for n, d in parts.items()}, {n: d.p for n, d in parts.items()}, decisions.get("deviations"))
            first = next(iter(parts.values()))
            final[name] = dataclasses.replace(first.with_p(p), target=target, y=np.full_like(p, np.nan))
    return {name: chain.apply(decisions["steps"][name], {"chosen": dense}, rows, log) for name, dense in final.items() if name in targets}


def _head(place: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a head.

    Raises:
        DataError: its file is absent or cut.
    """
    try:
        return trunk.tensors_from_bytes(place.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DataError(f"{place} cannot be read ({error})", fix="copy the whole folder again") from None


def _load_member(folder: Path, spec: dict[str, Any], targets: list[dict[str, Any]]) -> Member:
    settings, model = Input.model_validate(spec["input"]), Model.model_validate(spec["model"])
    form = Form(**{**spec["form"], "size": tuple(spec["form"]["size"])})
    known = [Target.from_dict(t) for t in targets if t["name"] in spec["targets"]]
    how = SequenceConfig.model_validate(spec.get("sequence", {}))
    backbones = {one["backbone"] for one in spec["folds"]}
    networks: dict[int, models.Network] = {}
    scalings: dict[int, Scaling | None] = {}
    for one in spec["folds"]:
        place = folder / one["folder"]
        scalings[one["fold"]] = Scaling.from_dict(files.read_json(place / "preprocess.json")["side"])
        weights = pretrained.from_folder(folder / "backbones" / one["backbone"])
        side = len(scalings[one["fold"]].names) if scalings[one["fold"]] else 0  # type: ignore[union-attr]
        if how.length > 1:
            network: models.Network = over.build(model, how, known, form.channels, settings, side=side, weights=weights)
        else:
            network = models.build(model, known, form.channels, settings, side=side, weights=weights)
        network.load_head_state(_head(place / "head.safetensors"))
        if networks and len(backbones) == 1:
            network.backbone = next(iter(networks.values())).backbone
        networks[one["fold"]] = network.eval()
    if not networks:
        raise DataError(f"{folder / MARKER} names no fold of member {spec['name']!r}", fix="freeze the run again: tapetum fit")
    first = next(iter(networks.values()))
    alike = all(torch.equal(n.mean, first.mean) and torch.equal(n.std, first.std) for n in networks.values())
    shared = len(backbones) == 1 and alike and (how.length == 1 or not any(scalings.values()))
    return Member(
        spec["name"],
        networks,
        settings,
        Predict.model_validate(spec["predict"]),
        form,
        Engine.from_dict(spec["engine"]),
        scalings,
        shared,
        how,
    )
