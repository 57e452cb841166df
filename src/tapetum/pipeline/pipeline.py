"""The class of a loaded pipeline: what it takes, and what happens to an image in order.

The files of a row are composed and transformed, every member's fold models answer, and :func:`tapetum.pipeline.combine.combine` calibrates,
averages folds, blends, derives and decides, exactly as ``decisions.json`` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import answers, files, hashes, places
from tapetum.core.answers import labels
from tapetum.core.config import Data
from tapetum.core.errors import DataError, first_line, for_python, warn_caller
from tapetum.core.progress import Log
from tapetum.core.runs import Run
from tapetum.core.scoring import score_of
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.core.vectors import Gallery, Neighbors
from tapetum.core.words import plural, verb
from tapetum.data.images.given import Source, within_two_levels
from tapetum.decide.steps import Rows
from tapetum.learn.inference import Watch
from tapetum.pipeline import answer as members
from tapetum.pipeline import compose
from tapetum.pipeline.answer import Tick
from tapetum.pipeline.combine import Answered, combine
from tapetum.pipeline.export import FORMAT, MARKER
from tapetum.pipeline.frozen import Frozen, checked, unseen
from tapetum.pipeline.load import Member, load_member


class Pipeline(Frozen):
    """A loaded pipeline.

    Args:
        folder: where it was loaded from.
        spec: its ``pipeline.json``.
        members: with their networks.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], members: list[Member]) -> None:
        super().__init__(folder, spec)
        self.members = members
        self.galleries = {
            (g["member"], g["target"], g["fold"]): Gallery.read(places.inside(folder, g["file"])) for g in spec.get("galleries", ())
        }
        self.decisions: dict[str, Any] = spec["decisions"]
        self.draws: dict[str, dict[str, np.ndarray]] = {}  # of the last answer: member → target → (V, N, K), where predict.keep_draws

    def __repr__(self) -> str:
        networks = sum(len(member.networks) for member in self.members)
        names = ", ".join(
            f"{name} ({plural(len(target.classes), 'class', 'classes')})" if target.classes else name
            for name, target in self.scored.items()
        )
        return (
            f"Pipeline({str(self.folder)!r}: {names}; {plural(networks, 'network')} of {', '.join(member.name for member in self.members)})"
        )

    @classmethod
    @for_python
    def load(cls, path: Path | str) -> Pipeline:
        """Load a pipeline folder, or the one of a run.

        Raises:
            UserError: there is no pipeline.
            DataError: it is damaged, or a file is not the one that was written.
            EnvironmentFault: a newer version of Tapetum wrote it.
        """
        folder = places.pipeline_folder(path)
        Run(folder.parent).checked(f"{folder.name}/{MARKER}")
        spec = checked(files.read_json(folder / MARKER), folder / MARKER, FORMAT, fix="copy the whole folder again")
        hashes.compare(folder, spec.get("files", {}), MARKER, fix="copy the whole folder again")
        try:
            Data.model_validate(spec["data"])
            return cls(folder, spec, [load_member(folder, m, spec["targets"]) for m in spec["members"]])
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:  # RuntimeError: tensors of another shape
            first = first_line(error, named=True)
            raise DataError(
                f"{folder} is damaged, or its files are of several pipelines ({first})", fix="copy the whole folder again"
            ) from None

    @property
    def classes_(self) -> Any:
        """Class names in the order of the probabilities: a tuple, or a dict of tuples where there are several targets."""
        found = {name: target.classes for name, target in self.scored.items()}
        return next(iter(found.values())) if len(found) == 1 else found

    @for_python
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
        answered, problems = self._answered(images, value_range)
        return answers.of_targets({name: answers.Probabilities.of(d.p, problems) for name, d in answered.items()}, problems)

    @for_python
    def predict(self, images: Any, *, value_range: tuple[float, float] | None = None) -> Any:
        """Return a list of labels (or numbers, or lists of labels), None where an image cannot be read; see :meth:`predict_proba`.

        Returns:
            :class:`tapetum.core.answers.Labels`: one for each input, also for a single one; ``problems`` says why labels are None.
        """
        answered, problems = self._answered(images, value_range)
        return answers.of_targets({name: answers.Labels(labels(d), problems) for name, d in answered.items()}, problems)

    @for_python
    def score(self, images: Any, labels: Any, metric: str | None = None, *, value_range: tuple[float, float] | None = None) -> Any:
        """Return how good the answers to labelled images are, as scikit-learn's ``score``; see :func:`tapetum.core.scoring.score_of`.

        Args:
            images: as for :meth:`predict`.
            labels: the truth of each image, None where unknown; of several targets a dict of such lists.
            metric: its name; None: accuracy (one class an image), macro-F1 (several labels) or R² (numbers).
            value_range: as for :meth:`predict_proba`.
        """
        return score_of(self._answered(images, value_range)[0], labels, metric)

    def for_rows(self, manifest: Manifest, engine: str = "auto", log: Log | None = None) -> Pipeline:
        """Return the same pipeline by the engine that answers some rows fastest; see :func:`tapetum.pipeline.fastest.fastest`."""
        from tapetum.pipeline.fastest import fastest

        return fastest(self, manifest, engine, log)

    def for_service(self, log: Log | None = None) -> Pipeline:
        """Return the same pipeline by the engine that answers many images fastest; see :func:`tapetum.pipeline.fastest.for_service`."""
        from tapetum.pipeline.fastest import for_service

        return for_service(self, log)

    def answer(
        self,
        manifest: Manifest,
        log: Log | None = None,
        tick: Tick | None = None,
        *,
        sources: Sequence[Sequence[Source]] | None = None,
        told: Callable[[Answered, Rows], None] | None = None,
        vectors: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> dict[str, Dense]:
        """Return one Dense a scored target for every row of a manifest, in its order.

        Args:
            manifest: the rows.
            log: told why rows are missing; :attr:`problems` keeps it.
            tick: told how many images are done, of how many.
            sources: what each row is composed of, where that is not the manifest's files.
            told: told what each member answered, before that is combined, and the rows.
            vectors: told row numbers and their vectors, as the first network of the first member makes them while it answers.
        """
        self.problems, self.draws = {}, {}
        if not len(manifest):
            return {name: _nothing(target) for name, target in self.scored.items()}
        rows = unseen(manifest)
        answered: dict[str, dict[int, dict[str, Dense]]] = {}
        neighbors: list[Neighbors] = []
        known: dict[Any, dict[int, str]] = {}  # what cannot be read is found out once for all members that read alike
        passes = sum(members.passes_of(member) for member in self.members)
        done = 0
        for number, member in enumerate(self.members):
            count = None if tick is None else members.counted(tick, done, passes, len(rows))
            images = members.images_of(member, manifest, sources)
            images.missing = known.setdefault((images.how, images.form), images.missing)
            watch = Watch(count, None if number else vectors)
            answered[member.name], why, self.draws[member.name] = members.answer(member, images, self.targets, log, watch)
            done += members.passes_of(member) * len(rows)
            self.problems.update(why)
            neighbors += members.neighbors(member, images, {key[1:]: g for key, g in self.galleries.items() if key[0] == member.name})
        rows = dataclasses.replace(rows, neighbors=Neighbors.joined(neighbors) if neighbors else None)
        self.log_missing(manifest, log)
        if told is not None:
            told(answered, rows)
        return combine(self.decisions, self.scored, answered, rows, log or warn_caller)

    def _answered(self, images: Any, value_range: tuple[float, float] | None) -> tuple[dict[str, Dense], dict[int, str]]:
        """Return the answers for whatever :meth:`predict_proba` takes, and why rows have none; other threads may ask meanwhile."""
        from tapetum.pipeline.fastest import planned

        manifest, sources = compose.rows_of(images, value_range, lambda source: self.read([source], _quiet))
        able = planned(self, len(manifest))
        answered = able.answer(manifest, sources=sources)
        self.problems, self.draws = able.problems, able.draws
        if (doubt := within_two_levels(sources or ())) is not None:
            warn_caller(doubt)
        if able.problems:
            warn_caller(_unanswered(manifest, able.problems))
        return answered, able.problems


def _unanswered(manifest: Manifest, problems: Mapping[int, str]) -> str:
    """Return how many rows have no answer, and the first of them with its reason."""
    row, reason = min(problems.items())
    first = f"the first is number {row}, {' + '.join(manifest.frame['path'][row])} ({reason})"
    return (
        f"{len(problems):,} of {plural(len(manifest), 'image')} cannot be read and {verb(len(problems), 'has', 'have')} "
        f"no answer: {first}; the result's .problems has all"
    )


def _quiet(_: str) -> None:
    """Say nothing."""


def _nothing(target: Target) -> Dense:
    """Return the answers for no rows."""
    p = np.zeros((0, target.width), dtype=np.float32)
    return Dense(target, np.array([], dtype=object), p, p, np.array([], dtype=np.int16), np.array([], dtype=object))
